"""Speed's peak memory: the process's on a CPU, PyTorch's on a GPU."""

from __future__ import annotations

import resource
import sys

import torch

from callbacks import Speed
from callbacks.run import throughput as speed


def test_peak_memory_is_the_processs_on_a_cpu(monkeypatch):
    peak = speed.peak_memory_mib(torch.device("cpu"))
    assert 50 < peak < 100_000  # Python with PyTorch
    ballast = torch.ones(int((peak + 64) * 2**18))  # 4 bytes each
    grown = speed.peak_memory_mib(torch.device("cpu"))
    assert grown > peak + 64
    del ballast
    assert speed.peak_memory_mib(torch.device("cpu")) >= grown  # a peak stays

    usage = type("Usage", (), {"ru_maxrss": 3 * 2**20})
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    for platform, expected in (("linux", 3 * 2**10), ("darwin", 3), ("win32", None)):
        monkeypatch.setattr(sys, "platform", platform)
        assert speed.peak_memory_mib(torch.device("cpu")) == expected


def test_peak_memory_is_pytorchs_on_a_gpu_since_the_fit_began(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20)
    device = torch.device("cuda", 1)
    Speed().on_fit_start(None, type("Module", (), {"device": device}))
    assert calls == [device] and speed.peak_memory_mib(device) == 5.0
    Speed().on_fit_start(None, type("Module", (), {"device": torch.device("cpu")}))
    assert calls == [device]

"""Speed's utilization: operations a token, and the peak of the device by its name."""

from __future__ import annotations

import pytest
import torch

from callbacks import Speed
from callbacks.run import throughput as speed
from tests.helpers.speed_clock import FETCH, STEP, TOKENS, Clock, Counted, Model, timed, train


def test_utilization_is_that_of_the_given_peak():
    clock = Clock()
    callback = timed(clock, warmup_steps=0, peak_flops=5e10)
    _, logged = train(clock, callback, model=Counted(clock))
    expected = TOKENS / (FETCH + STEP) * 1e9 / 5e10
    assert logged[10]["mfu"] == pytest.approx(expected, rel=1e-12)
    assert callback.summary["mfu"] == pytest.approx(expected, rel=1e-12)


def test_there_is_no_utilization_of_an_unknown_peak_or_without_a_count_of_flops():
    for model, options in ((Counted, {}), (Model, {"peak_flops": 1e12})):
        clock = Clock()
        callback = timed(clock, warmup_steps=0, **options)
        _, logged = train(clock, callback, model=model(clock), precision="bf16-mixed")
        names = {"tokens_per_second", "step_seconds", "dataloader_wait_fraction", "peak_memory_mib"}
        assert set(logged[5]) == names
        assert set(callback.summary) == {*names, "tokens", "seconds"}


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA B200", 2250),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", None),  # another chip than the A10
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla V100-PCIE-16GB", 112),
        ("Tesla T4", 65),
        ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce GTX 1080", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_peaks_by_the_names_that_cuda_gives(name, teraflops):
    peak = None if teraflops is None else pytest.approx(teraflops * 1e12)
    for precision in ("16-mixed", "16-true", "bf16-mixed", "bf16-true"):
        assert speed.peak_flops_of(name, precision) == peak
    for precision in ("32-true", "64-true", "transformer-engine"):
        assert speed.peak_flops_of(name, precision) is None


def test_the_name_is_asked_of_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Tesla T{device.index}")
    assert speed.peak_flops_of(torch.device("cuda", 4), "16-mixed") == 65e12
    assert speed.peak_flops_of(torch.device("cuda", 5), "16-mixed") is None
    assert speed.peak_flops_of(torch.device("cpu"), "16-mixed") is None


@pytest.mark.parametrize("options", [{"warmup_steps": -1}, {"peak_flops": 0.0}])
def test_senseless_options_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"Speed: {name} is .*must"):
        Speed(**options)

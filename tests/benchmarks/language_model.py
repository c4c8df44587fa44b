"""A training step in `lightning fit` against a bare PyTorch loop; and the whole GPT-2 small.

    python tests/benchmarks/language_model.py --data_dir data/gpt2_cpu           # the comparison
    python tests/benchmarks/language_model.py --data_dir data/gpt2_cpu --gpt2_small

The comparison trains the 4-layer, 256-wide GPT-2 of configs/gpt2/gpt2_cpu.yaml (harmonic head,
bf16 or float32, batches of 16 × 256) both ways, in turn in one process; `lightning fit` with its
loggers, speed meter and progress bar, logging every 10 steps. Optimizer steps after the first five
are timed, from the end of one to the end of the next; validation and checkpoints are left out.
``--gpt2_small`` takes three steps of 124 M parameters with each head and tells time and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from datamodules.tokens.batches import token_batch
from datamodules.tokens.shards import TokenShards
from glassbox.cli import lightning_cli
from lightning_modules import GPT2, HarmonicHead
from lightning_modules.language_model import LanguageModel
from lightning_modules.training.optim import parameter_groups

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "gpt2" / "gpt2_cpu.yaml"
WARM_UP, BATCH, BLOCK = 5, 16, 256


def step_ends(arguments: str) -> list[float]:
    """When each optimizer step of a `lightning fit` ended."""
    ends: list[float] = []

    def record(self: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        original(self, outputs, batch, batch_idx)
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
            ends.append(time.perf_counter())

    original = LanguageModel.on_train_batch_end  # the last hook of a step
    with (
        mock.patch.object(LanguageModel, "on_train_batch_end", record),
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        common = f"--trainer.limit_val_batches 0 --trainer.default_root_dir {folder}"
        lightning_cli.run(f"fit --config {CONFIG} {arguments} {common}".split())
    return ends


def fit_seconds(data_dir: Path, steps: int, precision: str) -> float:
    """Mean seconds of a step in `lightning fit`."""
    ends = step_ends(
        f"--data.data_dir {data_dir} --trainer.max_steps {steps} --trainer.precision {precision}"
    )
    return (ends[-1] - ends[WARM_UP - 1]) / (len(ends) - WARM_UP)


def bare_seconds(data_dir: Path, steps: int, precision: str) -> float:
    """The same for a loop that has nothing but the step."""
    torch.manual_seed(0)
    shards = TokenShards(data_dir, "train")
    network = GPT2(shards.meta.vocab_size, BLOCK, "16M")
    head = HarmonicHead(network.out_features, shards.meta.vocab_size)
    head.tie(network.embedding.weight, len(network.embedding.weight) - shards.meta.vocab_size)
    network.set_feature_scale(0.02)
    optimizer = torch.optim.AdamW(
        parameter_groups(network, 0.1), lr=1e-3, betas=(0.9, 0.95), fused=True
    )
    order = np.random.default_rng(0).permutation(shards.num_windows(BLOCK))
    ends = []
    for i in range(steps):
        batch = token_batch(shards, order[i * BATCH : (i + 1) * BATCH], BLOCK)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = head.loss(network(batch["inputs"]), batch["targets"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        ends.append(time.perf_counter())
    return (ends[-1] - ends[WARM_UP - 1]) / (steps - WARM_UP)


def compare(data_dir: Path, steps: int, rounds: int) -> None:
    for precision in ("bf16-mixed", "32-true"):
        ours, bare = [], []
        for _ in range(rounds):
            ours.append(fit_seconds(data_dir, steps, precision))
            bare.append(bare_seconds(data_dir, steps, precision))
        rates = [BATCH * BLOCK / statistics.median(times) for times in (ours, bare)]
        ratios = [b / a for a, b in zip(ours, bare, strict=True)]
        print(
            f"{precision}: lightning fit {rates[0]:,.0f} tokens/s, bare loop {rates[1]:,.0f}, "
            f"ratio of medians {rates[0] / rates[1]:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


def gpt2_small(data_dir: Path) -> None:
    """Three steps of 8 × 1,024 tokens, micro-batches of 4, each head and precision by itself."""
    for precision in ("32-true", "bf16-mixed"):
        for head in ("CrossEntropyHead", "HarmonicHead"):
            command = [sys.executable, __file__, "--data_dir", str(data_dir), "--one", head]
            command += ["--precision", precision]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print(f"{precision:<12}{head:<18}{out.strip()}", flush=True)


def one_gpt2_small(data_dir: Path, head: str, precision: str) -> None:
    ends = step_ends(
        f"--data.data_dir {data_dir} --model.network.init_args.preset 124M --model.head {head} "
        f"--data.block_size 1024 --data.global_batch_size 8 --data.micro_batch_size 4 "
        f"--trainer.max_steps 3 --model.warmup_steps 1 --trainer.precision {precision} "
        f"--trainer.enable_checkpointing false"
    )
    seconds = (ends[-1] - ends[0]) / (len(ends) - 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{seconds:.1f} s a step of 8,192 tokens ({8192 / seconds:,.0f} tokens/s), "
        f"peak memory of the process {peak:,.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpt2_small", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="32-true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    data_dir = options.data_dir.resolve()
    if options.one:
        one_gpt2_small(data_dir, options.one, options.precision)
    elif options.gpt2_small:
        gpt2_small(data_dir)
    else:
        compare(data_dir, options.steps, options.rounds)


if __name__ == "__main__":
    main()

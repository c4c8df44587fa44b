"""Speed of a sweep of toy models against one model after another; a script, run by hand.

    python tests/benchmarks/superposition.py                              # batches of 1,024
    python tests/benchmarks/superposition.py --batch-sizes 1024 256 64

Twenty seeds at each of ten sparsities of the 20-feature ReLU model (configs/superposition/
superposition.yaml with Adam), as one run of the command line, against the same model in a bare
PyTorch loop. Both sides run in turn; medians of wall time per model and optimizer step are printed.
Glassbox's side contains draws, training, validation and logs, but neither compiling nor the
probe. While other jobs use the cores, give --threads 1 --cpu-time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[2]
FEATURES, HIDDEN, VALUES = 20, 5, 10
SPARSITY, BASE = 0.9, 0.7
clock = time.perf_counter


def bare_loop(batch_size: int, seed: int, steps: int, warm_up: int = 50) -> float:
    """Seconds per optimizer step of one model after another, without evaluation or logs."""
    torch.manual_seed(seed)
    weight = torch.nn.Parameter(torch.randn(FEATURES, HIDDEN) * (2 / (FEATURES + HIDDEN)) ** 0.5)
    bias = torch.nn.Parameter(torch.zeros(FEATURES))
    importance = BASE ** torch.arange(FEATURES)
    optimizer = torch.optim.Adam([weight, bias], 1e-3)
    start = 0.0
    for step in range(warm_up + steps):
        if step == warm_up:
            start = clock()
        active = torch.rand(batch_size, FEATURES) < 1 - SPARSITY
        x = torch.rand(batch_size, FEATURES) * active
        output = torch.relu(x @ weight @ weight.T + bias)
        loss = (importance * (x - output) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (clock() - start) / steps


def glassbox_run(
    batch_size: int, num_seeds: int, epochs: int, steps: int, folder: str
) -> tuple[float, float]:
    """Seconds per optimizer step and model of the command line's path, and seconds to compile."""
    from glassbox.cli import lightning_cli

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.compiler.reset()
    stamps: list[float] = []  # start of the fit, then of every epoch
    arguments = ["fit", "--config", str(ROOT / "configs" / "superposition" / "superposition.yaml")]
    arguments += ["--model.optimizer", "adam", "--model.weight_decay", "0"]
    arguments += ["--model.num_seeds", str(num_seeds), "--model.compile", "always"]
    arguments += ["--data.batch_size", str(batch_size), "--data.steps_per_epoch", str(steps)]
    arguments += ["--trainer.max_epochs", str(epochs), "--trainer.default_root_dir", folder]
    arguments += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]

    def stamp(module: Any) -> None:
        stamps.append(clock())

    with (
        mock.patch.multiple(
            "lightning_modules.FeatureAutoencoder",
            configure_model=stamp,
            on_train_epoch_start=stamp,
        ),
        mock.patch("callbacks.FeatureGeometry.figures", lambda *_: {}),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        lightning_cli.run(arguments)
    fit_start, *starts = stamps
    spans = [later - earlier for earlier, later in pairwise(starts[1:])]
    epoch = statistics.median(spans)
    compiling = starts[1] - fit_start - epoch
    return epoch / (steps * num_seeds * VALUES), compiling


def main() -> None:
    """Measure in turn, then print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for flag, default, text in (
        ("--rounds", 3, "turns of each side"),
        ("--num-seeds", 20, "seeds at each of ten sparsities"),
        ("--epochs", 5, "epochs of a Glassbox run; the first is not counted"),
        ("--steps", 100, "optimizer steps of an epoch"),
        ("--steps-reference", 500, "timed steps of the bare loop"),
        ("--threads", torch.get_num_threads(), "torch's threads"),
    ):
        text += " (default %(default)s)"
        parser.add_argument(flag, type=int, default=default, metavar="N", help=text)
    text = "one row each (default 1024)"
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[1024], metavar="N", help=text
    )
    text = "count the processor's time instead of the wall's"
    parser.add_argument("--cpu-time", action="store_true", help=text)
    options = parser.parse_args()
    if options.cpu_time:
        global clock
        clock = time.process_time
    counts = (options.rounds, options.num_seeds, options.steps, options.threads)
    if min(*counts, options.steps_reference, *options.batch_sizes) < 1 or options.epochs < 3:
        parser.error("every N must be at least 1, that of --epochs at least 3")
    torch.set_num_threads(options.threads)
    sys.path.insert(0, str(ROOT))  # for train.py of this checkout
    theirs: dict[int, list[float]] = {size: [] for size in options.batch_sizes}
    ours: dict[int, list[float]] = {size: [] for size in options.batch_sizes}
    compiling: list[float] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder, "compiled"))
        for turn in range(options.rounds):
            for size in options.batch_sizes:
                print(f"round {turn + 1}: batches of {size}", file=sys.stderr)
                theirs[size].append(bare_loop(size, turn, options.steps_reference))
                per_step, compiled = glassbox_run(
                    size, options.num_seeds, options.epochs, options.steps, folder
                )
                ours[size].append(per_step)
                compiling.append(compiled)
    print("| batch | one after another µs | Glassbox µs | ratio | min–max |")
    print("|" + "---|" * 5)
    for size in options.batch_sizes:
        before, after = 1e6 * statistics.median(theirs[size]), 1e6 * statistics.median(ours[size])
        ratios = [a / b for a, b in zip(theirs[size], ours[size], strict=True)]
        line = f"| {size:,} | {before:,.1f} | {after:,.1f} | {before / after:.1f} "
        print(f"{line}| {min(ratios):.1f}–{max(ratios):.1f} |")
    print(
        f"\n{'Processor' if options.cpu_time else 'Wall'} time per model and optimizer step, "
        f"{VALUES * options.num_seeds} models, median of {options.rounds} rounds. "
        f"Compiling: {max(compiling):.0f} s at first. "
        f"Threads: {torch.get_num_threads()}. torch {torch.__version__}."
    )


if __name__ == "__main__":
    main()

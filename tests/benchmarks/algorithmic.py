"""Speed of many-seed training against the harmonic-loss authors' way; a script, run by hand.

    python tests/benchmarks/algorithmic.py                                          # compare
    python tests/benchmarks/algorithmic.py --only glassbox --models mlp --rounds 1  # its memory

Both sides train the harmonic MLP and transformer (exponent 2, eps 1e-4, dropout 0.1) on addition
mod 31, 800 training examples drawn with replacement, batches of 32, on the CPU, in turn. Counted is
wall time per optimizer step and seed with all that an epoch brings: batches, scores, evaluation
(the authors: 200 test examples; Glassbox: all 1,000), and for Glassbox probes and logs too. Its
side is the command line's own path, compiled, without what a run pays once: compiling, the first
ten epochs, the figures at its end. While other jobs use the cores, give --threads 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {"mlp": "modular_addition", "transformer": "modular_addition_transformer"}
MODULUS, WIDTH, BATCH = 31, 16, 32
WARM_UP = 10  # Glassbox's epochs before its clock starts
STRIDE = 100  # epochs between two measurements of the probes


class HarmonicReadout(nn.Module):
    """Log-probabilities (B, V) of features (B, E), as the authors compute them: p ~ 1/distance²."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(MODULUS, WIDTH).uniform_(-0.25, 0.25))

    def forward(self, x: Tensor) -> Tensor:
        lengths = self.weight.norm(dim=-1) ** 2 + x.norm(dim=-1, keepdim=True) ** 2
        squared = lengths - 2 * x @ self.weight.T + 1e-4
        inverse = (squared / squared.min(dim=-1, keepdim=True).values) ** -1.0
        return (inverse / inverse.sum(dim=-1, keepdim=True)).log()


class PlainMLP(nn.Module):
    """The authors' MLP on tokens (B, 2); its embedding is the readout's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.features = nn.Linear(2 * WIDTH, 100), nn.Linear(100, WIDTH)
        self.readout = HarmonicReadout()

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.readout.weight[tokens].flatten(1)
        return self.readout(self.features(F.silu(self.hidden(x))))


class PlainTransformer(nn.Module):
    """The authors' transformer: two post-norm layers, a residual around each, no tying."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(MODULUS, WIDTH)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        self.position = nn.Parameter(torch.randn(2, WIDTH))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, 0.1, batch_first=True) for _ in range(2)
        )
        self.readout = HarmonicReadout()

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position
        for layer in self.layers:
            x = layer(x) + x
        return self.readout(x[:, -1])


def authors_loop(model_name: str, seed: int, epochs: int, warm_up: int = 2) -> float:
    """Seconds per optimizer step of one seed, dropout in the test pass too, as in their code."""
    torch.manual_seed(seed)
    inputs = torch.randint(MODULUS, (1000, 2))
    parts = random_split(TensorDataset(inputs, inputs.sum(dim=1) % MODULUS), [800, 200])
    loaders = [DataLoader(part, BATCH, shuffle=i == 0) for i, part in enumerate(parts)]
    model = PlainMLP() if model_name == "mlp" else PlainTransformer()
    weight_decay = 0.01 if model_name == "mlp" else 0.005
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=weight_decay)
    starts = []
    for _ in range(warm_up + epochs):
        starts.append(time.perf_counter())
        loss_sum, correct = [0.0, 0.0], [0, 0]  # training, test
        for part, loader in enumerate(loaders):
            with torch.set_grad_enabled(part == 0):
                for tokens, targets in loader:
                    logits = model(tokens)
                    loss = total = F.cross_entropy(logits, targets)
                    if part == 0:
                        if isinstance(model, PlainTransformer):  # the MLP's has no gradient
                            columns = model.embedding.weight.square().mean(dim=0).sqrt()
                            total = loss + 0.01 * columns.mean()
                        optimizer.zero_grad()
                        total.backward()
                        optimizer.step()
                    loss_sum[part] += loss.item()
                    correct[part] += int((logits.argmax(dim=1) == targets).sum().item())
    return (time.perf_counter() - starts[warm_up]) / (epochs * len(loaders[0]))


def glassbox_run(model_name: str, num_seeds: int, epochs: int, folder: str) -> tuple[float, float]:
    """Seconds per optimizer step and seed of the command line's path, and seconds to compile."""
    from glassbox.cli import lightning_cli

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    # Compiled variants are kept per function: a later run would inherit an earlier one's, or pass
    # the limit of variants and quietly stay uncompiled.
    torch.compiler.reset()
    stamps: list[float] = []  # start of the fit, then of every epoch
    arguments = [
        "fit",
        "--config",
        str(ROOT / "configs" / "algorithmic" / f"{CONFIGS[model_name]}.yaml"),
    ]
    arguments += ["--data.sampling", "with_replacement", "--model.compile", "always"]
    arguments += ["--model.num_seeds", str(num_seeds), "--trainer.max_epochs", str(epochs)]
    arguments += ["--trainer.default_root_dir", folder, "--trainer.accelerator", "cpu"]

    def stamp(module: Any) -> None:
        stamps.append(time.perf_counter())

    target = "lightning_modules.Classifier"
    with (
        mock.patch.multiple(target, configure_model=stamp, on_train_epoch_start=stamp),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        steps = lightning_cli.run(arguments).datamodule.steps_per_epoch
    fit_start, *starts = stamps
    span = epochs - 1 - WARM_UP
    span -= span % STRIDE if span > STRIDE else 0  # probes as often as in a long run
    epoch_seconds = (starts[WARM_UP + span] - starts[WARM_UP]) / span
    return epoch_seconds / (steps * num_seeds), starts[1] - fit_start - epoch_seconds


def main() -> None:
    """Measure in turn, then print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for flag, default, text in (
        ("--rounds", 3, "turns of each side"),
        ("--epochs-reference", 8, "timed epochs of the authors' loop, after two more"),
        ("--epochs", 300, "epochs of a Glassbox run; 211 to 310 measure 200 of them"),
        ("--threads", torch.get_num_threads(), "torch's threads"),
    ):
        text += " (default %(default)s)"
        parser.add_argument(flag, type=int, default=default, metavar="N", help=text)
    text = "seeds of a Glassbox run, one row each (default 20)"
    parser.add_argument("--num-seeds", type=int, nargs="+", default=[20], metavar="N", help=text)
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--only", choices=("authors", "glassbox"), help="measure one side alone")
    options = parser.parse_args()
    counts = (options.rounds, options.epochs_reference, options.threads, *options.num_seeds)
    if min(counts) < 1 or options.epochs < WARM_UP + 2:
        parser.error(f"every N must be at least 1, that of --epochs at least {WARM_UP + 2}")
    torch.set_num_threads(options.threads)
    rows = [(model, seeds) for model in options.models for seeds in options.num_seeds]
    theirs, ours, built = (defaultdict[Any, list[float]](list) for _ in range(3))
    sys.path.insert(0, str(ROOT))  # for train.py of this checkout
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Empty at the start, so that the first compilation is a first one.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder, "compiled"))
        for turn in range(options.rounds):
            for key in rows:
                print(f"round {turn + 1}: {key}", file=sys.stderr)
                if options.only != "glassbox":
                    theirs[key].append(authors_loop(key[0], turn, options.epochs_reference))
                if options.only != "authors":
                    per_step, compiling = glassbox_run(*key, options.epochs, folder)
                    ours[key].append(per_step)
                    built[key].append(compiling)
    print("| model | seeds | authors µs | Glassbox µs | ratio | min–max | compile s | again s |")
    print("|" + "---|" * 8)
    for key in rows:
        ratios = [a / b for a, b in zip(theirs[key], ours[key], strict=False)] or [math.nan]
        before, after = (1e6 * statistics.median(x[key] or [math.nan]) for x in (theirs, ours))
        first, again = built[key][:1] or [math.nan], built[key][1:] or [math.nan]
        line = f"| {key[0]} | {key[1]} | {before:,.1f} | {after:,.1f} | {before / after:.1f} "
        line += f"| {min(ratios):.1f}–{max(ratios):.1f} "
        line += f"| {first[0]:.1f} | {statistics.median(again):.1f} |"
        print(line.replace("nan–nan", "–").replace("nan", "–"))
    mebibyte = 2**20 if sys.platform == "darwin" else 2**10  # in ru_maxrss's unit
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / mebibyte
    print(
        f"\nWall time per optimizer step and seed, median of rounds: {options.rounds}. "
        f"Peak memory of this process, all rows: {peak:,.0f} MiB. "
        f"Threads: {torch.get_num_threads()}. torch {torch.__version__}."
    )


if __name__ == "__main__":
    main()

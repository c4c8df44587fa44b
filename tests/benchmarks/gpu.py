"""Speed on a GPU: GPT-2 small, the fused heads, twenty seeds; a script, run by hand.

    python tests/benchmarks/gpu.py                    # all three, on the first GPU
    python tests/benchmarks/gpu.py --what gpt2 --micro 32
    python tests/benchmarks/gpu.py --device cpu --preset 3M --block 64 --micro 2 --epochs 12

*gpt2*: optimizer steps in bfloat16, compiled, on random tokens, for both heads: through Lightning's
trainer, and in a bare loop over the same network and head; and the bare loop with a plain
``F.cross_entropy(x @ W.T)`` instead of a head. Tokens a second, fraction of the GPU's peak (MFU),
ratios. *heads*: time and memory of the fused heads against the plain one. *seeds*: microseconds an
optimizer step and seed of the many-seed Classifier: eager, compiled, compiled into CUDA graphs.

All variants run in turn in one process, for several rounds; medians are printed. On a CPU, small
sizes try the script.
"""

from __future__ import annotations

import argparse
import functools
import gc
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.run.peak_flops import peak_flops_of
from datamodules import AlgorithmicData, ModularAddition, OpenWebText
from lightning_modules import (
    GPT2,
    MLP,
    Classifier,
    CrossEntropyHead,
    HarmonicHead,
    LanguageModel,
    ToyTransformer,
)
from lightning_modules.training.optim import parameter_groups

VOCABULARY, WARM_UP = 50257, 3
HEADS: dict[str, Any] = {"cross-entropy": CrossEntropyHead, "harmonic": HarmonicHead}
BARE_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mib(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else float("nan")


def forget(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# ---- GPT-2 -----------------------------------------------------------------------------------


class Clock(L.Callback):
    """Seconds of the optimizer steps after the first few."""

    def __init__(self, device: str) -> None:
        self.device, self.start, self.seconds = device, 0.0, 0.0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == WARM_UP:
            wait(self.device)
            self.start = time.perf_counter()

    def on_train_end(self, trainer, pl_module):
        wait(self.device)
        self.seconds = (time.perf_counter() - self.start) / (trainer.global_step - WARM_UP)


def lightning_step(options: Any, head: str, folder: str) -> float:
    """Seconds of an optimizer step in Lightning's trainer."""
    torch.manual_seed(0)
    network = partial(GPT2, preset=options.preset)
    model = LanguageModel(network, HEADS[head], VOCABULARY, options.block, compile=options.compile)
    data = OpenWebText(
        folder,
        block_size=options.block,
        global_batch_size=options.micro,
        micro_batch_size=options.micro,
        seed=0,
    )
    clock = Clock(options.device)
    trainer = L.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        max_steps=options.steps + WARM_UP,
        limit_val_batches=0,
        check_val_every_n_epoch=None,
        log_every_n_steps=10,
        callbacks=[clock],
        **BARE_TRAINER,
    )
    trainer.fit(model, data)
    return clock.seconds


def bare_step(options: Any, head: str, folder: str) -> float:
    """Seconds of an optimizer step in a bare loop; head 'plain' stores all logits."""
    torch.manual_seed(0)
    network = GPT2(VOCABULARY, options.block, options.preset).to(options.device)
    weight = network.embedding.weight
    if head == "plain":

        def head_loss(x: Tensor, y: Tensor) -> Tensor:
            logits = x @ weight.T
            return F.cross_entropy(logits[..., :VOCABULARY].flatten(0, 1), y.flatten())
    else:
        module = HEADS[head](network.out_features, VOCABULARY).to(options.device)
        module.tie(weight, len(weight) - VOCABULARY)
        head_loss = module.loss
    if options.compile == "always":
        network.compile()
        head_loss = torch.compile(head_loss)
    optimizer = torch.optim.AdamW(
        parameter_groups(network, 0.1), lr=1e-4, betas=(0.9, 0.95), fused=True
    )
    rng = torch.Generator().manual_seed(0)
    start = 0.0
    for i in range(options.steps + WARM_UP):
        if i == WARM_UP:
            wait(options.device)
            start = time.perf_counter()
        tokens = torch.randint(VOCABULARY, (options.micro, options.block + 1), generator=rng)
        tokens = tokens.to(options.device, non_blocking=True)
        # Lightning's autocast keeps no copies of weights either.
        with torch.autocast(options.device, torch.bfloat16, cache_enabled=False):
            loss = head_loss(network(tokens[:, :-1]), tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    wait(options.device)
    return (time.perf_counter() - start) / options.steps


def gpt2(options: Any) -> None:
    """Both heads, in Lightning and bare; and the plain head."""
    variants: dict[str, Callable[..., float]] = {}
    for head in HEADS:
        variants[f"Lightning, {head}"] = partial(lightning_step, options, head)
        variants[f"bare loop, {head}"] = partial(bare_step, options, head)
    variants["bare loop, plain cross-entropy"] = partial(bare_step, options, "plain")
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        windows = options.micro * (options.steps + WARM_UP + 1)
        for split, count in (("train", windows), ("val", options.micro)):
            tokens = rng.integers(0, VOCABULARY, count * options.block + 1)
            tokens.astype("<u2").tofile(Path(folder) / f"{split}.bin")
        for _ in range(options.rounds):
            for name, measure in variants.items():
                forget(options.device)
                seconds[name].append(measure(folder))
                memory[name] = peak_mib(options.device)
    tokens_a_step = options.micro * options.block
    flops = GPT2(VOCABULARY, options.block, options.preset).flops_per_token()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    peak = peak_flops_of(name, "bf16-mixed")
    print(f"\nGPT-2 {options.preset}, {tokens_a_step:,} tokens a step, bf16-mixed, {name}")
    print("| | tokens/s | MFU | peak MiB |\n|---|---|---|---|")
    rate = {name: tokens_a_step / statistics.median(taken) for name, taken in seconds.items()}
    for name, value in rate.items():
        mfu = f"{100 * value * flops / peak:.1f} %" if peak else "–"
        print(f"| {name} | {value:,.0f} | {mfu} | {memory[name]:,.0f} |")
    for head in HEADS:
        ratio = rate[f"Lightning, {head}"] / rate[f"bare loop, {head}"]
        print(f"Lightning / bare loop, {head}: {ratio:.3f} (target 0.98)")
    ratio = rate["Lightning, harmonic"] / rate["Lightning, cross-entropy"]
    print(f"harmonic / cross-entropy, Lightning: {ratio:.3f} (target 0.95)")


# ---- the heads alone -------------------------------------------------------------------------


def heads(options: Any) -> None:
    """Forward and backward of unembedding and loss at GPT-2 small's sizes."""
    width, count = 768, options.micro * options.block
    torch.manual_seed(0)
    x = torch.randn(count, width, device=options.device, requires_grad=True)
    weight = torch.nn.Parameter(0.2 * torch.randn(50304, width, device=options.device))
    y = torch.randint(VOCABULARY, (count,), device=options.device)
    losses: dict[str, Callable[[], Tensor]] = {
        "plain cross-entropy": lambda: F.cross_entropy((x @ weight.T)[:, :VOCABULARY], y)
    }
    for name, head in HEADS.items():
        module = head(width, VOCABULARY).to(options.device)
        module.tie(weight, len(weight) - VOCABULARY)
        losses[f"fused {name}"] = partial(module.loss, x, y)
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    memory: dict[str, float] = {}

    def passes(loss: Callable[[], Tensor]) -> None:
        x.grad = weight.grad = None
        with torch.autocast(options.device, torch.bfloat16):
            value = loss()
        value.backward()
        wait(options.device)

    for name, loss in losses.items():  # memory first, which warms up
        x.grad = weight.grad = None
        forget(options.device)
        before = torch.cuda.memory_allocated() / 2**20 if options.device == "cuda" else 0.0
        passes(loss)
        memory[name] = peak_mib(options.device) - before
    for _ in range(options.rounds):
        for name, loss in losses.items():
            for _ in range(2):  # the allocator first holds blocks of the other variant
                passes(loss)
            start = time.perf_counter()
            for _ in range(options.passes):
                passes(loss)
            seconds[name].append((time.perf_counter() - start) / options.passes)
    plain = statistics.median(seconds["plain cross-entropy"])
    print(f"\nheads, bf16-mixed, {count:,} tokens\n| | ms | ratio | extra MiB |\n|---|---|---|---|")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {name} | {1e3 * median:.2f} | {median / plain:.2f} | {memory[name]:,.0f} |")


# ---- twenty seeds ----------------------------------------------------------------------------


def seeds_step(options: Any, network: Any, mode: str) -> float:
    """Seconds an optimizer step and seed, with everything that an epoch brings."""
    model = Classifier(
        network,
        partial(HarmonicHead, exponent=2, eps=1e-4),
        num_seeds=options.num_seeds,
        compile="never" if mode == "eager" else "always",
    )
    stamps: list[float] = []

    class Stamp(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            wait(options.device)
            stamps.append(time.perf_counter())

    compiler = functools.partial(torch.compile, mode="reduce-overhead")
    chosen = compiler if mode == "CUDA graphs" else torch.compile
    trainer = L.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        max_epochs=options.epochs,
        log_every_n_steps=500,
        callbacks=[Stamp()],
        **BARE_TRAINER,
    )
    data = AlgorithmicData(ModularAddition(31))
    with mock.patch("lightning_modules.ensemble.ensemble.torch.compile", chosen):
        trainer.fit(model, datamodule=data)
    skip = len(stamps) // 2
    epochs = len(stamps) - 1 - skip
    return (stamps[-1] - stamps[skip]) / (epochs * data.steps_per_epoch * options.num_seeds)


def seeds(options: Any) -> None:
    """Harmonic MLP and transformer on addition mod 31."""
    modes = ["eager", "compiled"] + (["CUDA graphs"] if options.device == "cuda" else [])
    print(f"\n{options.num_seeds} seeds, µs an optimizer step and seed\n| | {' | '.join(modes)} |")
    print("|" + "---|" * (len(modes) + 1))
    for network in (MLP, ToyTransformer):
        taken: dict[str, list[float]] = {mode: [] for mode in modes}
        for _ in range(options.rounds):
            for mode in modes:
                taken[mode].append(seeds_step(options, network, mode))
        cells = (f"{1e6 * statistics.median(taken[mode]):.2f}" for mode in modes)
        print(f"| {network.__name__} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", choices=("all", "gpt2", "heads", "seeds"), default="all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--preset", default="124M")
    parser.add_argument("--block", type=int, default=1024)
    parser.add_argument("--micro", type=int, default=32, help="windows of a step")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=10, help="of a head, in each round")
    parser.add_argument("--num_seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--compile", choices=("always", "never"), default="always")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu with small sizes tries the script")
    warnings.filterwarnings("ignore")
    # A column called "compiled" must not contain uncompiled runs.
    warnings.filterwarnings("error", message=".*torch.compile failed.*")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_float32_matmul_precision("high")
    print(f"torch {torch.__version__}, Lightning {L.__version__}")
    for name, measure in (("gpt2", gpt2), ("heads", heads), ("seeds", seeds)):
        if options.what in ("all", name):
            measure(options)


if __name__ == "__main__":
    main()

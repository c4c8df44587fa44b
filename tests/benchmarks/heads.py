"""Time and memory of the fused loss heads at GPT-2's vocabulary; a script, run by hand.

    python tests/benchmarks/heads.py                       # time, both precisions
    python tests/benchmarks/heads.py --what memory         # peak memory, one process a variant

Forward and backward of unembedding and loss, gradients of features and weights, against plain
``F.cross_entropy(x @ W.T, y)``. The variants run in turn in one process, for several rounds; given
are medians and their ratios to plain; three matrix products of the same sizes are the limit. Memory
is the peak resident memory above what the process had just before, in float32, for 1,024 to 8,192
tokens (Linux).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lightning_modules.heads.fused.losses import fused_cross_entropy, fused_harmonic

WIDTH, ROWS, CLASSES = 768, 50304, 50257
EPS = 1e-10

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
VARIANTS: dict[str, Loss] = {
    "plain": lambda x, w, y: F.cross_entropy(x @ w.T, y),
    "fused cross-entropy": lambda x, w, y: fused_cross_entropy(x, w, y, None, CLASSES),
    "fused harmonic, n = 28": lambda x, w, y: fused_harmonic(x, w, y, 28.0, EPS, CLASSES),
    "fused harmonic, n = √768": lambda x, w, y: fused_harmonic(x, w, y, 768**0.5, EPS, CLASSES),
}


def three_products(x: Tensor, weight: Tensor, y: Tensor) -> Tensor:
    """What no head can go without: chunks of logits, and from them both gradients; no loss."""
    half = torch.is_autocast_enabled("cpu")
    dtype, size = (torch.bfloat16, 1024) if half else (torch.float32, 256)
    with torch.autocast("cpu", enabled=False), torch.no_grad():
        a, w = x.to(dtype), weight.to(dtype)
        grad_weight = torch.zeros_like(weight)
        for part in a.split(size):
            logits = part @ w.T
            logits @ w
            if half:
                grad_weight += logits.T @ part
            else:
                grad_weight.addmm_(logits.T, part)
    return x.sum() * 0.0 + weight[0].sum() * 0.0  # so that there is a backward pass


VARIANTS["three matrix products"] = three_products


def inputs(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(tokens, WIDTH, requires_grad=True)
    # Logits of a standard deviation of 5.5, as a trained model's.
    weight = (0.2 * torch.randn(ROWS, WIDTH)).requires_grad_()
    return x, weight, torch.randint(0, CLASSES, (tokens,))


def step(loss: Loss, x: Tensor, weight: Tensor, y: Tensor, bf16: bool) -> float:
    """Seconds of forward and backward."""
    x.grad = weight.grad = None
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        value = loss(x, weight, y)
    value.backward()
    return time.perf_counter() - start


def times(tokens: int, rounds: int) -> None:
    x, weight, y = inputs(tokens)
    for bf16 in (False, True):
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for turn in range(rounds + 1):
            for name, loss in VARIANTS.items():
                taken = step(loss, x, weight, y, bf16)
                if turn:  # the first round warms up
                    seconds[name].append(taken)
        plain = statistics.median(seconds["plain"])
        print(f"\n{'bf16-mixed' if bf16 else 'float32'}, {tokens:,} tokens, {rounds} rounds")
        for name, values in seconds.items():
            median = statistics.median(values)
            ratios = [a / b for a, b in zip(values, seconds["plain"], strict=True)]
            print(
                f"  {name:<26}{median:8.2f} s   ratio {median / plain:.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )


def peak_above_start(name: str, tokens: int) -> float:
    """MiB that one step of a variant needs beyond inputs and PyTorch, as the kernel counts them."""
    x, weight, y = inputs(tokens)
    small = slice(0, 8)
    step(VARIANTS[name], x[small].detach().requires_grad_(), weight, y[small], False)
    x.grad = weight.grad = None
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status_mib("VmRSS")
    step(VARIANTS[name], x, weight, y, False)
    return status_mib("VmHWM") - before


def status_mib(field: str) -> float:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if field in line
    )
    return int(line.split()[1]) / 1024


def memory() -> None:
    counts = (1024, 2048, 4096, 8192)
    print(f"\npeak extra memory, MiB, float32{'':<6}" + "".join(f"{n:>10,}" for n in counts))
    for name in VARIANTS:
        cells = []
        for tokens in counts:
            command = [sys.executable, __file__, "--what", name, "--tokens", str(tokens)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            cells.append(float(out))
        print(f"  {name:<35}" + "".join(f"{cell:>10,.0f}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", default="time", help="time, memory, or (internally) a variant")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.what == "time":
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        times(options.tokens, options.rounds)
    elif options.what == "memory":
        memory()
    else:
        print(peak_above_start(options.what, options.tokens))


if __name__ == "__main__":
    main()

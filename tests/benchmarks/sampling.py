"""What a new token costs, with the key-value cache and without it: linear against quadratic.

    OMP_NUM_THREADS=1 python tests/benchmarks/sampling.py
    OMP_NUM_THREADS=1 python tests/benchmarks/sampling.py --preset 124M --longest_uncached 128

Random GPT-2 weights with a context of 1,024 and a harmonic or cross-entropy head, float32, one
sequence, a prompt of one token. For every number of new tokens both ways run in turn, in so many
rounds; medians of the processor's time, in which other work on the machine shows little (hence one
thread). Without the cache every token reads all tokens before it anew, which is what a loop
around the network's ``forward`` does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead, LossHead
from lightning_modules.gpt2.generate import draw_tokens, generate

CONTEXT = 1024


def uncached(network: GPT2, head: LossHead, prompt: Tensor, num_new: int) -> Tensor:
    """``generate`` by reading everything again for every token."""
    tokens, generator = prompt, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(num_new):
            logits = head(network(tokens)[:, -1])
            tokens = torch.cat([tokens, draw_tokens(logits, 0.8, 200, generator)[:, None]], dim=1)
    return tokens


def seconds(run: Callable[[], Tensor]) -> float:
    """Processor time of the whole process."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="16M")
    parser.add_argument("--head", choices=["harmonic", "cross_entropy"], default="harmonic")
    parser.add_argument("--new", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--longest_uncached", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    network = GPT2(50257, CONTEXT, arguments.preset).eval()
    head = {"harmonic": HarmonicHead, "cross_entropy": CrossEntropyHead}[arguments.head](
        network.out_features, network.vocab_size
    )
    embedding = network.embedding.weight
    head.tie(embedding, num_padding=len(embedding) - network.vocab_size)
    network.set_feature_scale(0.02)
    prompt = torch.tensor([[50256]])

    def cached(num_new: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return generate(network, head, prompt, num_new, 0.8, 200, generator)

    assert torch.equal(cached(16), uncached(network, head, prompt, 16))
    print(f"GPT-2 {arguments.preset}, {arguments.head}, {torch.get_num_threads()} thread(s)")
    print("| new tokens | cache, s | ms a token | no cache, s | ms a token | ratio (least, most) |")
    print("|---|---|---|---|---|---|")
    for num_new in arguments.new:
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(arguments.rounds):
            ours.append(seconds(lambda n=num_new: cached(n)))
            if num_new <= arguments.longest_uncached:
                theirs.append(seconds(lambda n=num_new: uncached(network, head, prompt, n)))
        middle = statistics.median(ours)
        row = f"| {num_new:,} | {middle:.2f} | {1e3 * middle / num_new:.1f} |"
        if theirs:
            other = statistics.median(theirs)
            ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
            row += f" {other:.2f} | {1e3 * other / num_new:.1f} | {other / middle:.1f} "
            row += f"({min(ratios):.1f}, {max(ratios):.1f}) |"
        else:
            row += " – | – | – |"
        print(row, flush=True)


if __name__ == "__main__":
    main()

"""Sampling tokens from a language model, with a KV cache; works with any head."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lightning_modules.heads import LossHead
from lightning_modules.networks import GPT2


@torch.no_grad()
def generate(
    network: GPT2,
    head: LossHead,
    prompt: Tensor,
    num_new: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    stop_token: int | None = None,
) -> Tensor:
    """Continue token sequences by sampling from the head's distribution.

    Keys and values of earlier tokens are cached, so the cost is linear in the number of new tokens.
    Of a prompt longer than ``network.context_length`` only the last tokens are read. When the
    context is full, the last half of it is read again (positions are absolute, so the cache cannot
    be shifted): on average this doubles the cost per token, and each token sees at least half a
    context.

    Network and head run in evaluation mode and are restored afterwards. A network compiled by
    ``torch.compile`` runs uncompiled, since every length would compile again.

    Args:
        network: The network.
        head: Its loss head.
        prompt: Token ids, (B, T) with T at least 1.
        num_new: Number of tokens to add, at least 1.
        temperature: Divides the logits: below 1 likely tokens become likelier. 0 always takes the
            likeliest.
        top_k: Sample from this number of likeliest tokens; None samples from all.
        generator: Random numbers, on the CPU, so that a seed gives the same tokens on every device;
            None uses seed 0. The global generator is never used.
        stop_token: A sequence that has sampled it is filled up with it.

    Returns:
        Prompt and new tokens, (B, T + num_new).

    Raises:
        ValueError: A value is out of range, or the logits are not finite.
    """
    if num_new < 1:
        raise ValueError(f"num_new is {num_new}; it must be at least 1")
    check_drawing(temperature, top_k)
    _check_prompt(head, prompt)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    batch, length = prompt.shape
    longest = network.context_length
    tokens = prompt.new_empty(batch, length + num_new)
    tokens[:, :length] = prompt
    stopped = torch.zeros(batch, dtype=torch.bool, device=prompt.device)
    cache = network.new_cache(min(longest, length + num_new))
    read = max(0, length - longest)  # tokens before this one are cached or left out
    with _evaluating(network, head):
        for end in range(length, length + num_new):
            if cache.length + end - read > longest:
                cache.clear()
                read = end - max(1, longest // 2)
            # network(...) may be compiled; forward is not.
            features = network.forward(tokens[:, read:end], cache)  # (B, end - read, C)
            read = end
            drawn = draw_tokens(head(features[:, -1]), temperature, top_k, generator)  # (B,)
            if stop_token is not None:
                drawn = torch.where(stopped, stop_token, drawn)
                stopped |= drawn == stop_token
            tokens[:, end] = drawn
            if stop_token is not None and stopped.all():
                tokens[:, end:] = stop_token
                break
    return tokens


def draw_tokens(
    logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator
) -> Tensor:
    """Sample one token (B,) for each row of logits (B, V), with a generator on the CPU.

    Raises:
        ValueError: A logit is NaN or infinite.
    """
    largest = logits.amax(dim=-1, keepdim=True)  # (B, 1); NaN where any is
    if not largest.isfinite().all():
        raise ValueError("the model's logits are NaN or infinite; use an earlier checkpoint")
    if temperature == 0:
        return logits.argmax(dim=-1)
    candidates = None
    if top_k is not None and top_k < logits.shape[-1]:
        logits, candidates = logits.topk(top_k, dim=-1)  # (B, k) each
    # On the CPU in float64: a seed gives the same tokens on every device, at any temperature.
    scaled = (logits - largest).double().cpu() / temperature
    chosen = torch.multinomial(scaled.softmax(dim=-1), 1, generator=generator)  # (B, 1)
    chosen = chosen.to(logits.device)
    return (chosen if candidates is None else candidates.gather(-1, chosen)).squeeze(-1)


def check_drawing(temperature: float, top_k: int | None) -> None:
    """Raise a ValueError if an option of ``draw_tokens`` is out of range."""
    if not 0 <= temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature}; it must be 0 (the likeliest token) or a positive number"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1, or null for all tokens")


def _check_prompt(head: LossHead, prompt: Tensor) -> None:
    if prompt.dim() != 2 or 0 in prompt.shape:
        raise ValueError(
            f"prompt has shape {tuple(prompt.shape)}, expected (sequences, tokens), at least "
            f"one of each"
        )
    least, largest = (int(bound) for bound in prompt.aminmax())
    if least < 0 or largest >= head.num_classes:
        raise ValueError(
            f"prompt has token ids from {least} to {largest}; they must be from 0 to "
            f"{head.num_classes - 1}"
        )


@contextlib.contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every submodule is in its previous mode."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training

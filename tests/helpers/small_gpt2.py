"""A small GPT-2, and token ids for it."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules import GPT2, CrossEntropyHead
from lightning_modules.heads import LossHead

SMALL = {"num_layers": 2, "num_heads": 4, "width": 32}
VOCAB, CONTEXT = 61, 12


def build(seed: int = 0, vocab_size: int = VOCAB, context_length: int = CONTEXT, **options) -> GPT2:
    """A model with the initial weights of a seed; options override its sizes."""
    torch.manual_seed(seed)
    return GPT2(vocab_size, context_length, **{**SMALL, **options})


def tokens(*shape: int, vocab_size: int = VOCAB, seed: int = 1) -> Tensor:
    """Random ids of a shape, always the same."""
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def shaken(model: GPT2) -> GPT2:
    """Perturb every parameter, so that none has its initial value of 0 or 1."""
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=rng)
    return model


def tied(model: GPT2, head: type[LossHead] = CrossEntropyHead) -> LossHead:
    """A head that shares the model's embedding, padding included."""
    tied_head = head(model.out_features, model.vocab_size)
    embedding = model.token_embedding().weight
    tied_head.tie(embedding, num_padding=len(embedding) - model.vocab_size)
    return tied_head

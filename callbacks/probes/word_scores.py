"""Scores of how much each word of a text matters, by name."""

from __future__ import annotations

import torch
from torch import Tensor

from callbacks.probes.checks import layers_of
from callbacks.probes.representations import capacity_at
from glassbox.metrics import received_attention, word_scores
from glassbox.protocols import HasRepresentations

Batch = dict[str, Tensor]

PROBABILITY, ATTENTION = "vmask_probability", "received_attention"
GRADIENT, RANDOM = "gradient_x_input", "random"
NEED_MASK = ("vmask", PROBABILITY)  # without a mask the layer vmask equals the embedding
_MASK_32 = 0xFFFFFFFF
_MULTIPLIER = 0x45D9F3B  # odd and below 2^27: a 32-bit number times this fits int64


def score_names(activations: Batch) -> list[str]:
    """The scores that a network with these ``representations`` has."""
    names = layers_of(activations)
    names += [PROBABILITY] if PROBABILITY in activations else []
    names += [ATTENTION] if "attention_weights" in activations else []
    names += [GRADIENT] if "embedding" in activations else []
    return [*names, RANDOM]


def check_score(owner: str, option: str, name: str, activations: Batch) -> None:
    """Check that the network has a score.

    Args:
        owner: Name of the probe.
        option: The probe's option whose value it is.
        name: The score.
        activations: The network's ``representations`` of any text.

    Raises:
        ValueError: It has not, or the score needs a word mask that the network lacks.
    """
    known = score_names(activations)
    if name in known:
        return
    if name == PROBABILITY:
        raise ValueError(
            f"{owner}: {option} is {name!r} and the network has no word mask; choose another "
            f"score, or set model.network.vmask to true"
        )
    raise ValueError(f"{owner}: {option} is {name!r}; choose one of {', '.join(known)}")


def score_words(
    name: str,
    batch: Batch,
    activations: Batch,
    module: HasRepresentations,
    seed: int = 0,
    draw: int = 0,
) -> Tensor:
    """How much each word matters; a word of several tokens has the mean of their scores.

    - A layer's name, such as ``ffn1``: the word's capacity there (SAFR paper, equation 3).
    - ``vmask_probability``: VMASK's probability that the word is kept.
    - ``received_attention``: the attention of all words of the text to it, in the last layer.
    - ``gradient_x_input``: |Σ_e x_e · ∂(logit of the predicted class)/∂x_e| over the entries of the
      word's embedding x. Entries may cancel, since the absolute value is that of the sum.
    - ``random``: depends on the text, the word's position, ``seed`` and ``draw`` only, and not on
      batches or ranks.

    Args:
        name: Of the score.
        batch: Texts: ``tokens``, ``mask`` and ``words`` (B, T).
        activations: The module's ``representations`` of them.
        module: The text classifier, in evaluation mode.
        seed: Of random scores.
        draw: Index of the random draw.

    Returns:
        (B, W), W being the number of words of the longest text; -inf where a text has no such word.

    Raises:
        ValueError: There is no such score.
    """
    if name == RANDOM:
        return _random_scores(batch, seed, draw)
    mask, words = batch["mask"], batch["words"]
    if name in layers_of(activations):
        return word_scores(capacity_at(name, activations, mask), words)
    check_score("score_words", "name", name, activations)
    if name == PROBABILITY:
        return word_scores(activations[PROBABILITY], words)
    if name == ATTENTION:
        return word_scores(received_attention(activations["attention_weights"], mask), words)
    return word_scores(_gradient_x_input(batch, module), words)


def _gradient_x_input(batch: Batch, module: HasRepresentations) -> Tensor:
    """(B, T), by a second forward pass: the evaluation's own has no autograd graph."""
    with torch.inference_mode(False), torch.enable_grad():
        # Copies: autograd does not accept the inference tensors of `lightning test`.
        activations = module.representations({key: value.clone() for key, value in batch.items()})
        logits, embedding = activations["logits"], activations["embedding"]
        # One backward pass for all texts, since they do not affect one another.
        predicted = logits.amax(dim=-1).sum()
        (gradient,) = torch.autograd.grad(predicted, embedding)
    return (embedding.detach().float() * gradient.float()).sum(dim=-1).abs()


def _random_scores(batch: Batch, seed: int, draw: int) -> Tensor:
    tokens, mask, words = batch["tokens"], batch["mask"], batch["words"]
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    # A sum over tokens, so that padding has no effect.
    text = (_hash(tokens + _hash(positions)) * mask).sum(dim=1, keepdim=True)  # (B, 1)
    number = torch.arange(max(1, int(words.max()) + 1), device=words.device)  # (W,)
    for key in (seed, seed >> 32, draw):
        text = _hash(text + key)
    values = _hash(text + _hash(number)).float()  # (B, W)
    last = words.amax(dim=1, keepdim=True)
    return values.masked_fill(number > last, -torch.inf)


def _hash(x: Tensor) -> Tensor:
    """32-bit integer hash (xor-shift-multiply, two rounds), element by element, in int64."""
    x = x & _MASK_32
    x = ((x ^ (x >> 16)) * _MULTIPLIER) & _MASK_32
    x = ((x ^ (x >> 16)) * _MULTIPLIER) & _MASK_32
    return x ^ (x >> 16)

"""`lightning sample`: text from the checkpoint of a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from glassbox.cli.checkpoints import LoadedModel, choose_tokenizer
from lightning_modules.gpt2.generate import check_drawing


class TextTokenizer(Protocol):
    """What is asked of a tokenizer here."""

    vocab_size: int
    end_of_text: int

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids."""


def sample(
    checkpoint: str,
    prompt: str = "",
    num_generated: int = 100,
    num_samples: int = 1,
    temperature: float = 0.8,
    top_k: int | None = 200,
    seed: int = 0,
    tokenizer: str | None = None,
    *,
    load_model: Callable[[str], LoadedModel],
    load_tokenizer: Callable[[str], TextTokenizer],
) -> str:
    """Continue a prompt with a trained language model.

    Args:
        checkpoint: A .ckpt file of `lightning fit`, or a folder in Hugging Face's format.
        prompt: Text to continue; empty begins a new text, behind the end-of-text token.
        num_generated: New tokens. A text ends before that where the model ends it.
        num_samples: Number of texts.
        temperature: Below 1 likely tokens become likelier, 0 always takes the likeliest.
        top_k: Draw each token among so many of the likeliest; null draws among all.
        seed: Of the draws; the same seed gives the same text.
        tokenizer: 'gpt2' or another of tiktoken's, 'bytes', or a tokenizer file; null takes the
            one that the model was trained with.
        load_model: From the checkpoint's path to the model.
        load_tokenizer: From a tokenizer's name to the tokenizer.

    Returns:
        Prompt and continuation; several below headings.

    Raises:
        ValueError: A value is out of range, or checkpoint, tokenizer and prompt do not fit
            together.
    """
    for option, value in (("num_generated", num_generated), ("num_samples", num_samples)):
        if value < 1:
            raise ValueError(f"{option} is {value}; it must be at least 1")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
    # Before the checkpoint is read, which takes a while; `generate` checks again.
    check_drawing(temperature, top_k)
    loaded = load_model(checkpoint)
    model, vocab_size = loaded.model, loaded.model.head.num_classes
    words = choose_tokenizer([loaded], tokenizer, load_tokenizer)
    if words is None:
        raise ValueError(
            f"{checkpoint} does not say which tokenizer made its {vocab_size:,} tokens; name it "
            f"with --tokenizer"
        )
    ids = words.encode_batch([prompt])[0].tolist() or [words.end_of_text]
    tokens = model.generate(
        torch.tensor([ids] * num_samples),
        num_generated,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        stop_token=words.end_of_text,
    )
    texts = []
    for row in tokens.tolist():
        new = row[len(ids) :]
        if words.end_of_text in new:
            new = new[: new.index(words.end_of_text)]
        # Decoded in one, since a character may begin in the prompt's last token and go on.
        new = [token for token in new if token < words.vocab_size]  # no rows of padding
        texts.append(words.decode(new if not prompt else ids + new))
    if num_samples == 1:
        return texts[0]
    headings = [f"=== sample {i} of {num_samples} ===" for i in range(1, num_samples + 1)]
    return "\n\n".join(f"{head}\n{text}" for head, text in zip(headings, texts, strict=True))

"""`lightning sample`: text from the checkpoint of a language model."""

from __future__ import annotations

import torch

from glassbox.cli.checkpoints import choose_tokenizer, load_language_model
from lightning_modules.gpt2.generate import check_drawing


def sample(
    checkpoint: str,
    prompt: str = "",
    num_generated: int = 100,
    num_samples: int = 1,
    temperature: float = 0.8,
    top_k: int | None = 200,
    seed: int = 0,
    tokenizer: str | None = None,
) -> str:
    """Continue a prompt with a trained language model.

    Args:
        checkpoint: A .ckpt file of `lightning fit`, or a folder in Hugging Face's format.
        prompt: Text to continue; if empty, the model begins a new text after the end-of-text token.
        num_generated: Maximum number of new tokens; a text ends earlier where the model ends it.
        num_samples: Number of texts.
        temperature: Below 1 favors likely tokens; 0 always takes the likeliest.
        top_k: Draw each token among the top_k likeliest; null draws among all.
        seed: Random seed; the same seed gives the same text.
        tokenizer: 'gpt2' or another of tiktoken's, 'bytes', or a tokenizer file; null takes the
            one that the model was trained with.

    Returns:
        Prompt and continuation; several have headings.

    Raises:
        ValueError: A value is out of range, or checkpoint, tokenizer and prompt do not fit
            together.
    """
    for option, value in (("num_generated", num_generated), ("num_samples", num_samples)):
        if value < 1:
            raise ValueError(f"{option} is {value}; it must be at least 1")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
    check_drawing(temperature, top_k)  # before the checkpoint is read, which takes a while
    loaded = load_language_model(checkpoint)
    words = choose_tokenizer([loaded], tokenizer)
    if words is None:
        raise ValueError(
            f"{checkpoint} does not name the tokenizer of its {loaded.model.head.num_classes:,} "
            f"tokens; name it with --tokenizer"
        )
    ids = words.encode_batch([prompt])[0].tolist() or [words.end_of_text]
    tokens = loaded.model.generate(
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
        # Decoded together, since a character may begin in the prompt's last token.
        new = [token for token in new if token < words.vocab_size]  # without rows of padding
        texts.append(words.decode(new if not prompt else ids + new))
    if num_samples == 1:
        return texts[0]
    headings = [f"=== sample {i} of {num_samples} ===" for i in range(1, num_samples + 1)]
    return "\n\n".join(f"{head}\n{text}" for head, text in zip(headings, texts, strict=True))

"""TextSamples: texts that a language model generates while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.probes.checks import datamodule_of, incompatible
from callbacks.trainer_state import is_fitting, run_folder
from glassbox.protocols import DecodesWords, GeneratesTokens


class TextSamples(L.Callback):
    """Continues prompts at validation, in TensorBoard and in ``samples.txt`` of the run's folder.

    Only rank 0 generates, after the last validation hook that ranks share. Sampling has a seed of
    its own, the same every time: it does not affect training, and differences between steps are
    those of the model. The module must have ``generate`` and the data module ``encode``, ``decode``
    and, for an empty prompt, ``end_of_text``.

    Args:
        prompts: Texts to continue; an empty one begins a new text.
        every_n_validations: Generate at every n-th validation, and when training ends.
        num_samples: Continuations of each prompt.
        num_generated: Tokens of each.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Sample among the k likeliest tokens; null samples among all.
        seed: Of the sampling.

    Raises:
        ValueError: A number is out of range, or there is no prompt.
    """

    def __init__(
        self,
        prompts: Sequence[str] = ("", "The city", "She said that"),
        every_n_validations: int = 1,
        num_samples: int = 1,
        num_generated: int = 64,
        temperature: float = 0.8,
        top_k: int | None = 200,
        seed: int = 0,
    ) -> None:
        counts = {
            "every_n_validations": every_n_validations,
            "num_samples": num_samples,
            "num_generated": num_generated,
            "top_k": 1 if top_k is None else top_k,
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"TextSamples: {name} is {value}; it must be at least 1")
        for name, number in (("temperature", temperature), ("seed", seed)):
            if not 0 <= number < float("inf"):
                raise ValueError(f"TextSamples: {name} is {number}; it must be at least 0")
        if isinstance(prompts, str) or not prompts:
            raise ValueError(f"TextSamples: prompts is {prompts!r}; give a list of texts")
        self.prompts = list(prompts)
        self.every_n_validations = every_n_validations
        self.num_samples, self.num_generated = num_samples, num_generated
        self.options = {"temperature": temperature, "top_k": top_k, "seed": seed}
        self._validations = 0
        self._written_at: int | None = None
        self._ids: list[list[int]] = []

    @property
    def state_key(self) -> str:
        # A run may have several, with different prompts.
        return self._generate_state_key(
            prompts=self.prompts, num_samples=self.num_samples, tokens=self.num_generated
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, GeneratesTokens):
            raise incompatible(self, "a module with generate", pl_module, "a LanguageModel")
        data = datamodule_of(trainer)
        if not isinstance(data, DecodesWords):
            raise incompatible(
                self, "a data module with encode and decode of words", data, "OpenWebText"
            )
        # Encode now: a missing tokenizer file should not be noticed after an hour.
        encoded = data.encode(self.prompts)
        end = getattr(data, "end_of_text", None)
        if end is None and not all(encoded):
            raise ValueError(
                f"TextSamples: prompts has an empty text, which begins with the end-of-text token, "
                f"and {type(data).__name__} has no end_of_text; remove it from prompts"
            )
        self._ids = [ids or [end] for ids in encoded]  # type: ignore[list-item]
        self._written_at = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validations += is_fitting(trainer)
        if not is_fitting(trainer) or self._validations % self.every_n_validations == 0:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._written_at != trainer.global_step:
            self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}  # so that a resumed run keeps the stride

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def _write(self, trainer: L.Trainer, module: Any) -> None:
        self._written_at = trainer.global_step
        if not trainer.is_global_zero:
            return
        samples = {}
        for prompt, ids in zip(self.prompts, self._ids, strict=True):
            try:
                samples[prompt] = self._continuations(trainer, module, prompt, ids)
            except ValueError as error:
                # The model diverged. It raises on all ranks by itself; raising here, on rank 0
                # alone, would leave the other ranks waiting.
                samples[prompt] = [f"({error})"]
        folder = run_folder(trainer)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "samples.txt").open("a", encoding="utf-8", newline="") as file:
                # Outside `fit` the trainer's step is 0, whatever the checkpoint's.
                heading = f"step {trainer.global_step:,}" if is_fitting(trainer) else "validation"
                file.write(_page(heading, samples))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for i, (prompt, texts) in enumerate(samples.items()):
                    page = f"prompt {prompt!r}\n\n" + "\n\n---\n\n".join(map(_as_code, texts))
                    logger.experiment.add_text(f"samples/{i}", page, trainer.global_step)

    def _continuations(
        self, trainer: L.Trainer, module: GeneratesTokens, prompt: str, ids: list[int]
    ) -> list[str]:
        data = datamodule_of(trainer)
        assert isinstance(data, DecodesWords)
        end = getattr(data, "end_of_text", None)
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            tokens = module.generate(
                torch.tensor([ids] * self.num_samples),
                self.num_generated,
                stop_token=end,
                **self.options,
            )
        texts = []
        for row in tokens.tolist():
            new = row[len(ids) :]
            if end in new:
                new = new[: new.index(end)]
            texts.append(data.decode(ids + new if prompt else new))
        return texts


def _page(heading: str, samples: dict[str, list[str]]) -> str:
    """The samples of one step, as appended to the file."""
    parts = [f"=== {heading} ==="]
    for prompt, texts in samples.items():
        parts += [f"--- prompt {prompt!r}\n{text}" for text in texts]
    return "\n\n".join(parts) + "\n\n"


def _as_code(text: str) -> str:
    """Markdown that shows the text as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])

"""OpenWebText: windows of tokens, of OpenWebText or any other text, for a language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.common.options import check_at_least
from datamodules.common.order import accumulation
from datamodules.common.run import check_resume_data, rank_world_pin, run_seed
from datamodules.tokens.batches import HeldOutBatches, TrainingBatches
from datamodules.tokens.meta import Meta, SplitName, read_meta
from datamodules.tokens.shards import TokenShards, check_ids
from datamodules.tokens.tokenizers import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from datamodules.tokens.prepare import Summary

# The val_check_interval that the user set, in optimizer steps, of trainers on which it has been
# replaced by the number of micro-batches.
_VAL_INTERVALS: WeakKeyDictionary[L.Trainer, int] = WeakKeyDictionary()


class OpenWebText(L.LightningDataModule):
    """Token shards of OpenWebText, or of any text files, in global batches of a fixed size.

    ``lightning prepare`` writes the shards, from local files or from a Hugging Face data set;
    nanoGPT's ``train.bin`` and ``val.bin`` work too. Training visits all windows of ``block_size``
    tokens without replacement, in an order that depends on the seed and the step alone. Validation
    uses the whole held-out set, or ``val_windows`` windows evenly spaced over it.

    Args:
        data_dir: Folder of the token shards.
        files: For ``prepare``: one or several glob patterns of .txt, .jsonl, .jsonl.gz and .parquet
            files; null takes the data set.
        dataset: For ``prepare``: name of a Hugging Face data set.
        dataset_revision: Its branch or commit. OpenWebText's main branch is a Python script, which
            no longer loads; ``refs/convert/parquet`` is the hub's conversion.
        text_field: Field of the text in jsonl and parquet files and in the data set.
        tokenizer: 'gpt2' or another of tiktoken's, 'bytes', or a tokenizer file.
        val_fraction: Fraction of the documents that ``prepare`` holds out.
        block_size: Tokens of a window (1,024 in the paper).
        global_batch_size: Windows of one optimizer step, all devices together (480 in the paper).
        micro_batch_size: Windows that a device processes at a time; gradient accumulation follows.
        val_windows: Number of held-out windows to validate on, always the same ones; null takes
            all.
        seed: Seed of the order of the windows; null takes the run's seed_everything.
        workers: Threads with which ``prepare`` encodes; null takes one per core.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        data_dir: str = "data/openwebtext",
        files: str | list[str] | None = None,
        dataset: str = "Skylion007/openwebtext",
        dataset_revision: str | None = None,
        text_field: str = "text",
        tokenizer: str = "gpt2",
        val_fraction: float = 0.0005,
        block_size: int = 1024,
        global_batch_size: int = 480,
        micro_batch_size: int = 12,
        val_windows: int | None = None,
        seed: int | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__()
        check_at_least(
            1,
            block_size=block_size,
            global_batch_size=global_batch_size,
            micro_batch_size=micro_batch_size,
            val_windows=val_windows,
            workers=workers,
        )
        check_at_least(0, seed=seed)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction is {val_fraction}; it must be at least 0 and below 1")
        self.data_dir = Path(data_dir)
        self.files = [files] if isinstance(files, str) else files
        self.dataset = dataset
        self.dataset_revision = dataset_revision
        self.text_field = text_field
        self.tokenizer = tokenizer
        self.val_fraction = val_fraction
        self.block_size = block_size
        self.global_batch_size = global_batch_size
        self.micro_batch_size = micro_batch_size
        self.val_windows = val_windows
        self.seed = seed
        self.workers = workers
        self._shards: dict[SplitName, TokenShards] = {}
        self._tokenizer: Tokenizer | None = None

    # ---- text to tokens ------------------------------------------------------------------------

    def prepare(self) -> Summary:
        """Write the token shards; resumes an interrupted preparation.

        Returns:
            A summary, which prints as a table.

        Raises:
            ValueError: Text, tokenizer or folder cannot be used.
        """
        from datamodules.documents.sources import Documents, FileDocuments, HubDocuments
        from datamodules.tokens.prepare import prepare

        source: Documents = (
            FileDocuments(self.files, self.text_field)
            if self.files
            else HubDocuments(self.dataset, self.text_field, self.dataset_revision)
        )
        tokenizer = load_tokenizer(self.tokenizer)
        return prepare(source, self.data_dir, tokenizer, self.val_fraction, self.workers)

    # ---- sizes, which the command line links to the model's options ----------------------------

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the tokenizer that made the shards."""
        meta = read_meta(self.data_dir)
        if meta.exact or self.tokenizer == meta.tokenizer:
            return meta.vocab_size
        return load_tokenizer(self.tokenizer).vocab_size  # nanoGPT's files do not record it

    @property
    def context_length(self) -> int:
        """Tokens of a window."""
        return self.block_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.shards("train").num_windows(self.block_size) // self.global_batch_size

    @property
    def num_val_windows(self) -> int:
        """Windows that validation uses."""
        available = self.shards("val").num_windows(self.block_size)
        return available if self.val_windows is None else min(available, self.val_windows)

    def shards(self, split: SplitName) -> TokenShards:
        """The tokens of a split, opened at first use.

        Raises:
            ValueError: They are missing, incomplete, or of another vocabulary.
        """
        if split not in self._shards:
            self._shards[split] = TokenShards(self.data_dir, split, self.vocab_size)
        return self._shards[split]

    # ---- for probes ----------------------------------------------------------------------------

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [ids.tolist() for ids in self._loaded_tokenizer().encode_batch(texts)]

    def decode(self, ids: list[int]) -> str:
        """The text of token ids."""
        return self._loaded_tokenizer().decode(ids)

    @property
    def end_of_text(self) -> int:
        """The id that follows every document."""
        return self._loaded_tokenizer().end_of_text

    def _loaded_tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.tokenizer)
        return self._tokenizer

    # ---- Lightning's hooks ---------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Check on one process that all ids are in the vocabulary; reads nanoGPT's shards once."""
        fitting = self.trainer is None or self.trainer.state.fn in (None, TrainerFn.FITTING)
        splits: list[SplitName] = ["train", "val"] if fitting else ["val"]
        for split in splits:
            check_ids(self.data_dir, split, self.vocab_size)

    def setup(self, stage: str | None = None) -> None:
        """Open the shards, and for ``fit`` set the trainer's gradient accumulation.

        Raises:
            ValueError: Shards, batch sizes and devices are incompatible.
        """
        meta = read_meta(self.data_dir)
        if meta.exact and meta.tokenizer != self.tokenizer and not self._same_tokenizer(meta):
            raise ValueError(
                f"data.tokenizer is {self.tokenizer!r} but the shards in {self.data_dir} were made "
                f"with {meta.tokenizer!r}; set it to that, or data.data_dir to another folder"
            )
        self._shards.clear()
        self._check_windows("val", 1, "lower data.block_size")
        ranks = self.trainer.world_size if self.trainer is not None else 1
        if self.num_val_windows < ranks:  # a rank without a batch would block the others
            raise ValueError(
                f"validation has {self.num_val_windows} windows but needs one per device, at least "
                f"{ranks}; raise data.val_windows, lower data.block_size, or hold out more text"
            )
        if stage in (None, "fit"):
            hint = "lower data.block_size or data.global_batch_size"
            self._check_windows("train", self.global_batch_size, hint)
        if self.trainer is not None and stage == "fit":
            self._set_accumulation(self.trainer)

    def _check_windows(self, split: SplitName, minimum: int, hint: str) -> None:
        shards = self.shards(split)
        if (windows := shards.num_windows(self.block_size)) < minimum:
            raise ValueError(
                f"split {split!r} in {self.data_dir} has {shards.num_tokens:,} tokens, which are "
                f"{windows} windows of block_size {self.block_size}, but needs at least {minimum}; "
                f"{hint}, or prepare more text"
            )

    def _same_tokenizer(self, meta: Meta) -> bool:
        """Whether the shards' tokenizer is this one under another path."""
        is_file = Path(self.tokenizer).exists()
        return is_file and load_tokenizer(self.tokenizer).fingerprint == meta.settings["tokenizer"]

    def _set_accumulation(self, trainer: L.Trainer) -> None:
        """Set the micro-batches per step, and convert ``val_check_interval`` from steps to them."""
        number = accumulation(self.global_batch_size, self.micro_batch_size, trainer.world_size)
        if trainer.accumulate_grad_batches not in (1, number):
            raise ValueError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches} but "
                f"data.global_batch_size requires {number}; remove it from the config"
            )
        limit = trainer.limit_train_batches
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            limit = 1.0
        if limit != 1.0 and trainer.max_steps < 0:
            raise ValueError(
                f"trainer.limit_train_batches is {limit} but trainer.max_epochs counts whole "
                f"epochs; set trainer.max_steps instead of both"
            )
        if isinstance(limit, int) and limit % number:
            raise ValueError(
                f"trainer.limit_train_batches is {limit} micro-batches but must be a multiple of "
                f"{number}, those of a step; or set trainer.max_steps instead"
            )
        trainer.accumulate_grad_batches = number
        # Lightning counts micro-batches, a config counts steps.
        if isinstance(trainer.val_check_interval, int):
            steps = _VAL_INTERVALS.setdefault(trainer, trainer.val_check_interval)
            trainer.val_check_interval = steps * number

    def train_dataloader(self) -> TrainingBatches:
        """One epoch of micro-batches, from the current step."""
        rank, world, pin = rank_world_pin(self.trainer)
        return TrainingBatches(
            self.shards("train"),
            self.block_size,
            run_seed(self.seed),
            self.global_batch_size,
            self.micro_batch_size,
            rank,
            world,
            lambda: self.trainer.global_step if self.trainer is not None else 0,
            pin,
        )

    def val_dataloader(self) -> HeldOutBatches:
        """The held-out windows, each once."""
        rank, world, pin = rank_world_pin(self.trainer)
        return HeldOutBatches(
            self.shards("val"),
            self.block_size,
            self.num_val_windows,
            self.micro_batch_size,
            rank,
            world,
            pin,
        )

    def test_dataloader(self) -> HeldOutBatches:
        """The same as for validation."""
        return self.val_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """What determines the windows of each step, and the tokenizer."""
        return {**self._resume_settings(), "tokenizer": self.tokenizer}

    def _resume_settings(self) -> dict[str, Any]:
        return {
            "block_size": self.block_size,
            "global_batch_size": self.global_batch_size,
            "seed": run_seed(self.seed),
            "training tokens": self.shards("train").num_tokens,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check a checkpoint that training resumes from.

        Raises:
            ValueError: The same step would have other windows.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_resume_data(self.trainer, state_dict, self._resume_settings())

    def __str__(self) -> str:
        """Overrides Lightning's, which would iterate the loaders."""
        return f"OpenWebText({self.data_dir})"

    def describe(self) -> dict[str, str]:
        """Summary of the data for the command `check`."""
        train, val = self.shards("train"), self.shards("val")
        tokens = self.global_batch_size * self.block_size
        ranks = self.trainer.world_size if self.trainer is not None else 1
        times = accumulation(self.global_batch_size, self.micro_batch_size, ranks)
        on_each = f" on each of {ranks} devices" if ranks > 1 else ""
        return {
            "tokens": f"{train.num_tokens:,} for training, {val.num_tokens:,} held out, "
            f"{self.num_val_windows:,} windows validated on",
            "batch": f"{self.global_batch_size} × {self.block_size:,} = {tokens:,} tokens a step, "
            f"{self.micro_batch_size} windows at a time, {times} times{on_each}",
        }

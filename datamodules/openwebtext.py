"""OpenWebText, or any other text, as windows of tokens for a language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L

from datamodules.common.order import accumulation
from datamodules.common.run import check_resume_data, place, run_seed
from datamodules.tokens.batches import HeldOutBatches, TrainingBatches
from datamodules.tokens.shards import Meta, TokenShards, check_ids, read_meta
from datamodules.tokens.tokenizers import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from datamodules.tokens.prepare import Summary


class OpenWebText(L.LightningDataModule):
    """Token shards of OpenWebText, or of any text files, in batches of a stated global size.

    ``lightning prepare`` writes the shards, from local files or from the Hugging Face data set;
    nanoGPT's ``train.bin`` and ``val.bin`` are taken as they are. Training goes through all windows
    of ``block_size`` tokens without replacement, in an order that depends on the seed and the step
    alone. Validation is the whole held-out set, or ``val_windows`` windows spread evenly over it.

    Args:
        data_dir: Folder of the token shards.
        files: Text for ``prepare``: a glob pattern, or several, of .txt, .jsonl, .jsonl.gz and
            .parquet files; null takes the data set.
        dataset: Name of a Hugging Face data set for ``prepare``.
        dataset_revision: Its branch or commit. Data sets that are Python scripts, as OpenWebText's
            main branch, no longer load; ``refs/convert/parquet`` is the hub's own conversion.
        text_field: Field of the text in jsonl and parquet files and in the data set.
        tokenizer: 'gpt2' or another of tiktoken's, 'bytes', or a tokenizer file.
        val_fraction: Share of the documents that ``prepare`` holds out.
        block_size: Tokens of a window (1,024 in the paper).
        global_batch_size: Windows of one optimizer step, all devices together (480 in the paper).
        micro_batch_size: Windows that a device holds at a time; accumulation follows from it.
        val_windows: Validate on so many windows, always the same ones, spread evenly over the
            held-out set; null takes all.
        seed: Of the order of the windows; null takes the run's seed_everything.
        workers: Threads that ``prepare`` encodes in; null takes all processors.

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
        sizes = {
            "block_size": block_size,
            "global_batch_size": global_batch_size,
            "micro_batch_size": micro_batch_size,
            "val_windows": 1 if val_windows is None else val_windows,
        }
        if seed is not None and seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
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
        self.train_shards: TokenShards | None = None
        self.val_shards: TokenShards | None = None
        self._accumulates = 0
        self._tokenizer: Tokenizer | None = None
        self._told: Any = None  # the trainer whose interval of validation was converted

    # ---- text to tokens ------------------------------------------------------------------------

    def prepare(self) -> Summary:
        """Write the token shards; goes on where it was interrupted.

        Returns:
            What was written; printing it gives a table.

        Raises:
            ValueError: Text, tokenizer or folder cannot be used.
        """
        from datamodules.documents.sources import Documents, FileDocuments, HubDocuments
        from datamodules.tokens.prepare import prepare

        source: Documents = (
            FileDocuments(self.files, self.text_field)
            if self.files
            else HubDocuments(self.dataset, self.text_field, revision=self.dataset_revision)
        )
        tokenizer = load_tokenizer(self.tokenizer)
        return prepare(source, self.data_dir, tokenizer, self.val_fraction, workers=self.workers)

    # ---- what the model must know --------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the tokenizer that made the shards."""
        meta = read_meta(self.data_dir)
        if meta.exact or self.tokenizer == meta.tokenizer:
            return meta.vocab_size
        return load_tokenizer(self.tokenizer).vocab_size  # nanoGPT's files do not say

    @property
    def context_length(self) -> int:
        """Tokens of a window: the longest context."""
        return self.block_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch (after ``setup``)."""
        assert self.train_shards is not None
        return self.train_shards.num_windows(self.block_size) // self.global_batch_size

    @property
    def num_val_windows(self) -> int:
        """Windows that validation reads (after ``setup``)."""
        assert self.val_shards is not None
        windows = self.val_shards.num_windows(self.block_size)
        return windows if self.val_windows is None else min(windows, self.val_windows)

    # ---- what probes ask -----------------------------------------------------------------------

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
        """Read nanoGPT's shards once for ids that the vocabulary has not; one rank does it."""
        for split in ("train", "val"):
            check_ids(self.data_dir, split, self.vocab_size)

    def setup(self, stage: str | None = None) -> None:
        """Open the shards and tell the trainer how many micro-batches make a step.

        Raises:
            ValueError: Shards, batch sizes and devices do not fit together.
        """
        vocabulary = self.vocab_size
        meta = read_meta(self.data_dir)
        if meta.exact and meta.tokenizer != self.tokenizer and not self._same_tokenizer(meta):
            raise ValueError(
                f"the shards in {self.data_dir} were made with the tokenizer {meta.tokenizer!r}, "
                f"and data.tokenizer is {self.tokenizer!r}; set it to the first, or name another "
                f"folder"
            )
        self.train_shards = TokenShards(self.data_dir, "train", vocabulary)
        self.val_shards = TokenShards(self.data_dir, "val", vocabulary)
        for name, shards, least in (
            ("validation", self.val_shards, 1),
            ("training", self.train_shards, self.global_batch_size),
        ):
            if (windows := shards.num_windows(self.block_size)) < least:
                batch = " or data.global_batch_size" if name == "training" else ""
                raise ValueError(
                    f"the {name} set in {self.data_dir} has {shards.num_tokens:,} tokens, "
                    f"{windows} windows of block_size {self.block_size}, and {least} are needed; "
                    f"lower data.block_size{batch}, or prepare more text"
                )
        ranks = self.trainer.world_size if self.trainer is not None else 1
        if self.num_val_windows < ranks:  # a rank without a batch would leave the others waiting
            raise ValueError(
                f"validation has {self.num_val_windows} windows, and at least {ranks} are needed, one "
                f"for each device; raise data.val_windows, lower data.block_size, or hold out more "
                f"text"
            )
        if self.trainer is not None and stage == "fit":
            self._set_accumulation(self.trainer)

    def _same_tokenizer(self, meta: Meta) -> bool:
        """Whether the shards' tokenizer is this one under another path."""
        is_file = Path(self.tokenizer).exists()
        return is_file and load_tokenizer(self.tokenizer).fingerprint == meta.settings["tokenizer"]

    def _set_accumulation(self, trainer: Any) -> None:
        number = accumulation(self.global_batch_size, self.micro_batch_size, trainer.world_size)
        if trainer.accumulate_grad_batches not in (1, number):
            raise ValueError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}, and "
                f"data.global_batch_size asks for {number}; leave it out of the config"
            )
        limit = trainer.limit_train_batches
        if limit != 1.0 and trainer.max_steps < 0 and not trainer.fast_dev_run:
            raise ValueError(
                f"trainer.limit_train_batches is {limit} and trainer.max_epochs counts whole "
                f"epochs; set trainer.max_steps instead of both"
            )
        if isinstance(limit, int) and limit % number and not trainer.fast_dev_run:
            raise ValueError(
                f"trainer.limit_train_batches is {limit}, which counts micro-batches, and "
                f"{number} of them make a step; take a multiple of {number}, or set "
                f"trainer.max_steps instead"
            )
        trainer.accumulate_grad_batches = number
        # Lightning counts micro-batches here, a config counts steps.
        if isinstance(trainer.val_check_interval, int) and self._told is not trainer:
            trainer.val_check_interval *= number
        self._accumulates, self._told = number, trainer

    def train_dataloader(self) -> TrainingBatches:
        """One epoch of micro-batches, from the step that is current."""
        assert self.train_shards is not None, "call setup() before asking for a data loader"
        rank, world, pin = place(self.trainer)
        return TrainingBatches(
            self.train_shards,
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
        """The held-out windows, every one once."""
        assert self.val_shards is not None, "call setup() before asking for a data loader"
        rank, world, pin = place(self.trainer)
        return HeldOutBatches(
            self.val_shards,
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
        """What the position in the data, an optimizer step, is counted in; and the tokenizer."""
        return {**self._position(), "tokenizer": self.tokenizer}

    def _position(self) -> dict[str, Any]:
        return {
            "block_size": self.block_size,
            "global_batch_size": self.global_batch_size,
            "seed": run_seed(self.seed),
            "training tokens": self.train_shards.num_tokens if self.train_shards else 0,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data than those of the run that wrote a checkpoint.

        Raises:
            ValueError: The same step would be another place in the data.
        """
        consequence = "so that the same step is another place in the data"
        check_resume_data(self.trainer, state_dict, self._position(), consequence)

    def describe(self) -> dict[str, str]:
        """What the command `check` shows of the data (after ``setup``)."""
        assert self.train_shards is not None and self.val_shards is not None
        tokens = self.global_batch_size * self.block_size
        ranks = self.trainer.world_size if self.trainer is not None else 1
        on_each = f" on each of {ranks} devices" if ranks > 1 else ""
        return {
            "tokens": f"{self.train_shards.num_tokens:,} for training, "
            f"{self.val_shards.num_tokens:,} held out, {self.num_val_windows:,} windows validated on",
            "batch": f"{self.global_batch_size} × {self.block_size:,} = {tokens:,} tokens a step, "
            f"{self.micro_batch_size} windows at a time, {self._accumulates or 1} times{on_each}",
        }

"""SST2: sentences of film reviews, positive or negative, in three selections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from datamodules.common.options import as_folder, choose
from datamodules.texts.base import TextData
from datamodules.texts.encoding import TextSplits
from datamodules.texts.reading import (
    SUFFIXES,
    LabeledTexts,
    class_label,
    find_file,
    load_labeled_texts,
    read_labeled_texts,
    read_trees,
)

FOLDERS = {"safr": "safr_sst2", "standard": "sst2", "glue": "glue_sst2"}  # by variant
TREES = "trees"
DEV = ("dev", "validation")
# stanfordnlp/sst has a sentiment from 0 to 1 for each sentence; stanfordnlp/sst2 is GLUE's.
DATASETS = {"safr": "stanfordnlp/sst", "standard": "stanfordnlp/sst", "glue": "stanfordnlp/sst2"}
# stanfordnlp/sst is a Python script, which datasets no longer loads; this branch is the hub's
# conversion, with one folder per configuration: sentences, the dictionary of phrases, and trees.
CONVERTED = {"stanfordnlp/sst": "refs/convert/parquet"}
SENTENCES = "default"


class SST2(TextData):
    """Sentences of the Stanford Sentiment Treebank (Socher et al. 2013), without neutral ones.

    Variants:

    - 'safr': the selection of SAFR's authors (6,244 / 825 / 1,743 sentences for training,
      validation and test; the paper reports 1,749 test sentences): without sentences that have a
      bracket or a non-ASCII letter, and as many negative as positive training sentences.
    - 'standard': 6,920 / 872 / 1,821.
    - 'glue': 67,349 phrases and 872 sentences, in lower case. GLUE's test set has no public labels,
      so the 872 are both validation and test.

    Args:
        data_dir: Folder with a folder ``safr_sst2``, ``sst2`` or ``glue_sst2`` of files train, dev
            and test (.tsv or .jsonl, optionally .gz), or with the treebank in ``trees``; or one of
            these folders itself. Null loads the data set from the Hugging Face hub. The SAFR
            selection is computed from the standard one if it has no folder of its own.
        variant: 'safr', 'standard' or 'glue'.
        dataset: Name of the data set on the hub, or a folder that the library can read; null takes
            the variant's.
        dataset_revision: Its branch or commit; null takes one that the library can load.
        tokenizer: 'words' for the words of the training texts, split at white space; or one of
            tiktoken's encodings, 'bytes', or a tokenizer file, for subwords.
        min_frequency: With 'words', how often a word must occur in the training texts to be known
            (2 in the paper).
        max_length: Longest sentence, in tokens (128 in the authors' code); the rest is cut off.
        batch_size: Sentences of one optimizer step, all devices together (32 in the paper).
        pad_to: 'batch' pads to the longest text of a batch, 'max_length' always to that.
        bucket_batches: Number of batches that are drawn together and sorted by length, so that the
            texts of a batch have similar lengths; 0 for batches of any length.
        seed: Seed of the order of the texts; null takes the run's seed_everything.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        variant: str = "safr",
        dataset: str | None = None,
        dataset_revision: str | None = None,
        tokenizer: str = "words",
        min_frequency: int = 2,
        max_length: int = 128,
        batch_size: int = 32,
        pad_to: str = "batch",
        bucket_batches: int = 50,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            tokenizer, min_frequency, max_length, batch_size, pad_to, bucket_batches, seed
        )
        choose("variant", variant, list(FOLDERS))
        self.data_dir = as_folder(data_dir)
        self.variant = variant
        self.dataset = dataset or DATASETS[variant]
        self.dataset_revision = dataset_revision or CONVERTED.get(self.dataset)

    def settings(self) -> dict[str, Any]:
        """The variant."""
        return {"variant": self.variant}

    def read(self) -> TextSplits:
        """Training, validation and test sentences.

        Raises:
            ValueError: They cannot be read.
        """
        names = {"train": ("train",), "val": DEV, "test": ("test",)}
        if self.variant == "glue":
            del names["test"]
        if self.data_dir is None:
            parts = {part: self._load(names[part][-1]) for part in names}
            source = "standard" if self.variant == "safr" else self.variant
        else:
            folder, source = self._folder(self.data_dir)
            parts = {part: _read(folder, names[part]) for part in names}
        if self.variant == "safr" and source == "standard":
            parts = {name: safr_selection(part, name == "train") for name, part in parts.items()}
        return TextSplits(parts["train"], parts["val"], parts.get("test", parts["val"]))

    def setup(self, stage: str | None = None) -> None:
        """Read and encode the texts if necessary; warns if GLUE is used for testing."""
        super().setup(stage)
        if stage in ("fit", "test", "predict") and self.variant == "glue":
            rank_zero_warn(
                "the GLUE test split has no labels; 'test' is the validation set, so scores of a "
                "model selected on it are optimistic",
                stacklevel=2,
            )

    def _load(self, split: str) -> LabeledTexts:
        """A split of the data set on the hub."""
        revision = self.dataset_revision
        is_converted = revision is not None and revision == CONVERTED.get(self.dataset)
        folder = SENTENCES if is_converted or Path(self.dataset, SENTENCES).is_dir() else None
        return load_labeled_texts(self.dataset, split, revision, sentiment_label, folder)

    def _folder(self, data_dir: Path) -> tuple[Path, str]:
        """The folder of the variant's files, and the variant of these files."""
        named = next((v for v, name in FOLDERS.items() if name == data_dir.name), None)
        if data_dir.name == TREES:
            named = "standard"
        if named is not None:
            if self.variant != named and (self.variant, named) != ("safr", "standard"):
                raise ValueError(
                    f"data.data_dir is {data_dir}, the folder of variant {named!r}, but "
                    f"data.variant is {self.variant!r}; set variant to {named!r}, or data_dir to "
                    f"the folder above"
                )
            return data_dir, named
        candidates = [(data_dir / FOLDERS[self.variant], self.variant)]
        if self.variant != "glue":
            candidates += [(data_dir / name, "standard") for name in (FOLDERS["standard"], TREES)]
        for folder, variant in candidates:
            if folder.is_dir():
                return folder, variant
        if data_dir.is_dir() and not any(data_dir.glob("train.*")):
            wanted = " or ".join(folder.name for folder, _ in candidates)
            raise ValueError(
                f"{data_dir} has neither a folder {wanted} nor files train, dev and test of the "
                f"variant {self.variant!r} ({', '.join(SUFFIXES)}); add them, set --data.data_dir "
                f"to another folder, or leave it at null to load from the hub"
            )
        return data_dir, self.variant


def safr_selection(part: LabeledTexts, balanced: bool) -> LabeledTexts:
    """SAFR's selection of standard sentences.

    SAFR's reading code keeps sentences whose text is literally a phrase of the treebank, which
    excludes those in which the release writes a bracket as -LRB- or encodes a letter twice.

    Args:
        part: Standard sentences.
        balanced: Cut to as many sentences of each class, positive ones first, as for training.
    """
    kept = [
        (text, label)
        for text, label in zip(part.texts, part.labels, strict=True)
        if text.isascii() and "-LRB-" not in text and "-RRB-" not in text
    ]
    if balanced:
        positive, negative = ([pair for pair in kept if pair[1] == label] for label in (1, 0))
        size = min(len(positive), len(negative))
        kept = positive[:size] + negative[:size]
    return LabeledTexts([text for text, _ in kept], [label for _, label in kept], part.source)


def sentiment_label(value: Any, where: str) -> int | None:
    """The class of a label, or of a sentiment from 0 to 1.

    Sentiments up to 0.4 are negative, above 0.6 positive, and between them neutral: left out (the
    release's README).

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, float) and 0 <= value <= 1:
        # 1e-6: the rounding error of single precision at the bounds.
        return 0 if value <= 0.4 + 1e-6 else 1 if value > 0.6 + 1e-6 else None
    return class_label(value, where)


def _read(folder: Path, names: tuple[str, ...]) -> LabeledTexts:
    """The file of a split: sentences and labels, or trees."""
    path = find_file(folder, names, (*SUFFIXES, ".txt"))
    return read_trees(path) if path.suffix == ".txt" else read_labeled_texts(path)

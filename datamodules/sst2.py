"""SST-2: sentences of film reviews, positive or negative, in three selections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from datamodules.texts.base import TextData, as_folder, choose
from datamodules.texts.encoding import Splits
from datamodules.texts.reading import (
    SUFFIXES,
    LabeledTexts,
    class_label,
    find_file,
    load_labeled_texts,
    read_labeled_texts,
    read_trees,
)

VARIANTS = ("safr", "standard", "glue")
FOLDERS = {"safr": "safr_sst2", "standard": "sst2", "glue": "glue_sst2"}
TREES = "trees"
DEV = ("dev", "validation")
# The sentences of the first have a sentiment from 0 to 1; the second is GLUE's.
DATASETS = {"safr": "stanfordnlp/sst", "standard": "stanfordnlp/sst", "glue": "stanfordnlp/sst2"}
# The hub's own conversion of a data set that is a Python script, which no longer loads. It has a
# folder for each configuration: whole sentences, the dictionary of phrases, and trees.
CONVERTED = {"stanfordnlp/sst": "refs/convert/parquet"}
SENTENCES = "default"


class SST2(TextData):
    """Sentences of the Stanford Sentiment Treebank (Socher et al. 2013), neutral ones left out.

    Variants:

    - 'safr': as SAFR's authors select them (6,244 / 825 / 1,743 sentences for training, validation
      and test; the paper has 1,749 in the test): without sentences that hold a bracket or a letter
      beyond ASCII, and with as many negative as positive training sentences.
    - 'standard': 6,920 / 872 / 1,821.
    - 'glue': 67,349 phrases and 872 sentences, in lower case. GLUE's test has no public labels, so
      that the 872 are validation and test.

    Args:
        data_dir: Folder with a folder ``safr_sst2``, ``sst2`` or ``glue_sst2`` of the files train,
            dev and test (.tsv or .jsonl, maybe .gz), or with the treebank in ``trees``; or one of
            these folders itself. Null loads the data set from the Hugging Face hub. The SAFR
            selection is made of the standard one where it has no folder of its own.
        variant: 'safr', 'standard' or 'glue'.
        dataset: Name of the data set on the hub, or a folder that the library reads; null takes
            the variant's.
        dataset_revision: Its branch or commit; null takes what loads.
        tokenizer: 'words' for the words of the training texts, cut at white space; or one of
            tiktoken's encodings, 'bytes', or a tokenizer file, for pieces of words.
        min_frequency: How often a word must occur in the training texts to be known (2 in the
            paper).
        max_length: Longest sentence, in tokens (128 in the authors' code); the rest is cut off.
        batch_size: Sentences of one optimizer step, all devices together (32).
        pad_to: 'batch' pads to the longest text of a batch, 'max_length' always to that.
        bucket_batches: So many batches are drawn together and sorted by length, so that texts of a batch
            are of like length; 0 for batches of any length.
        seed: Of the order of the texts; null takes the run's seed_everything.

    Raises:
        ValueError: There is no such variant, or a number is out of range.
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
        choose("variant", variant, VARIANTS)
        self.data_dir = as_folder(data_dir)
        self.variant = variant
        self.dataset = dataset or DATASETS[variant]
        self.dataset_revision = dataset_revision or CONVERTED.get(self.dataset)

    def settings(self) -> dict[str, Any]:
        """The variant."""
        return {"variant": self.variant}

    def read(self) -> Splits:
        """Training, validation and test sentences.

        Raises:
            ValueError: They cannot be read.
        """
        if self.data_dir is None:
            return self._from_hub(self.dataset)
        folder, variant = self._folder(self.data_dir)
        parts = {
            name: _read(folder, names)
            for name, names in (("train", ("train",)), ("val", DEV), ("test", ("test",)))
            if not (self.variant == "glue" and name == "test")
        }
        return self._selected(parts, variant)

    def setup(self, stage: str | None = None) -> None:
        """As in every ``TextData``; says which part GLUE is tested on."""
        super().setup(stage)
        if stage in ("fit", "test", "predict") and self.variant == "glue":
            rank_zero_warn(
                "GLUE's test has no public labels: what is called the test here is the validation "
                "set again, and a model that was chosen on it looks better than it is",
                stacklevel=2,
            )

    def _folder(self, data_dir: Path) -> tuple[Path, str]:
        """Where the variant's files are, and of which variant they are."""
        named = [variant for variant, name in FOLDERS.items() if name == data_dir.name]
        if named and self.variant not in named and (self.variant, named[0]) != ("safr", "standard"):
            raise ValueError(
                f"data.data_dir is {data_dir}, the folder of the variant {named[0]!r}, and "
                f"data.variant is {self.variant!r}; set it to the first, or name the folder above"
            )
        if named or data_dir.name == TREES:
            if self.variant == "glue" and data_dir.name == TREES:
                raise ValueError(
                    f"data.data_dir is {data_dir}, and the treebank does not hold GLUE's phrases; "
                    f"set data.variant to 'safr' or 'standard', or name a folder with glue_sst2"
                )
            return data_dir, named[0] if named else "standard"
        places = [(data_dir / FOLDERS[self.variant], self.variant)]
        if self.variant != "glue":
            places += [(data_dir / FOLDERS["standard"], "standard"), (data_dir / TREES, "standard")]
        for place, variant in places:
            if place.is_dir():
                return place, variant
        if data_dir.is_dir() and not any(data_dir.glob("train.*")):
            wanted = " or ".join(place.name for place, _ in places)
            raise ValueError(
                f"{data_dir} holds neither a folder {wanted} nor files train, dev and test of the "
                f"variant {self.variant!r} ({', '.join(SUFFIXES)}); put them there, name another "
                f"folder with --data.data_dir, or leave it at null to load from the hub"
            )
        return data_dir, self.variant

    def _from_hub(self, name: str) -> Splits:
        revision = self.dataset_revision
        converted = revision is not None and revision == CONVERTED.get(name)
        folder = SENTENCES if converted or Path(name, SENTENCES).is_dir() else None
        parts = {
            part: load_labeled_texts(name, split, revision, sentiment_label, folder)
            for part, split in (("train", "train"), ("val", "validation"), ("test", "test"))
            if not (self.variant == "glue" and part == "test")
        }
        return self._selected(parts, "standard" if self.variant == "safr" else self.variant)

    def _selected(self, parts: dict[str, LabeledTexts], variant: str) -> Splits:
        """The variant's sentences out of those of the variant that was read."""
        if self.variant == "safr" and variant == "standard":
            parts = {name: safr_selection(part, name == "train") for name, part in parts.items()}
        return Splits(parts["train"], parts["val"], parts.get("test", parts["val"]))


def safr_selection(part: LabeledTexts, balanced: bool) -> LabeledTexts:
    """The sentences that SAFR's reading code keeps of the standard ones.

    It takes those whose text is a phrase of the treebank to the letter, which fails where the
    release writes a bracket as -LRB- or encodes a letter twice.

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
        classes = [[pair for pair in kept if pair[1] == label] for label in (1, 0)]
        size = min(map(len, classes))
        kept = [pair for of_class in classes for pair in of_class[:size]]
    return LabeledTexts([t for t, _ in kept], [label for _, label in kept], part.source)


def sentiment_label(value: Any, where: str) -> int | None:
    """The class of a label, or of a sentiment from 0 to 1.

    Up to 0.4 is negative, above 0.6 positive, and between them neutral: left out (the release's
    README).

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, float) and 0 <= value <= 1:
        # Single precision lies as much beside the bounds.
        return 0 if value <= 0.4 + 1e-6 else 1 if value > 0.6 + 1e-6 else None
    return class_label(value, where)


def _read(folder: Path, names: tuple[str, ...]) -> LabeledTexts:
    """A file of a split: sentences and labels, or trees."""
    path = find_file(folder, names, (*SUFFIXES, ".txt"))
    return read_trees(path) if path.suffix == ".txt" else read_labeled_texts(path)

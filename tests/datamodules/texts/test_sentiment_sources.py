"""Sources of SST-2 and IMDB: folders, trees, data sets of the library; and the real data."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from datamodules import IMDB, SST2
from datamodules.sst2 import sentiment_label
from tests.helpers.paths import DATA

needs_sst = pytest.mark.skipif(
    not (DATA / "sst").is_dir(), reason="needs sst in GLASSBOX_TEST_DATA"
)

SENTENCES = [
    ("A fine film .", 1),
    ("Bad", 0),
    ("-LRB- So -RRB- good", 1),
    ("Café society , dull", 0),
    ("Fine indeed", 1),
    ("Very , very fine", 1),
    ("Dull", 0),
]
SAFR_TRAIN = [("A fine film .", 1), ("Fine indeed", 1), ("Bad", 0), ("Dull", 0)]
SAFR_HELD_OUT = [pair for pair in SENTENCES if pair[0].isascii() and "LRB" not in pair[0]]


def tree(text: str, label: int) -> str:
    leaves = " ".join(f"(2 {word})" for word in text.split())
    return f"({4 if label else 0} {leaves})"


def write(folder: Path, names=("train", "dev", "test"), trees=False, pairs=SENTENCES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        lines = [f"{text}\t{label}" for text, label in pairs]
        content = "\n".join(["sentence\tlabel", *lines])
        if trees:
            content = "\n".join([tree(*pair) for pair in pairs] + ["(2 (2 So) (2 what))"])
        (folder / f"{name}.{'txt' if trees else 'tsv'}").write_text(content + "\n")
    return folder


def pairs_of(part) -> list[tuple[str, int]]:
    return list(zip(part.texts, part.labels, strict=True))


# ---- SST-2 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("place", ["sst2", "trees"])
def test_both_variants_are_read_from_standard_sentences_in_tables_or_trees(tmp_path, place, itself):
    folder = write(tmp_path / place, trees=place == "trees")
    name = str(folder if itself else tmp_path)
    standard, safr = (SST2(name, variant=variant).read() for variant in ("standard", "safr"))
    assert [pairs_of(part) for part in standard] == [SENTENCES] * 3
    assert [pairs_of(part) for part in safr] == [SAFR_TRAIN, SAFR_HELD_OUT, SAFR_HELD_OUT]


def test_a_variant_s_own_folder_has_precedence(tmp_path):
    write(tmp_path / "sst2")
    write(tmp_path / "safr_sst2", pairs=SENTENCES[:2])
    assert pairs_of(SST2(str(tmp_path)).read().train) == SENTENCES[:2]
    own = write(tmp_path / "mine", pairs=SENTENCES[1:3])
    assert pairs_of(SST2(str(own)).read().train) == SENTENCES[1:3]


def test_glue_is_tested_on_its_validation_set_with_a_warning(tmp_path):
    write(tmp_path / "glue_sst2", ("train", "dev"))
    (tmp_path / "glue_sst2" / "test.tsv").write_text("index\tsentence\n0\tno label\n")
    module = SST2(str(tmp_path), variant="glue", min_frequency=1)
    splits = module.read()
    assert splits.test is splits.val
    assert "the same for testing" in module.describe()["texts"]
    for stage in ("fit", "test", "predict"):  # a fit may end with a test
        with pytest.warns(UserWarning, match="GLUE"):
            module.setup(stage)
    module.setup("validate")
    assert len(list(module.test_dataloader())) == 1


def test_a_folder_of_another_variant_is_an_error(tmp_path):
    for name, variant in (("sst2", "glue"), ("safr_sst2", "standard"), ("trees", "glue")):
        folder = write(tmp_path / name, trees=name == "trees")
        with pytest.raises(ValueError, match=r"data\.variant"):
            SST2(str(folder), variant=variant).read()


def test_a_folder_without_the_variant_is_an_error(tmp_path):
    for folder, variant in ((tmp_path, "glue"), (tmp_path, "safr"), (tmp_path / "nowhere", "safr")):
        with pytest.raises(ValueError, match=r"data\.data_dir"):
            SST2(str(folder), variant=variant).read()
    write(tmp_path / "sst2", ("train", "dev"))
    with pytest.raises(ValueError, match="no file test"):
        SST2(str(tmp_path), variant="standard").read()


# ---- data sets of the library ----------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The datasets library, with a cache of its own; skips without it."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


def lines_of_json(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))


def parquet(path: Path, **columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("converted", [False, True], ids=["one-table", "as-the-hub-converts-it"])
def test_sentiments_become_the_classes_of_the_treebank(tmp_path, library, converted):
    import pyarrow as pa

    folder = tmp_path / "hub"
    texts = [text for text, _ in SENTENCES] + ["Neither", "Nor"]
    sentiments = pa.array(
        [0.61 if label else 0.4 for _, label in SENTENCES] + [0.6, 0.41], pa.float32()
    )
    for split in ("train", "validation", "test"):
        place = f"default/{split}/0000" if converted else f"data/{split}-00000-of-00001"
        parquet(folder / f"{place}.parquet", sentence=texts, label=sentiments, tree=texts)
        if converted:  # a folder for each configuration, with columns of its own
            parquet(folder / f"ptb/{split}/0000.parquet", ptb_tree=texts)
    if converted:
        parquet(folder / "dictionary/dictionary/0000.parquet", phrase=texts, label=sentiments)
    name = str(folder)
    splits = SST2(dataset=name, variant="standard").read()
    assert [pairs_of(part) for part in splits] == [SENTENCES] * 3
    assert pairs_of(SST2(dataset=name).read().train) == SAFR_TRAIN


def test_the_hub_s_conversion_is_loaded(library, monkeypatch):
    calls = []

    def load_dataset(name, **options):
        calls.append((name, options))
        return library.Dataset.from_dict({"sentence": ["Good", "Bad"], "label": [0.9, 0.1]})

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    SST2(variant="standard").read()
    SST2(variant="standard", dataset_revision="main").read()
    options = {"data_dir": "default", "split": "train", "revision": "refs/convert/parquet"}
    assert calls[0] == ("stanfordnlp/sst", options)
    assert calls[3] == ("stanfordnlp/sst", {**options, "data_dir": None, "revision": "main"})


def test_glue_loads_from_the_library_without_its_test(tmp_path, library):
    for split in ("train", "validation"):
        rows = [{"sentence": text, "label": label, "idx": 3} for text, label in SENTENCES]
        lines_of_json(tmp_path / "hub" / f"{split}.jsonl", rows)
    splits = SST2(dataset=str(tmp_path / "hub"), variant="glue").read()
    assert pairs_of(splits.train) == SENTENCES and splits.test is splits.val


def test_imdb_loads_from_the_library_as_from_files(tmp_path, library):
    rows = [{"text": text, "label": label} for text, label in SENTENCES]
    for split in ("train", "test"):
        lines_of_json(tmp_path / "hub" / f"{split}.jsonl", rows)
    name = str(tmp_path / "hub")
    splits = IMDB(dataset=name, val_size=2).read()
    assert list(map(pairs_of, splits)) == list(map(pairs_of, IMDB(name, val_size=2).read()))
    assert sorted(pairs_of(splits.train) + pairs_of(splits.val)) == sorted(SENTENCES)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"title": "x", "label": 1}, "no field 'sentence' or 'text'"),
        ({"text": "x", "label": -1}, "label in row 1 of split 'train'"),
        (None, "split 'train' of the data set"),
    ],
)
def test_what_the_library_cannot_load_is_named(tmp_path, library, row, part):
    if row is not None:
        lines_of_json(tmp_path / "hub" / "train.jsonl", [row])
    with pytest.raises(ValueError, match=part):
        IMDB(dataset=str(tmp_path / "hub")).read()


@pytest.mark.parametrize(
    ("sentiment", "label"), [(0.0, 0), (0.4, 0), (0.41, None), (0.6, None), (0.61, 1), (1.0, 1)]
)
def test_sentiments_have_the_bounds_of_the_release(sentiment, label):
    import numpy as np

    assert sentiment_label(sentiment, "") == label
    assert sentiment_label(float(np.float32(sentiment)), "") == label


def test_a_sentiment_above_1_is_an_error():
    with pytest.raises(ValueError, match="label in row 3 is"):
        sentiment_label(1.5, "row 3")


# ---- the real data ---------------------------------------------------------------------------


@needs_sst
@pytest.mark.parametrize(
    ("variant", "sizes", "vocabulary"),
    [
        ("safr", (6244, 825, 1743), 7008),
        ("standard", (6920, 872, 1821), 7565),
        ("glue", (67349, 872, 872), 14311),
    ],
)
def test_the_variants_have_their_published_sizes(variant, sizes, vocabulary):
    module = SST2(str(DATA / "sst"), variant=variant)
    assert tuple(len(part.texts) for part in module.read()) == sizes
    assert module.vocab_size == vocabulary


@needs_sst
def test_standard_sentences_are_those_of_the_csv_module():
    folder = DATA / "sst" / "sst2"
    splits = SST2(str(folder), "standard").read()
    for name, part in zip(("train", "dev", "test"), splits, strict=True):
        with (folder / f"{name}.tsv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        assert pairs_of(part) == [(row["sentence"], int(row["label"])) for row in rows]


@needs_sst
def test_trees_and_tables_are_the_same_sentences():
    tables, trees = (
        SST2(str(DATA / "sst" / name), "standard").read() for name in ("sst2", "trees")
    )
    assert list(map(pairs_of, tables)) == list(map(pairs_of, trees))


@needs_sst
@pytest.mark.parametrize("place", ["sst2", "trees"])
def test_the_safr_selection_of_the_treebank_is_the_one_of_its_own_folder(place):
    made, given = (SST2(str(DATA / "sst" / name)).read() for name in (place, "safr_sst2"))
    assert list(map(pairs_of, made)) == list(map(pairs_of, given))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "imdb").is_dir(), reason="needs imdb in GLASSBOX_TEST_DATA")
def test_imdb_has_its_published_sizes_and_known_duplicates():
    module = IMDB(str(DATA / "imdb"))
    train, val, test = module.read()
    assert [len(part.texts) for part in (train, val, test)] == [20000, 5000, 25000]
    for name, parts in (("train", (train, val)), ("test", (test,))):
        with gzip.open(DATA / "imdb" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        expected = Counter((row["text"].strip(" \t\r\n"), row["label"]) for row in rows)
        assert Counter(pair for part in parts for pair in pairs_of(part)) == expected
    assert module.describe()["cleaned"].startswith("201,948 HTML line breaks")
    assert module.repeats == {"train_in_train": 64, "val_in_train": 29, "test_in_train": 96}

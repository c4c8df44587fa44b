"""Shared by all tests: one thread, and a short way to run the command line in this process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.helpers.paths import ROOT

# The models here are tiny: a second thread costs more in waiting than it brings, above all on a
# machine that is shared. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What tests share and import checks as well: where it fails, pytest tells the values.
pytest.register_assert_rewrite(
    "tests.helpers.exact_losses",
    "tests.helpers.language_model_command",
    "tests.helpers.speed_clock",
)


# A module of figure functions of a user's own.
FIGURES = """
from matplotlib.figure import Figure

def draw(points, *, title, sides=4):
    if len(points) < 2:
        raise ValueError("one point is no figure")
    if sides < 3:
        raise KeyError(sides)
    figure = Figure(figsize=(2, 2))
    figure.suptitle(title)
    figure.subplots().plot([len(point.seeds) for point in points])
    return figure
"""


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal; a shell that runs the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository as working directory, as for someone who follows the README."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def lightning_command(in_root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run `lightning ...` in this process, into a temporary folder; returns the run's folder."""
    from glassbox.cli.main import main

    def call(*arguments: str) -> Path:
        main([*arguments, "--trainer.default_root_dir", str(tmp_path / "runs")])
        folders = sorted(
            (tmp_path / "runs").glob("*/version_*"), key=lambda path: path.stat().st_mtime
        )
        return folders[-1] if folders else tmp_path

    return call


@pytest.fixture
def token_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write nanoGPT's train.bin and val.bin, with so many windows; ids are random bytes."""

    def write(train: int = 22, val: int = 7, block_size: int = 16, name: str = "tokens") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        for split, windows in (("train", train), ("val", val)):
            # Some tokens more than whole windows, as text has them.
            tokens = rng.integers(0, 256, windows * block_size + 1 + block_size // 2)
            tokens.astype("<u2").tofile(folder / f"{split}.bin")
        return folder

    return write


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short film reviews, whose class a word tells: in SST-2's layout (``sst/``) and IMDB's."""
    folder = tmp_path_factory.mktemp("reviews")
    for part in ("sst", "imdb"):
        (folder / part).mkdir()
    rng = np.random.default_rng(0)
    noise = ["a", "the", "film", "of", "plot", "scene", "and", "with", "it", "story"]
    for split, size in (("train", 5_040), ("dev", 16), ("test", 24)):
        reviews = []
        for number in range(size):
            label = number % 2
            words = [*rng.choice(noise, 5), ("dull", "warm")[label]]
            reviews.append((label, " ".join(rng.permutation(words))))
        if split != "dev":  # IMDB has none, and 5,000 training reviews are held out
            lines = [json.dumps({"text": text, "label": label}) for label, text in reviews]
            (folder / "imdb" / f"{split}.jsonl").write_text("\n".join(lines))
        rows = [f"{label}\t{text}" for label, text in reviews[:40]]
        (folder / "sst" / f"{split}.tsv").write_text("\n".join(["label\tsentence", *rows]) + "\n")
    return folder


@pytest.fixture
def small_study(tmp_path: Path) -> Callable[..., Path]:
    """Write a study of two tasks, which two seeds train in about a second; returns its file.

    Keys given replace those of the study.
    """

    def write(name: str = "small", **changes: Any) -> Path:
        content = {
            "title": "A small grid",
            "source": "Nobody (2025), Figure 1",
            "config": str(ROOT / "configs" / "quickstart.yaml"),
            "seeds": 2,
            "grid": {
                "task": {
                    "lattice": {},
                    "addition": {"data.task": "ModularAddition", "data.task.modulus": 5},
                },
            },
            "protocols": {"authors": {"data.sampling": "with_replacement"}, "careful": {}},
            "settings": [{"when": {}, "set": {"trainer.max_epochs": 4, "data.num_samples": 40}}],
            "quick": {
                "seeds": 1,
                "set": {"trainer.max_epochs": 2},
                "keep": {"task": ["addition"]},
            },
            "tables": [
                {
                    "name": "explained variance",
                    "metric": "val/embedding/explained_variance_2",
                    "verdict": {"absolute": [0.05, 0.2]},
                    "published": {"lattice": 0.9, "addition": [0.5, 0.4, 0.6]},
                },
            ],
            "claims": [
                {
                    "says": "lattices are flatter than circles",
                    "metric": "val/embedding/explained_variance_2",
                    "greater": {"task": "lattice"},
                    "than": {"task": "addition"},
                },
            ],
            **changes,
        }
        path = tmp_path / f"{name}.yaml"
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(yaml.safe_dump(kept, sort_keys=False))
        return path

    return write


@pytest.fixture
def reproduce(tmp_path, monkeypatch, capsys) -> Callable[..., str]:
    """Run the command in this process, in a folder with a figure function; returns what it says."""
    (tmp_path / "figures_of_mine.py").write_text(FIGURES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    from glassbox.cli.main import main

    def call(*arguments: str | Path, code: int | None = None) -> str:
        capsys.readouterr()
        words = ["reproduce", *map(str, arguments)]
        if code is None:
            main(words)
        else:
            with pytest.raises(SystemExit) as exit:
                main(words)
            assert exit.value.code == code
        said = capsys.readouterr()
        return said.out if code is None else said.err

    return call


@pytest.fixture(scope="session")
def finished() -> Callable[[Path], dict[tuple[str, int], Any]]:
    """What a folder of `lightning reproduce` holds, every bit of it, by point and seed."""

    def read(runs: Path) -> dict[tuple[str, int], Any]:
        found: dict[tuple[str, int], Any] = {}
        for path in sorted(runs.glob("*/seeds_*.json")):
            record = json.loads(path.read_text())
            with np.load(path.with_suffix(".npz")) as arrays:
                for row, seed in enumerate(record["seeds"]):
                    metrics = {name: values[row] for name, values in record["metrics"].items()}
                    bits = {name: arrays[name][row].tobytes() for name in arrays.files}
                    assert (path.parent.name, seed) not in found  # each is trained once
                    found[path.parent.name, seed] = (metrics, bits)
        return found

    return read


@pytest.fixture(scope="session")
def spawn_ranks() -> Callable[..., None]:
    """Run ``function(rank, *arguments, port)`` in several processes and wait until all have ended.

    The port is for the processes to meet on.
    """
    from torch import multiprocessing

    from tests.helpers.ranks import free_port, run_rank

    def spawn(function: Callable[..., None], ranks: int, *arguments: Any) -> None:
        what = (function, *arguments, free_port())
        spawned = multiprocessing.spawn(run_rank, what, ranks, join=False)
        end = time.monotonic() + 400
        while not spawned.join(timeout=5):
            if time.monotonic() > end:
                for process in spawned.processes:
                    process.kill()
                pytest.fail("the ranks wait for each other")

    return spawn

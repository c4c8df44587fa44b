"""Fixtures of all tests: one thread, the command line in this process, small data and studies."""

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

from tests.helpers.paths import DATA, ROOT

# The models are tiny, so a second thread would only wait. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Helpers that contain assertions: pytest shows the values of one that fails.
pytest.register_assert_rewrite(
    "tests.helpers.exact_losses",
    "tests.helpers.language_model_command",
    "tests.helpers.speed_clock",
)


# A user's module with a figure function.
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
    """Handle SIGINT as in a terminal; shells have background processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the repository the working directory."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def lightning_command(in_root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run `lightning ...` in this process below a temporary folder; returns the run's folder."""
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
    """Write nanoGPT's train.bin and val.bin with the given numbers of windows of random bytes."""

    def write(train: int = 22, val: int = 7, block_size: int = 16, name: str = "tokens") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        for split, windows in (("train", train), ("val", val)):
            # Half a window more than whole windows, as text would have.
            tokens = rng.integers(0, 256, windows * block_size + 1 + block_size // 2)
            tokens.astype("<u2").tofile(folder / f"{split}.bin")
        return folder

    return write


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short film reviews of two classes in SST-2's layout (``sst/``) and IMDB's (``imdb/``).

    One word of each review gives its class away.
    """
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
        if split != "dev":  # IMDB has no dev set; 5,000 training reviews are held out
            lines = [json.dumps({"text": text, "label": label}) for label, text in reviews]
            (folder / "imdb" / f"{split}.jsonl").write_text("\n".join(lines))
        rows = [f"{label}\t{text}" for label, text in reviews[:40]]
        (folder / "sst" / f"{split}.tsv").write_text("\n".join(["label\tsentence", *rows]) + "\n")
    return folder


@pytest.fixture
def small_study(tmp_path: Path) -> Callable[..., Path]:
    """Write a study of two tasks and two seeds that trains in about a second; returns its file.

    Keyword arguments replace keys of the study.
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
                    "statement": "lattices are flatter than circles",
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
    """Run `lightning reproduce` in this process, in a folder with a figure function.

    Returns stdout, or stderr if an exit code is expected.
    """
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
        output = capsys.readouterr()
        return output.out if code is None else output.err

    return call


@pytest.fixture(scope="session")
def finished() -> Callable[[Path], dict[tuple[str, int], Any]]:
    """Read the store of `lightning reproduce`: metrics and array bytes by point and seed."""

    def read(runs: Path) -> dict[tuple[str, int], Any]:
        results: dict[tuple[str, int], Any] = {}
        for path in sorted(runs.glob("*/seeds_*.json")):
            record = json.loads(path.read_text())
            with np.load(path.with_suffix(".npz")) as arrays:
                for row, seed in enumerate(record["seeds"]):
                    metrics = {name: values[row] for name, values in record["metrics"].items()}
                    bits = {name: arrays[name][row].tobytes() for name in arrays.files}
                    assert (path.parent.name, seed) not in results  # each is trained once
                    results[path.parent.name, seed] = (metrics, bits)
        return results

    return read


@pytest.fixture(scope="session")
def spawn_ranks() -> Callable[..., None]:
    """Run ``function(rank, *arguments, port)`` in several processes and wait for all of them.

    ``port`` is free on this machine, for the process group.
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line that tests against real data were skipped, and how to run them."""
    if not DATA.is_dir():
        terminalreporter.write_line(
            f"skipped tests against real data: no folder {DATA}; set GLASSBOX_TEST_DATA",
            yellow=True,
        )

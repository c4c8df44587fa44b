"""Which room may import which, read from the source and tried in fresh processes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGES = ("glassbox", "lightning_modules", "datamodules", "callbacks")
METRICS, PLOTS = "glassbox.metrics", "glassbox.plots"
# What every room may import: type declarations and package versions.
BASE = {"glassbox.protocols", "glassbox.versions"}
# Room -> the other rooms that it may import. A room is a package or a module; the files that a
# package holds beside its own rooms are a room of their own, which carries the package's name.
ARROWS: dict[str, set[str]] = {
    "glassbox": set(PACKAGES) | {METRICS},  # the lazy public interface
    "glassbox.protocols": set(),
    "glassbox.versions": set(),
    METRICS: set(),
    PLOTS: {METRICS},
    "glassbox.reproduction": {METRICS, PLOTS},
    "lightning_modules.heads": {METRICS},
    "lightning_modules.networks": {METRICS},
    "lightning_modules.regularizers": {METRICS},
    "lightning_modules.training": set(),
    "lightning_modules.ensemble": {
        f"lightning_modules.{room}" for room in ("heads", "networks", "regularizers", "training")
    },
    "lightning_modules.gpt2": {
        f"lightning_modules.{room}" for room in ("heads", "networks", "training")
    },
    "lightning_modules": {
        f"lightning_modules.{room}"
        for room in ("heads", "networks", "regularizers", "training", "ensemble", "gpt2")
    },
    "datamodules.common": set(),
    "datamodules.tasks": {"datamodules.common"},
    "datamodules.documents": {"datamodules.common"},
    "datamodules.features": {"datamodules.common"},
    "datamodules.images": {"datamodules.common"},
    "datamodules.tokens": {"datamodules.common", "datamodules.documents"},
    "datamodules.texts": {f"datamodules.{room}" for room in ("common", "documents", "tokens")},
    "datamodules": {
        f"datamodules.{room}"
        for room in ("common", "tasks", "documents", "features", "images", "tokens", "texts")
    },
    "callbacks": {"callbacks.probes", "callbacks.run", METRICS},
    "callbacks.sweep": set(),
    "callbacks.trainer_state": set(),
    "callbacks.probes": {METRICS, PLOTS, "callbacks.sweep", "callbacks.trainer_state"},
    "callbacks.run": {METRICS, "callbacks.probes", "callbacks.sweep", "callbacks.trainer_state"},
    "glassbox.cli": set(),  # and everything below: see may_import
    "train": {"glassbox.cli"},
}
# Rooms that may import whole packages, whatever the room in it.
WHOLE = {
    "glassbox.cli": {METRICS, PLOTS, "glassbox.reproduction", *PACKAGES[1:]},
    "callbacks.probes": {"lightning_modules", "datamodules"},
    "callbacks.run": {"lightning_modules", "datamodules"},
}
WITHOUT_LIGHTNING = [
    METRICS, PLOTS, "glassbox.reproduction", "lightning_modules.heads",
    "lightning_modules.networks", "lightning_modules.regularizers", "datamodules.tasks",
]  # fmt: skip
SLOW_TO_IMPORT = {"matplotlib", "sklearn", "scipy", "transformers", "datasets", "tiktoken"}
# Its classes are transformers' classes; only users import it, after an export.
TRANSFORMERS_MODEL = (
    "lightning_modules/gpt2/transformers_model.py",
    "lightning_modules/harmonic_gpt2.py",
)


@cache
def sources() -> dict[str, Path]:
    """Every source file by its dotted name."""
    paths = [ROOT / "train.py", *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]
    dotted = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(dotted, paths, strict=True)}


def room_of(module: str) -> str:
    """The most specific room that a module, or an object of one, belongs to."""
    parts = module.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(name for name in candidates if name in ARROWS)


def imported(path: Path, at_import: bool = False) -> set[str]:
    """Names of the imported modules, objects that may be modules included.

    Args:
        path: A source file.
        at_import: Leave out what functions import and what only type checkers import.
    """
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (below & sources().keys()) or {node.module}
    return names


def may_import(room: str, other: str) -> bool:
    whole = WHOLE.get(room, set())
    return (
        other in {room, *BASE, *ARROWS[room]}
        or other in whole
        or any(other.startswith(f"{package}.") for package in whole)
    )


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_rooms_below_it(room):
    members = [name for name in sources() if room_of(name) == room]
    wrong = [
        f"{name} imports {other}"
        for name in members
        for other in imported(sources()[name])
        if other.split(".")[0] in {*PACKAGES, "train"} and not may_import(room, room_of(other))
    ]
    assert not wrong, "\n".join(wrong)
    assert members or room == "glassbox.protocols"


@pytest.mark.parametrize("room", WITHOUT_LIGHTNING)
def test_plain_rooms_do_not_import_lightning(room):
    for name, path in sources().items():
        if name == room or name.startswith(f"{room}."):
            assert not {top.split(".")[0] for top in imported(path)} & {"lightning"}, name


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        (METRICS, {"lightning", "transformers", "torchmetrics", "numpy.testing"}),
        (PLOTS, {"lightning", "transformers", "torch", "matplotlib"}),
        ("glassbox.cli.main", {"lightning", "torch", "numpy", "jsonargparse", "yaml"}),
        ("glassbox", {"torch", "numpy"}),
    ],
)
def test_what_a_fresh_process_loads(module, forbidden):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], text=True, check=True, stdout=-1).stdout
    assert not forbidden & {*loaded.split()}


def test_the_public_interface_loads_what_is_asked_for():
    code = (
        "import sys, glassbox\n"
        "from glassbox import circularity\n"
        "assert 'lightning' not in sys.modules\n"
        "from glassbox import Classifier, EmbeddingGeometry, HarmonicHead, ModularAddition\n"
        "import lightning_modules\n"
        "assert Classifier is lightning_modules.Classifier\n"
        "print(glassbox.__version__)\n"
        "glassbox.Nothing\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)
    assert "module 'glassbox' has no attribute 'Nothing'" in done.stderr


def test_slow_libraries_are_imported_where_they_are_needed():
    for name, path in sources().items():
        if str(path.relative_to(ROOT)) not in TRANSFORMERS_MODEL:
            tops = {top.split(".")[0] for top in imported(path, at_import=True)}
            assert not tops & SLOW_TO_IMPORT, name


def test_callbacks_holds_callbacks():
    files = {path.name for path in (ROOT / "callbacks").glob("*.py")}
    assert files == {"__init__.py", "sweep.py", "trainer_state.py"}


def test_a_plain_install_brings_everything_that_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=;]", line)[0] for line in project["dependencies"]}
    modules = {"pillow": "PIL", "pyyaml": "yaml"}
    brought = {"huggingface_hub", "pyarrow", "tiktoken_ext"}  # by transformers, datasets, tiktoken
    allowed = {modules.get(name, name) for name in declared} | brought
    allowed |= {*PACKAGES, *sys.stdlib_module_names}
    for name, path in sources().items():
        missing = {top.split(".")[0] for top in imported(path)} - allowed
        assert not missing, f"{name} imports {missing}, which pyproject.toml does not list"

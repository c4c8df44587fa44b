"""The house's order, read from the source: who imports whom, and what is imported when."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

HEAVY = {"matplotlib", "sklearn", "scipy", "transformers", "datasets", "tiktoken", "pandas"}
PLAIN = [
    "lightning_modules/heads",
    "lightning_modules/networks",
    "lightning_modules/regularizers",
    "datamodules/tasks",
    "glassbox/metrics",
    "glassbox/plots",
]
PACKAGES = ["glassbox", "lightning_modules", "datamodules", "callbacks"]
# Its classes are transformers' classes, so that it cannot wait; the user alone imports it.
HARMONIC_GPT2 = ROOT / "lightning_modules" / "harmonic_gpt2.py"


def imported(path: Path, module_level_only: bool = False) -> set[str]:
    """Full names of the modules that a file imports, those for type checkers left out."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if module_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", PLAIN)
def test_plain_folders_know_neither_lightning_nor_logging_nor_other_packages(folder):
    package = folder.split("/")[0]
    others = set(PACKAGES) - {package}
    assert files(folder)
    for path in files(folder):
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & ({"lightning", "logging", "pytorch_lightning"} | others), path


@pytest.mark.parametrize("folder", PACKAGES)
def test_packages_do_not_import_one_another_nor_the_command_line(folder):
    for path in files(folder):
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & ((set(PACKAGES) - {folder, "glassbox"}) | {"train", "reproduce"}), path


@pytest.mark.parametrize("folder", PACKAGES)
def test_heavy_libraries_are_imported_where_they_are_needed_only(folder):
    for path in files(folder):
        tops = {name.split(".")[0] for name in imported(path, module_level_only=True)}
        assert not tops & (HEAVY - ({"transformers"} if path == HARMONIC_GPT2 else set())), path


def test_the_file_of_transformers_classes_is_imported_by_no_other():
    for path in [ROOT / "train.py", *(p for folder in PACKAGES for p in files(folder))]:
        assert not any("harmonic_gpt2" in name for name in imported(path)), path


def test_command_line_imports_only_the_standard_library_at_first():
    import sys

    tops = {name.split(".")[0] for name in imported(ROOT / "train.py", module_level_only=True)}
    assert tops <= sys.stdlib_module_names


def test_no_file_is_longer_than_400_lines():
    for path in [*ROOT.glob("*.py"), *(p for f in [*PACKAGES, "tests"] for p in files(f))]:
        assert len(path.read_text().splitlines()) <= 400, path


def test_a_plain_install_has_everything_that_is_imported():
    """What `pip install -e .` does not bring, tests would not miss: extras bring it for them."""
    import re
    import sys
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=;]", line)[0] for line in project["dependencies"]}
    modules = {"pillow": "PIL", "pyyaml": "yaml"}
    brought = {"huggingface_hub", "pyarrow", "tiktoken_ext"}  # by transformers, datasets, tiktoken
    allowed = {modules.get(name, name) for name in declared} | brought | {*PACKAGES}
    allowed |= {"train", "reproduce", *sys.stdlib_module_names}
    sources = [*ROOT.glob("*.py"), *(path for folder in PACKAGES for path in files(folder))]
    for path in sources:
        missing = {name.split(".")[0] for name in imported(path)} - allowed
        assert not missing, f"{path} imports {missing}, which pyproject.toml does not list"

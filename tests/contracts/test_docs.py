"""No path, class or option that the documents or configs name is stale."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.helpers.package_files import every_module
from tests.helpers.paths import CONFIGS, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STUDIES = sorted((ROOT / "configs" / "reproduce").rglob("*.yaml"))
SCRIPTS = sorted((ROOT / "configs" / "slurm").glob("*.sbatch"))
FOLDERS = [
    ROOT,
    *(ROOT / name for name in ("docs", "lightning_modules", "datamodules", "callbacks")),
]
FOLDERS += [ROOT / "glassbox", ROOT / "docs" / "results", ROOT / "configs" / "reproduce"]
FOLDERS += [ROOT / "configs" / "algorithmic", ROOT / "tests"]
# First folders of paths that a user makes, and names that look like a path and are none.
USERS = {"runs", "data", "texts", "reports", "function_vectors", "val", "test", "train", "speed"}
USERS |= {"openai-community", "checkpoints", "figures", "float32", "version_0", "refs", "data_dir"}
USERS |= {"openwebtext_sample", "imdb", "classic_books"}
LIBRARIES = (
    "builtins", "typing", "torch", "torch.nn", "torch.utils.data", "lightning",
    "lightning.pytorch.callbacks", "transformers",
)  # fmt: skip


def code_spans(path: Path) -> Iterator[str]:
    """The texts in backticks of a page; the comments and all else of a config or script."""
    text = path.read_text()
    if path.suffix != ".md":
        yield text
        return
    yield from re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@cache
def known_classes() -> set[str]:
    ours = {
        name
        for module in every_module()
        for name, value in vars(module).items()
        if inspect.isclass(value)
    }
    theirs = {name for library in LIBRARIES for name in dir(importlib.import_module(library))}
    return ours | theirs


@cache
def known_options() -> set[str]:
    """Parameters of every class and function that the command line can call, and Trainer's."""
    from lightning import Trainer

    values = [value for module in every_module() for value in vars(module).values()]
    callables = [value for value in values if inspect.isclass(value) or inspect.isfunction(value)]
    names = {
        *dir(Trainer),
        "init_args",
        "class_path",
        "help",
        "config",
        "print_config",
        "seed_everything",
    }
    for value in [*callables, Trainer]:
        try:
            names |= {*inspect.signature(value).parameters}
        except (TypeError, ValueError):
            continue
    return names


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=lambda path: path.name)
def test_paths_exist(page):
    missing = set()
    for span in code_spans(page):
        for word in re.findall(r"(?<![\w/.<{~$-])[a-zA-Z<_][\w.<>*-]+/[\w./<>*-]*", span):
            path = re.sub(r"<[^>]*>", "*", word).rstrip("./") if "<" in word else word.rstrip("./")
            exists = any(any(folder.glob(path)) for folder in FOLDERS)
            if word.split("/")[0] not in USERS and not exists:
                missing.add(word)
    assert not missing


@pytest.mark.parametrize("page", [*PAGES], ids=lambda path: path.name)
def test_linked_files_exist(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_classes_exist(page):
    words = {
        word
        for span in code_spans(page)
        for word in re.findall(r"(?<![\w./-])[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+(?![\w/])", span)
    }
    defined = set(re.findall(r"^class (\w+)", page.read_text(), re.MULTILINE))
    assert not words - known_classes() - defined


@pytest.mark.parametrize("page", [*PAGES, *CONFIGS, *STUDIES, *SCRIPTS], ids=lambda path: path.name)
def test_options_exist(page):
    text = page.read_text()
    words = set(re.findall(r"(?:--|`)((?:model|data|trainer|checkpoint)(?:\.\w+)+)", text))
    words |= set(re.findall(r"[{ ]((?:model|data|trainer)(?:\.\w+)+):", text))
    options = {word: word.rpartition(".")[2] for word in words}
    assert {word for word, option in options.items() if option not in known_options()} <= {
        word for word in words if "mine" in word or word.endswith((".q", ".head.q"))
    }


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_functions_that_studies_name_exist(path):
    for name in re.findall(r"\bglassbox(?:\.\w+)+", path.read_text()):
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_configs_say_how_to_run_them():
    for path in CONFIGS:
        assert f"--config {path.relative_to(ROOT)}" in path.read_text(), path
        assert isinstance(yaml.safe_load(path.read_text())["seed_everything"], int), path

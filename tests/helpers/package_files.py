"""What the files of a package define, whether or not the package exports it.

Contract tests search files and not lists of exports, so that a class that is missing from a list is
not missing from the tests as well.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.helpers.paths import ROOT

# Its classes are transformers' classes, which take seconds to import.
NOT_IMPORTED = {"lightning_modules.gpt2.transformers_model", "lightning_modules.harmonic_gpt2"}


def every_module() -> Iterator[ModuleType]:
    """Every file of the four packages, imported."""
    for name in ("glassbox", "lightning_modules", "datamodules", "callbacks"):
        package = importlib.import_module(name)
        yield package
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            if info.name not in NOT_IMPORTED:
                yield importlib.import_module(info.name)


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """The public files of a package, imported; without its subfolders and ``_x.py``."""
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        private = info.name.rpartition(".")[2].startswith("_")
        if not (info.ispkg or private or info.name in NOT_IMPORTED):
            yield importlib.import_module(info.name)


def classes(package: ModuleType, base: type) -> list[type]:
    """Concrete public subclasses of ``base`` that the files define."""
    return [
        value
        for module in modules(package)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__  # here and not imported
        and not (inspect.isabstract(value) or name.startswith("_"))
    ]


def leaf_classes(package: ModuleType, base: type) -> list[type]:
    """Those of ``classes`` that have no subclass among them."""
    matches = classes(package, base)
    bases = {parent for cls in matches for parent in cls.__mro__[1:]} | {base}
    return [cls for cls in matches if cls not in bases]


def defined(module: ModuleType) -> set[str]:
    """Names that a file defines or assigns, without those it imports."""
    defined_names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined_names.add(node.name)
        elif isinstance(node, ast.Assign):
            defined_names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return defined_names


def file_of(value: type | ModuleType) -> str:
    """Path of the file that defines something, from the repository's root."""
    return str(Path(inspect.getfile(value)).relative_to(ROOT))


def names(package: ModuleType) -> set[str]:
    """What a package exports: its ``__all__``, or everything if it has none."""
    return set(getattr(package, "__all__", vars(package)))

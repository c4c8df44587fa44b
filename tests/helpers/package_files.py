"""What the files of a package define, whether or not anything imports it from them.

Contract tests find what they check here, and not in a package's list of names: a class that is
missing in the list would be missing in the tests as well.
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

# Its classes are transformers' classes and importing it takes seconds; the user alone imports it.
NOT_IMPORTED = {"lightning_modules.gpt2.transformers_model", "lightning_modules.harmonic_gpt2"}


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Every file of a package, imported; folders in it and files of its own (``_x.py``) not."""
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        private = info.name.rpartition(".")[2].startswith("_")
        if not (info.ispkg or private or info.name in NOT_IMPORTED):
            yield importlib.import_module(info.name)


def classes(package: ModuleType, base: type) -> list[type]:
    """Classes of this kind that the files define and that can be built, by file."""
    return [
        value
        for module in modules(package)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__  # here and not imported
        and not (inspect.isabstract(value) or name.startswith("_"))
    ]


def last_classes(package: ModuleType, base: type) -> list[type]:
    """Those of ``classes`` from which no other of them is derived, and which are not ``base``."""
    found = classes(package, base)
    bases = {parent for cls in found for parent in cls.__mro__[1:]} | {base}
    return [cls for cls in found if cls not in bases]


def defined(module: ModuleType) -> set[str]:
    """Names that a file defines or assigns itself, those that it imports left out."""
    found: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def file_of(value: type | ModuleType) -> str:
    """Where something is defined, from the repository's root."""
    return str(Path(inspect.getfile(value)).relative_to(ROOT))


def names(package: ModuleType) -> set[str]:
    """What a package offers: its ``__all__``, or everything where it keeps no such list."""
    return set(getattr(package, "__all__", vars(package)))

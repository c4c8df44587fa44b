"""Train models that can be read: swappable loss heads, interpretability measured while training.

    from glassbox import Classifier, HarmonicHead, circularity

Every class of ``lightning_modules``, ``datamodules`` and ``callbacks`` and every function of
``glassbox.metrics`` can be imported from here. Each is loaded on first use, so that importing a
metric does not import Lightning.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would double the time of `lightning --help`
if TYPE_CHECKING:
    from typing import Any

    from callbacks import *
    from datamodules import *
    from glassbox.metrics import *
    from lightning_modules import *

    __version__: str


def __getattr__(name: str) -> Any:
    import importlib.metadata
    import importlib.util

    if name == "__version__":
        return importlib.metadata.version("glassbox")
    # Python asks here for submodules too, which it imports itself after an AttributeError.
    if not (name.startswith("_") or importlib.util.find_spec(f"glassbox.{name}")):
        is_class = name[0].isupper()
        packages = (
            ("lightning_modules", "datamodules", "callbacks") if is_class else ("glassbox.metrics",)
        )
        for package in packages:
            module = importlib.import_module(package)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'glassbox' has no attribute {name!r}")

"""Every class and function that a file defines is exported by the packages that should offer it."""

from __future__ import annotations

import inspect

import lightning as L
import pytest

import callbacks
import callbacks.probes
import callbacks.run
import datamodules
import datamodules.tasks
import glassbox.metrics
import glassbox.plots
import lightning_modules
import lightning_modules.heads
import lightning_modules.networks
import lightning_modules.regularizers
from datamodules.tasks import Task
from lightning_modules import FeatureNetwork, LossHead
from tests.helpers.every_head import HEADS
from tests.helpers.package_files import classes, defined, file_of, leaf_classes, modules, names

HEAD_PACKAGES = (lightning_modules.heads, lightning_modules)
NETWORK_PACKAGES = (lightning_modules.networks, lightning_modules)
# Kind -> how its classes are searched, the folders they are in, the base class, who exports them.
KINDS = {
    "head": (classes, (lightning_modules.heads,), LossHead, HEAD_PACKAGES),
    "network": (leaf_classes, (lightning_modules.networks,), FeatureNetwork, NETWORK_PACKAGES),
    "module": (leaf_classes, (lightning_modules,), L.LightningModule, (lightning_modules,)),
    "task": (classes, (datamodules.tasks,), Task, (datamodules.tasks, datamodules)),
    "data module": (leaf_classes, (datamodules,), L.LightningDataModule, (datamodules,)),
    "callback": (leaf_classes, (callbacks.probes, callbacks.run), L.Callback, (callbacks,)),
}


def missing_export(cls, packages):
    """How to export a class that one of the packages does not export; empty if all do."""
    for package in packages:
        if cls.__name__ not in names(package) or getattr(package, cls.__name__, None) is not cls:
            return (
                f"{file_of(cls)} defines {cls.__name__}, which {file_of(package)} does not "
                f"export: import it there and add it to __all__, or begin its name with _"
            )
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_is_exported(kind):
    search, folders, base, packages = KINDS[kind]
    matches = [cls for folder in folders for cls in search(folder, base)]
    assert len(matches) >= 4
    if missing := [*filter(None, (missing_export(cls, packages) for cls in matches))]:
        pytest.fail("\n".join(missing), pytrace=False)


@pytest.mark.parametrize(
    "package", [lightning_modules.regularizers, glassbox.metrics], ids=lambda p: p.__name__
)
def test_every_file_of_functions_exports_one(package):
    for module in modules(package):
        assert defined(module) & names(package), f"{file_of(package)} exports nothing of {module}"


@pytest.mark.parametrize(
    "package",
    [
        callbacks, datamodules, datamodules.tasks, glassbox.metrics, glassbox.plots,
        lightning_modules, lightning_modules.heads, lightning_modules.networks,
    ],
    ids=lambda p: p.__name__,
)  # fmt: skip
def test_every_exported_name_exists(package):
    assert all(hasattr(package, name) for name in package.__all__)
    assert len({*package.__all__}) == len(package.__all__)


def test_every_exported_head_is_held_to_the_contract():
    for package in HEAD_PACKAGES:
        for value in (getattr(package, name) for name in names(package)):
            is_head = inspect.isclass(value) and issubclass(value, LossHead)
            assert not is_head or inspect.isabstract(value) or value in HEADS, value


class Unexported(LossHead):
    def forward(self, features):
        return features


def test_an_unexported_class_is_reported():
    assert "heads/__init__.py" in missing_export(Unexported, HEAD_PACKAGES)
    assert missing_export(lightning_modules.HarmonicHead, HEAD_PACKAGES) == ""

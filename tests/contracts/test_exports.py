"""Every file of the packages is known by name: to the command line, and to who reads the list."""

from __future__ import annotations

import inspect

import lightning as L
import pytest

import callbacks
import datamodules
import datamodules.tasks
import glassbox.metrics
import lightning_modules
import lightning_modules.heads
import lightning_modules.networks
import lightning_modules.regularizers
from datamodules.tasks import Task
from lightning_modules import FeatureNetwork, LossHead
from tests.helpers.every_head import HEADS
from tests.helpers.package_files import classes, defined, file_of, last_classes, modules, names

HEAD_PACKAGES = (lightning_modules.heads, lightning_modules)
# How classes of a kind are found, and every package that must know them by name.
KINDS = {
    "head": (classes, lightning_modules.heads, LossHead, HEAD_PACKAGES),
    "network": (
        last_classes,
        lightning_modules.networks,
        FeatureNetwork,
        (lightning_modules.networks, lightning_modules),
    ),
    "LightningModule": (
        last_classes,
        lightning_modules,
        L.LightningModule,
        (lightning_modules,),
    ),
    "task": (classes, datamodules.tasks, Task, (datamodules.tasks, datamodules)),
    "data module": (last_classes, datamodules, L.LightningDataModule, (datamodules,)),
    "callback": (last_classes, callbacks, L.Callback, (callbacks,)),
}


def advice(cls, packages):
    """What to do about a class that a package does not know by name; empty if all do."""
    missing = [
        file_of(package)
        for package in packages
        if cls.__name__ not in names(package) or getattr(package, cls.__name__, None) is not cls
    ]
    if not missing:
        return ""
    return (
        f"{file_of(cls)} defines {cls.__name__}, which has no line in {missing[0]}: import it "
        f"there, so that configs can say {cls.__name__} and tests see it; the name of a mere "
        f"helper begins with _"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_of_a_file_is_known_by_its_short_name(kind):
    find, folder, base, packages = KINDS[kind]
    found = find(folder, base)
    assert len(found) >= 4
    if said := [*filter(None, (advice(cls, packages) for cls in found))]:
        pytest.fail("\n".join(said), pytrace=False)


@pytest.mark.parametrize(
    "package",
    [lightning_modules.regularizers, glassbox.metrics],
    ids=lambda package: package.__name__,
)
def test_every_file_of_functions_gives_its_package_one(package):
    for module in modules(package):
        assert defined(module) & names(package), (
            f"nothing of {file_of(module)} has a line in {file_of(package)}: import its function "
            f"there; a file that only helps others begins with _"
        )


def test_every_head_that_is_exported_is_held_to_the_contract():
    for package in HEAD_PACKAGES:
        for value in (getattr(package, name) for name in names(package)):
            is_head = inspect.isclass(value) and issubclass(value, LossHead)
            if is_head and not inspect.isabstract(value):
                assert value in HEADS, (
                    f"{value.__name__} of {file_of(value)} is a head that tests/contracts do not "
                    f"see: move its file to lightning_modules/heads/"
                )


class Unknown(LossHead):
    """Of a file that no package knows."""

    def forward(self, features):
        return features


def test_a_class_without_a_line_is_told_where_to_put_one():
    said = advice(Unknown, HEAD_PACKAGES)
    assert said.startswith("tests/contracts/test_exports.py defines Unknown, which has no line in ")
    assert "lightning_modules/heads/__init__.py: import it there" in said
    assert advice(lightning_modules.HarmonicHead, HEAD_PACKAGES) == ""

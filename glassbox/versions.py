"""Versions of the packages that a number depends on."""

from __future__ import annotations

import importlib.metadata

_PACKAGES = ("glassbox", "torch", "lightning", "torchmetrics", "numpy")


def package_versions() -> dict[str, str]:
    """Installed versions by package name; packages that are not installed are left out."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions

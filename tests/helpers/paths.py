"""Where the repository is, and the real data that some tests read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Set GLASSBOX_TEST_DATA to a folder of your own; tests that need what it lacks are skipped.
DATA = Path(os.environ.get("GLASSBOX_TEST_DATA", ROOT.parent / "shared" / "data"))
# One YAML a run; those of studies, below configs/reproduce, are another kind.
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if "reproduce" not in path.parts
)


def config_path(name: str) -> Path:
    """The shipped config of a name, such as ``gpt2_cpu``."""
    (path,) = (path for path in CONFIGS if path.stem == name)
    return path

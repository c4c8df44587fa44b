"""Where the repository is, and the real data that some tests read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Set GLASSBOX_TEST_DATA to a folder of your own; tests that need what it lacks are skipped.
DATA = Path(os.environ.get("GLASSBOX_TEST_DATA", ROOT.parent / "shared" / "data"))

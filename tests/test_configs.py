"""Every shipped config: short, with a header that says what to expect, and it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def test_there_are_configs():
    assert len(CONFIGS) >= 21


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_its_header_tells_command_and_seed(path):
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert len(lines) <= 50
    assert any(f"lightning fit --config configs/{path.name}" in line for line in header)
    assert any("expect" in line.lower() for line in header)
    assert isinstance(yaml.safe_load(path.read_text())["seed_everything"], int)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_trains_an_epoch(path, lightning_command):
    folder = lightning_command(
        "fit", "--config", f"configs/{path.name}", "--trainer.max_epochs", "1",
        "--model.num_seeds", "2", "--model.compile", "never", "--data.num_samples", "60",
    )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["name"] == path.stem
    assert all(value is not None for value in results["metrics"]["train/loss"])

"""Runs of a study with and without a working compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassbox.cli.main import main
from tests.helpers.paths import ROOT

COMPILED = {"trainer.max_epochs": 2, "data.num_samples": 40, "model.compile": "always"}
ONLY = "{task: ['lattice']}"  # with quotes: Inductor once copied them into its code


def test_tells_of_a_run_that_trains_uncompiled(small_study, tmp_path, monkeypatch, capsys):
    def broken(function, **options):
        def compiled(*arguments):
            raise RuntimeError(f"no compiler for {sys.argv}")

        return compiled

    study = small_study(settings=[{"when": {}, "set": COMPILED}])
    monkeypatch.setattr(torch, "compile", broken)
    arguments = ["lightning", "reproduce", str(study), "--only", ONLY]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.chdir(tmp_path)
    main(arguments[1:])
    lines = [line for line in capsys.readouterr().err.splitlines() if "uncompiled" in line]
    assert lines
    for line in lines:
        # With the run's name, and without the study's options.
        assert "_latticecompletion-" in line.lower()
        assert "continues uncompiled: no compiler for ['lightning']" in line
    assert sys.argv == arguments
    assert not list(Path("runs/reproduce/logs").glob("*.log"))


@pytest.mark.slow
def test_compiles_under_an_only_with_quotes(small_study, tmp_path):
    study = small_study(settings=[{"when": {}, "set": COMPILED}])
    code = "import sys; from glassbox.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "reproduce", study, "--only", ONLY, "--jobs", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": "cache"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "uncompiled" not in done.stderr
    made = [path.read_text() for path in (tmp_path / "cache").rglob("*.py")]
    assert any("compiled_module_main" in code for code in made)  # it was compiled, here and now

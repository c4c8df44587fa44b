"""The folder of a run has the next free number, and two runs never share one."""

from __future__ import annotations

import subprocess
import sys

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.run import folder
from callbacks.run.folder import claim_version, run_folder_loggers
from callbacks.trainer_state import run_folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], 0),
        (["version_0", "version_1"], 2),
        (["version_0", "version_7"], 8),  # a gap is not filled: numbers give the order of runs
        (["version_9", "version_10"], 11),  # compared as numbers
        (["version_x", "version_3_old", "old_version_4", "version_", "notes"], 0),
    ],
)
def test_the_next_number_is_one_above_the_highest(tmp_path, names, expected):
    runs = tmp_path / "deep" / "runs"
    for name in names:
        (runs / name).mkdir(parents=True)
    assert claim_version(str(runs)) == expected
    assert {path.name for path in runs.iterdir()} == {*names, f"version_{expected}"}


def test_files_and_folders_that_appear_meanwhile_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "version_0").write_text("mine")
    (tmp_path / "version_1").mkdir()
    monkeypatch.setattr("callbacks.run.folder.os.listdir", lambda folder: [])
    assert claim_version(str(tmp_path)) == 2
    assert (tmp_path / "version_0").read_text() == "mine"


def test_processes_that_claim_at_once_get_different_numbers(tmp_path):
    # The file alone, without Lightning, which takes seconds to import.
    program = (
        "import runpy, sys, types; "
        "stub = types.ModuleType('stub'); stub.__getattr__ = lambda name: object; "
        "names = ('lightning', 'lightning.pytorch', 'lightning.pytorch.loggers', "
        "'lightning.pytorch.utilities'); "
        "sys.modules.update(dict.fromkeys(names, stub)); "
        "claim = runpy.run_path(sys.argv[1])['claim_version']; "
        "print(*(claim(sys.argv[2]) for _ in range(50)))"
    )
    command = [sys.executable, "-S", "-c", program, folder.__file__, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    claimed = [int(number) for run in runs for number in run.communicate(timeout=30)[0].split()]
    assert sorted(claimed) == list(range(100))


def test_both_loggers_write_into_the_claimed_folder_of_the_first_rank(tmp_path, monkeypatch):
    for version in range(2):
        loggers = run_folder_loggers(str(tmp_path), "quickstart")
        claimed = str(tmp_path / "quickstart" / f"version_{version}")
        assert [logger.log_dir for logger in loggers] == [claimed] * 2
    for rank in (1, 2):
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        run_folder_loggers(str(tmp_path), "quickstart")
    names = {path.name for path in (tmp_path / "quickstart").iterdir()}
    assert names == {"version_0", "version_1"}


def test_a_run_writes_to_the_folder_of_its_first_logger(tmp_path):
    options = {"accelerator": "cpu", "default_root_dir": tmp_path}
    loggers = [CSVLogger(tmp_path, name=name, version=0) for name in ("first", "second")]
    trainer = L.Trainer(logger=loggers, **options)
    assert run_folder(trainer) == tmp_path / "first" / "version_0"
    assert run_folder(L.Trainer(logger=False, **options)) is None

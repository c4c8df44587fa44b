"""The folder of a run: the next free number, and never one for two runs."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger

from callbacks.run import folder as run_folder
from callbacks.run.folder import claim_version, run_folder_loggers


def test_the_first_run_is_number_zero_and_its_folder_is_made(tmp_path):
    assert claim_version(str(tmp_path / "deep" / "runs")) == 0
    assert (tmp_path / "deep" / "runs" / "version_0").is_dir()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["version_0", "version_1"], 2),
        (["version_0", "version_7"], 8),  # a gap is not filled: numbers tell the order
        (["version_9", "version_10"], 11),  # as numbers, not as text
        (["version_x", "version_3_old", "old_version_4", "version_", "notes"], 0),
    ],
)
def test_the_next_number_is_one_above_the_highest(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).mkdir()
    assert claim_version(str(tmp_path)) == expected
    assert {path.name for path in tmp_path.iterdir()} == {*names, f"version_{expected}"}


def test_a_file_of_that_name_is_not_overwritten(tmp_path):
    (tmp_path / "version_0").write_text("mine")
    assert claim_version(str(tmp_path)) == 1
    assert (tmp_path / "version_0").read_text() == "mine"


def test_a_folder_that_appears_meanwhile_is_left_to_the_other_run(tmp_path, monkeypatch):
    for version in (0, 1):
        (tmp_path / f"version_{version}").mkdir()
    monkeypatch.setattr("callbacks.run.folder.os.listdir", lambda folder: [])
    assert claim_version(str(tmp_path)) == 2


def test_threads_that_claim_at_once_get_different_numbers(tmp_path):
    together = Barrier(8)

    def claim(_):
        together.wait(timeout=10)
        return claim_version(str(tmp_path))

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim, range(8))) == list(range(8))


def test_processes_that_claim_at_once_get_different_numbers(tmp_path):
    # The file alone, since the package around it and Lightning take seconds to import.
    program = (
        "import runpy, sys, types; "
        "stub = types.ModuleType('stub'); stub.__getattr__ = lambda name: object; "
        "names = ('lightning', 'lightning.pytorch', 'lightning.pytorch.loggers', "
        "'lightning.pytorch.utilities', 'callbacks', 'callbacks.trainer_state'); "
        "sys.modules.update(dict.fromkeys(names, stub)); "
        "claim = runpy.run_path(sys.argv[1])['claim_version']; "
        "print(*(claim(sys.argv[2]) for _ in range(50)))"
    )
    command = [sys.executable, "-S", "-c", program, run_folder.__file__, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    claimed = [int(number) for run in runs for number in run.communicate(timeout=30)[0].split()]
    assert sorted(claimed) == list(range(100))


def test_both_loggers_write_into_the_claimed_folder(tmp_path):
    for version in range(2):
        loggers = run_folder_loggers(str(tmp_path), "quickstart")
        folder = str(tmp_path / "quickstart" / f"version_{version}")
        assert [logger.log_dir for logger in loggers] == [folder] * 2
    assert run_folder_loggers(str(tmp_path), "other")[0].version == 0


def test_a_run_writes_where_its_first_logger_does_and_nowhere_without_one(tmp_path):
    options = {"accelerator": "cpu", "default_root_dir": tmp_path}
    loggers = [CSVLogger(tmp_path, name=name, version=0) for name in ("first", "second")]
    trainer = L.Trainer(logger=loggers, **options)
    assert run_folder.run_folder(trainer) == tmp_path / "first" / "version_0"
    assert run_folder.run_folder(L.Trainer(logger=False, **options)) is None


def test_only_the_first_of_several_ranks_makes_a_folder(tmp_path, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    for rank in (0, 1, 2):
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        run_folder_loggers(str(tmp_path), "quickstart")
    assert {path.name for path in (tmp_path / "quickstart").iterdir()} == {"version_0"}

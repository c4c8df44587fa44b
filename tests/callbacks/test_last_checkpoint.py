"""`--ckpt_path last` is the newest usable checkpoint of the same command's runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from callbacks import last_checkpoint
from callbacks.exact_resume import KEY

HEAD = {"class_path": "lightning_modules.heads.HarmonicHead", "init_args": {"exponent": 2.0}}
OTHER_HEAD = {"class_path": "lightning_modules.CrossEntropyHead", "init_args": {"bias": False}}
CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "model": {"class_path": "lightning_modules.LanguageModel", "init_args": {"head": HEAD}},
    "data": {
        "class_path": "datamodules.OpenWebText",
        "init_args": {"global_batch_size": 4, "block_size": 16, "seed": None, "tokenizer": "x"},
    },
}


def write(
    root: Path, version: int, step: int, time: int, name: str = "last", head=HEAD, seed: int = 0,
    **data: Any,
) -> Path:  # fmt: skip
    path = root / "run" / f"version_{version}" / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {"weight": torch.ones(30)}, "global_step": step, KEY: {"seed": seed},
        "hyper_parameters": {"head": head},
        "OpenWebText": {"global_batch_size": 4, "block_size": 16, "seed": 0, **data},
    }  # fmt: skip
    torch.save(content, path)
    os.utime(path, (time, time))
    return path


def find(root: Path, config: dict[str, Any] = CONFIG) -> str | None:
    return last_checkpoint(str(root), "run", config)


def test_the_newest_file_is_taken_whatever_its_version_and_step(tmp_path, capsys):
    write(tmp_path, 0, 10, time=100)
    newest = write(tmp_path, 1, 5, time=300)
    write(tmp_path, 2, 20, time=200)
    assert find(tmp_path) == str(newest)
    assert capsys.readouterr().out == f"going on from {newest}, step 5\n"


def test_of_files_of_one_time_the_higher_version_is_taken(tmp_path):
    paths = [write(tmp_path, version, 1, time=100) for version in (2, 10, 9)]
    assert find(tmp_path) == str(paths[1])


def test_further_checkpoints_and_the_previous_one_count(tmp_path):
    write(tmp_path, 0, 10, time=100)
    newer = write(tmp_path, 0, 12, time=200, name="step_12")
    assert find(tmp_path) == str(newer)
    newer.unlink()
    (tmp_path / "run/version_0/checkpoints/last.ckpt").unlink()
    previous = write(tmp_path, 0, 8, time=50, name="previous")
    assert find(tmp_path) == str(previous)


def test_runs_of_another_config_do_not_count_nor_does_half_a_file(tmp_path):
    path = write(tmp_path, 0, 10, time=100)
    os.renames(path, tmp_path / "other" / "version_0" / "checkpoints" / "last.ckpt")
    assert find(tmp_path) is None
    path = write(tmp_path, 0, 10, time=100)
    os.rename(path, path.with_name("last.ckpt.partial"))
    assert find(tmp_path) is None


def test_where_there_is_none_this_is_said(tmp_path, capsys):
    assert find(tmp_path / "nowhere") is None
    assert "there is no checkpoint of this run" in capsys.readouterr().out
    (tmp_path / "run" / "version_0").mkdir(parents=True)  # the folder that a first start claimed
    assert find(tmp_path) is None


def test_a_damaged_one_is_passed_over_with_a_warning_that_names_it_and_the_reason(tmp_path):
    before = write(tmp_path, 0, 8, time=100, name="previous")
    damaged = write(tmp_path, 0, 10, time=200)
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.warns(UserWarning) as warned:
        assert find(tmp_path) == str(before)
    (warning,) = warned
    assert str(damaged) in str(warning.message) and "damaged" in str(warning.message)


def test_one_that_holds_code_is_passed_over_and_its_code_not_run(tmp_path):
    made = tmp_path / "made"

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(made),)

    before = write(tmp_path, 0, 8, time=100)
    bad = write(tmp_path, 1, 9, time=200)
    torch.save({"state_dict": {}, "global_step": 9, "x": Code()}, bad)
    with pytest.warns(UserWarning, match="holds code"):
        assert find(tmp_path) == str(before)
    assert not made.exists()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"head": OTHER_HEAD}, "trained with head CrossEntropyHead(bias=False)"),
        ({"seed": 3}, "seed_everything was 3"),
        ({"global_batch_size": 8}, "data.global_batch_size was 8"),
    ],
)
def test_those_that_another_command_wrote_are_passed_over_with_one_note(
    tmp_path, capsys, other, said
):
    mine = write(tmp_path, 0, 8, time=100)
    write(tmp_path, 1, 9, time=200, **other)
    write(tmp_path, 2, 9, time=300, **other)
    assert find(tmp_path) == str(mine)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "passed over 2 checkpoints" in lines[1] and said in lines[1]


def test_another_task_under_the_same_name_is_passed_over(tmp_path):
    tasks = [{"class_path": "datamodules.ModularAddition"}, {"class_path": "datamodules.Genealogy"}]
    config = {
        "model": CONFIG["model"],
        "data": {"class_path": "datamodules.AlgorithmicData", "init_args": {"task": tasks[0]}},
    }
    for version, task in enumerate(tasks):
        path = write(tmp_path, version, 5, time=100 + version)
        saved = {**config, "data": {**config["data"], "init_args": {"task": task}}}
        (path.parents[1] / "config.yaml").write_text(yaml.safe_dump(saved))
    assert find(tmp_path, config) == str(tmp_path / "run/version_0/checkpoints/last.ckpt")


def test_a_checkpoint_from_before_seeds_were_kept_is_taken(tmp_path):
    path = write(tmp_path, 0, 8, time=100)
    content = torch.load(path, weights_only=True)
    del content[KEY]
    torch.save(content, path)
    assert find(tmp_path) == str(path)

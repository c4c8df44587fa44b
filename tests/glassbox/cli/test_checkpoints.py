"""`--ckpt_path last` is the newest usable checkpoint of the same command's runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from callbacks.run.exact_resume import KEY
from glassbox.cli.checkpoints import last_checkpoint

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
    settings: dict[str, Any] | None = None, **data: Any,
) -> Path:  # fmt: skip
    path = root / "run" / f"version_{version}" / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {"weight": torch.ones(30)}, "global_step": step, KEY: {"seed": seed},
        "hyper_parameters": {"head": head, **(settings or {})},
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


SETTINGS: dict[str, Any] = {
    "learning_rate": 6e-4, "weight_decay": 0.1, "betas": (0.9, 0.95), "clip_norm": 1.0,
    "compile": "auto", "init_from": None, "warmup_steps": 100, "feature_scale_init": "matched",
}  # fmt: skip


def with_settings(**changes: Any) -> dict[str, Any]:
    options = {"head": HEAD, **SETTINGS, **changes}
    return {**CONFIG, "model": {**CONFIG["model"], "init_args": options}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1e-3), ("weight_decay", 0.0), ("betas", (0.9, 0.99)),
        ("clip_norm", None), ("warmup_steps", 10), ("start", "gpt2"),
    ],
)  # fmt: skip
def test_one_that_was_trained_otherwise_is_passed_over(tmp_path, capsys, name, value):
    mine = write(tmp_path, 0, 8, time=100, settings={**SETTINGS, "betas": [0.9, 0.95]})
    write(tmp_path, 1, 9, time=200, settings={**SETTINGS, name: value})
    assert find(tmp_path, with_settings()) == str(mine)
    assert f"1 checkpoint: trained with {name} " in capsys.readouterr().out


def test_to_be_measured_it_may_have_been_trained_otherwise(tmp_path):
    path = write(tmp_path, 1, 9, time=200, settings={**SETTINGS, "learning_rate": 1.0})
    assert last_checkpoint(str(tmp_path), "run", with_settings(), training=False) == str(path)
    assert find(tmp_path, with_settings()) is None


@pytest.mark.parametrize(
    "stored",
    [
        {**SETTINGS, "compile": "never"},
        {**SETTINGS, "init_from": "somewhere"},
        {**SETTINGS, "vocab_size": 257, "context_length": 16},  # filled in from the data
        {k: v for k, v in SETTINGS.items() if k != "clip_norm"},  # of an older version
        {**SETTINGS, "of_a_newer_version": 3},
        {},
    ],
)
def test_one_that_differs_in_nothing_that_trains_is_taken(tmp_path, stored):
    path = write(tmp_path, 0, 8, time=100, settings=stored)
    config = with_settings(vocab_size=50257, context_length=1024)
    assert find(tmp_path, config) == str(path)


def test_an_older_head_without_an_option_is_taken_and_the_fused_path_may_differ(tmp_path):
    options: tuple[dict[str, Any], ...] = ({}, {"exponent": 2.0, "fused": True})
    for version, init_args in enumerate(options):
        head = {"class_path": "HarmonicHead", "init_args": init_args}
        path = write(tmp_path, version, 8, time=100 + version, head=head)
        assert find(tmp_path) == str(path)
    head = {"class_path": "HarmonicHead", "init_args": {"exponent": 3.0}}
    write(tmp_path, 2, 8, time=200, head=head)
    assert find(tmp_path) == str(path)


def test_seeds_that_are_counted_are_those_that_are_named(tmp_path):
    path = write(tmp_path, 0, 8, time=100, settings={"seeds": [0, 1], "num_seeds": 2})
    assert find(tmp_path, with_settings(seeds=[0, 1], num_seeds=1)) == str(path)
    assert find(tmp_path, with_settings(seeds=None, num_seeds=2)) == str(path)
    assert find(tmp_path, with_settings(seeds=None, num_seeds=3)) is None


@pytest.mark.filterwarnings("ignore:passing over a checkpoint")
def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path):
    paths = [
        write(tmp_path, 0, 8 + i, 100 + i, name) for i, name in enumerate(("previous", "last"))
    ]
    for path in paths:
        path.write_bytes(b"PK")
    with pytest.raises(ValueError) as refused:
        find(tmp_path)
    said = str(refused.value)
    assert "no checkpoint of this run can be read" in said and "all 2" in said
    assert len([path for path in paths if str(path) in said]) == 1 and "\n" not in said
    write(tmp_path, 1, 5, time=300, settings={"learning_rate": 1.0})  # another command's
    with pytest.raises(ValueError, match="no checkpoint of this run"):
        find(tmp_path, with_settings())
    for path in paths:
        path.unlink()
    assert find(tmp_path, with_settings()) is None


@pytest.mark.filterwarnings("ignore:passing over a checkpoint")
def test_a_damaged_one_beside_another_command_s_is_that_one_s(tmp_path):
    write(tmp_path, 0, 8, 100, "previous", head=OTHER_HEAD)
    write(tmp_path, 0, 9, 200).write_bytes(b"PK")
    assert find(tmp_path) is None


def test_of_damaged_ones_the_newest_is_named(tmp_path):
    for version in (0, 1):
        path = write(tmp_path, version, 8, time=100)
        path.write_bytes(b"PK")
        os.utime(path, (100 - version, 100 - version))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"version_0.* is the newest"):
        find(tmp_path)

"""`--ckpt_path last` is the newest usable checkpoint of a config's runs; damaged files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from callbacks.run.exact_resume import KEY
from glassbox.cli.checkpoints import last_checkpoint, read_checkpoint

HEAD = {"class_path": "lightning_modules.heads.HarmonicHead", "init_args": {"exponent": 2.0}}
OTHER_HEAD = {"class_path": "lightning_modules.CrossEntropyHead", "init_args": {"bias": False}}
SETTINGS: dict[str, Any] = {
    "learning_rate": 6e-4, "betas": (0.9, 0.95), "clip_norm": 1.0, "compile": "auto",
    "init_from": None, "feature_scale_init": "matched",
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "model": {"class_path": "lightning_modules.LanguageModel", "init_args": {"head": HEAD}},
    "data": {
        "class_path": "datamodules.OpenWebText",
        "init_args": {"global_batch_size": 4, "block_size": 16, "seed": None, "tokenizer": "x"},
    },
}


def with_settings(**changes: Any) -> dict[str, Any]:
    options = {"head": HEAD, **SETTINGS, **changes}
    return {**CONFIG, "model": {**CONFIG["model"], "init_args": options}}


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


# ---- which file --------------------------------------------------------------------------------


def test_the_newest_file_is_taken_whatever_its_version_step_and_name(tmp_path, capsys):
    write(tmp_path, 0, 10, time=100)
    newest = write(tmp_path, 1, 5, time=300, name="step_5")
    write(tmp_path, 2, 20, time=200)
    assert find(tmp_path) == str(newest)
    printed = capsys.readouterr().out
    assert str(newest) in printed and "step 5" in printed


def test_of_files_of_one_time_the_higher_version_is_taken(tmp_path):
    paths = [write(tmp_path, version, 1, time=100) for version in (2, 10, 9)]
    assert find(tmp_path) == str(paths[1])


def test_other_names_partial_files_and_empty_folders_do_not_count(tmp_path, capsys):
    path = write(tmp_path, 0, 10, time=100)
    os.renames(path, tmp_path / "other" / "version_0" / "checkpoints" / "last.ckpt")
    path = write(tmp_path, 0, 10, time=100)
    os.rename(path, path.with_name("last.ckpt.partial"))
    assert find(tmp_path) is None and find(tmp_path / "nowhere") is None
    assert "there is no checkpoint of this run" in capsys.readouterr().out


# ---- of which run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"head": OTHER_HEAD}, "head"),
        ({"head": {**HEAD, "init_args": {"exponent": 3.0}}}, "head"),
        ({"seed": 3}, "seed_everything"),
        ({"global_batch_size": 8}, "data.global_batch_size"),
        *(
            ({"settings": {**SETTINGS, name: value}}, name)
            for name, value in {
                "learning_rate": 1e-3, "betas": [0.9, 0.99], "clip_norm": None,
                "feature_scale_init": "gpt2",
            }.items()
        ),
    ],
)  # fmt: skip
def test_checkpoints_of_another_config_are_skipped_with_one_note(tmp_path, capsys, other, name):
    mine = write(tmp_path, 0, 8, time=100, settings={**SETTINGS, "betas": [0.9, 0.95]})
    write(tmp_path, 1, 9, time=200, **other)
    write(tmp_path, 2, 9, time=300, **other)
    assert find(tmp_path, with_settings()) == str(mine)
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert "2 checkpoints" in note and name in note


@pytest.mark.parametrize(
    ("stored", "head"),
    [
        ({**SETTINGS, "compile": "never"}, HEAD),
        ({**SETTINGS, "init_from": "somewhere"}, HEAD),
        ({**SETTINGS, "vocab_size": 257, "context_length": 16}, HEAD),  # taken from the data
        ({k: v for k, v in SETTINGS.items() if k != "clip_norm"}, HEAD),  # of an older version
        ({**SETTINGS, "of_a_newer_version": 3}, HEAD),
        ({}, HEAD),
        ({}, {"class_path": "HarmonicHead", "init_args": {}}),  # before it had the option
        ({}, {"class_path": "HarmonicHead", "init_args": {"exponent": 2.0, "fused": True}}),
    ],
)
def test_a_difference_that_does_not_change_the_training_is_accepted(tmp_path, stored, head):
    path = write(tmp_path, 0, 8, time=100, settings=stored, head=head)
    config = with_settings(vocab_size=50257, context_length=1024)
    assert find(tmp_path, config) == str(path)


def test_a_class_that_was_renamed_since_is_the_same_class(tmp_path):
    old, new = ({"class_path": f"lightning_modules.{name}"} for name in ("PixelMLP", "VectorMLP"))
    path = write(tmp_path, 0, 8, time=100, settings={"network": old})
    assert find(tmp_path, with_settings(network=new)) == str(path)


def test_to_be_measured_it_may_have_other_training_settings(tmp_path):
    path = write(tmp_path, 1, 9, time=200, settings={**SETTINGS, "learning_rate": 1.0})
    assert last_checkpoint(str(tmp_path), "run", with_settings(), training=False) == str(path)
    assert find(tmp_path, with_settings()) is None


def test_another_task_under_the_same_name_is_skipped(tmp_path):
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


def test_a_number_of_seeds_equals_the_list_of_them(tmp_path):
    path = write(tmp_path, 0, 8, time=100, settings={"seeds": [0, 1], "num_seeds": 2})
    assert find(tmp_path, with_settings(seeds=[0, 1], num_seeds=1)) == str(path)
    assert find(tmp_path, with_settings(seeds=None, num_seeds=2)) == str(path)
    assert find(tmp_path, with_settings(seeds=None, num_seeds=3)) is None


# ---- damaged files -------------------------------------------------------------------------------


def test_a_damaged_file_is_skipped_with_a_warning_that_names_it(tmp_path):
    before = write(tmp_path, 0, 8, time=100, name="previous")
    damaged = write(tmp_path, 0, 10, time=200)
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.warns(UserWarning, match="damaged") as warned:
        assert find(tmp_path) == str(before)
    assert len(warned) == 1 and str(damaged) in str(warned[0].message)


@pytest.mark.filterwarnings("ignore:skipping a checkpoint")
def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path):
    paths = [write(tmp_path, version, 8, time=100) for version in (0, 1)]
    for version, path in enumerate(paths):
        path.write_bytes(b"PK")
        os.utime(path, (100 - version, 100 - version))
    with pytest.raises(ValueError, match="ckpt_path") as refused:
        find(tmp_path)
    assert str(paths[0]) in str(refused.value)  # the newest
    write(tmp_path, 2, 5, time=300, settings={"learning_rate": 1.0})  # another config's
    with pytest.raises(ValueError, match="ckpt_path"):
        find(tmp_path, with_settings())
    for path in paths:
        path.unlink()
    assert find(tmp_path, with_settings()) is None


@pytest.mark.filterwarnings("ignore:skipping a checkpoint")
def test_a_damaged_file_in_the_folder_of_another_config_does_not_count(tmp_path):
    write(tmp_path, 0, 8, 100, "previous", head=OTHER_HEAD)
    write(tmp_path, 0, 9, 200).write_bytes(b"PK")
    assert find(tmp_path) is None


# ---- reading a file ----------------------------------------------------------------------------

CONTENT = {"state_dict": {"weight": torch.ones(300)}, "global_step": 1}


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_reported_as_damaged(tmp_path, fraction):
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        read_checkpoint(str(path))


def test_a_changed_byte_is_reported_as_damaged(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    data = path.read_bytes()
    place = data.index(torch.ones(20).numpy().tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    torch.load(path, weights_only=True)  # PyTorch does not notice
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("other", [[1, 2], {"weights": 1}, torch.ones(3)])
def test_a_file_without_weights_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt"):
        read_checkpoint(str(tmp_path / "x.ckpt"))


class Code:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path, made = tmp_path / "x.ckpt", tmp_path / "made"
    torch.save({**CONTENT, "callbacks": Code(made)}, path)
    with pytest.raises(ValueError, match=r"posix\.mkdir"):
        read_checkpoint(str(path))
    assert not made.exists()
    torch.load(path, weights_only=False)  # the test can fail
    assert made.exists()

"""The checkpoint that `--ckpt_path last` means: the newest usable one of this config's runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from callbacks.checkpoint_fit import checkpoint_misfit, difference, read_checkpoint
from callbacks.exact_resume import KEY


def checkpoint_to_load(subcommand: str, name: str, config: dict[str, Any]) -> str | None:
    """The checkpoint that ``ckpt_path`` of a config means, if it is one of this config.

    Args:
        subcommand: ``fit``, or one that measures.
        name: The run's name, that of its config file.
        config: What the command line parsed.

    Raises:
        ValueError: It is not there, or of another model.
    """
    path = config.get("ckpt_path")
    if path == "last":
        root = str(config["trainer"].get("default_root_dir") or "runs")
        path = last_checkpoint(root, name, config, subcommand == "fit")
        if path is None and subcommand != "fit":
            raise ValueError("--ckpt_path last: there is no checkpoint to measure")
    elif path and path not in ("best", "hpc"):
        if not os.path.isfile(path):
            raise ValueError(f"--ckpt_path {path}: there is no such file")
        if misfit := checkpoint_misfit(path, config["model"].get("init_args", {})):
            raise ValueError(misfit)
    return path


def last_checkpoint(
    root: str, name: str, config: dict[str, Any], training: bool = True
) -> str | None:
    """Find the newest checkpoint in ``root/name/version_*/checkpoints`` that this config wrote.

    Every start of a run has a folder of its own, so that the last checkpoint lies in another run's.
    Newest is by the file's time. Damaged files are passed over with a warning; those of another
    network, head, learning rate (or whatever changes the training), seed, task or batch, which the
    command line may have given a run of the same name, with a note.

    Every rank looks by itself: what they find is the same as long as no other run of this name
    writes meanwhile, which :class:`ExactResume` makes sure of.

    Args:
        root: Folder of all runs.
        name: The run's name, that of its config file.
        config: What the command line parsed: ``model``, ``data``, ``seed_everything``.
        training: To go on with it; to measure it, its learning rate and the like do not matter.

    Returns:
        The file, or None where there is none. Either is told on the terminal.

    Raises:
        ValueError: There are only damaged ones: a long run that is started again by itself should
            not begin anew unasked. (Those beside a whole one of another command are that one's.)
    """
    passed: dict[str, int] = {}
    damaged: list[Path] = []
    others: set[Path] = set()
    found = None
    for path in _newest_first(Path(root) / name):
        try:
            content = read_checkpoint(str(path))
        except FileNotFoundError:  # another run has just replaced it
            continue
        except (ValueError, OSError) as error:
            rank_zero_warn(f"passing over a checkpoint: {error}", stacklevel=2)
            damaged.append(path)
            continue
        if (reason := _misfit(content, path, config, training)) is None:
            found = str(path)
            _tell(f"going on from {path}, step {content['global_step']:,}")
            break
        passed[reason] = passed.get(reason, 0) + 1
        others.add(path.parent)
    for reason, count in passed.items():
        _tell(f"passed over {count} checkpoint{'s' * (count > 1)}: {reason}")
    lost = [path for path in damaged if path.parent not in others]
    if found is None and lost:
        raise ValueError(
            f"no checkpoint of this run can be read, of which {lost[0]} is the newest; delete or "
            f"move {'it' if len(lost) == 1 else f'all {len(lost)}'}, or leave out --ckpt_path, to "
            f"start anew"
        )
    if found is None:
        _tell(f"there is no checkpoint of this run in {Path(root) / name}")
    return found


def _newest_first(folder: Path) -> Iterator[Path]:
    def age(path: Path) -> tuple[float, int, str]:
        version = path.parts[-3].rpartition("_")[2]
        number = int(version) if version.isdigit() else -1
        try:
            return path.stat().st_mtime, number, path.name
        except FileNotFoundError:
            return 0.0, number, path.name

    yield from sorted(folder.glob("version_*/checkpoints/*.ckpt"), key=age, reverse=True)


def _misfit(
    content: dict[str, Any], path: Path, config: dict[str, Any], training: bool
) -> str | None:
    """Why another command wrote a checkpoint; None where it was this one."""
    seed = content.get(KEY, {}).get("seed")
    if seed is not None and seed != config.get("seed_everything", seed):
        return f"seed_everything was {seed}"
    if reason := difference(content, config["model"].get("init_args", {}), training):
        return reason
    data = config.get("data") or {}
    here = data.get("init_args") or {}
    there = content.get(data.get("class_path", "").rpartition(".")[2], {})
    for name, value in there.items():
        if name != "tokenizer" and here.get(name) is not None and here[name] != value:
            return f"data.{name} was {value}"
    saved = path.parents[1] / "config.yaml"
    if "task" in here and saved.is_file():
        there = (yaml.safe_load(saved.read_text()).get("data") or {}).get("init_args") or {}
        if there.get("task") != here["task"]:
            return "data.task was another"
    return None


@rank_zero_only
def _tell(line: str) -> None:
    print(line)

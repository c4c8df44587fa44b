"""Checkpoints: read one, find the one to resume from, load a language model."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from callbacks.run.exact_resume import KEY
from datamodules.tokens.tokenizers import Tokenizer, load_tokenizer
from lightning_modules.gpt2.hub_load import GPT2_VOCABULARY, open_pretrained
from lightning_modules.gpt2.hub_tokenizer import TRIALS
from lightning_modules.language_model import LanguageModel
from lightning_modules.training.renamed import rename_hyper_parameters

# Settings that decide what the stored weights mean, though not always their shapes.
_DECISIVE = ("network", "head", "seeds", "head_settings", "tie_embedding")
# Settings that do not change the training, or that the data determine; num_seeds is compared as
# seeds.
_HARMLESS = {
    "compile",
    "init_from",
    "vocab_size",
    "num_inputs",
    "context_length",
    "num_classes",
    "num_seeds",
}
# Options of a network or head that change how it is computed, not what.
_SPEED_OPTIONS = {"fused"}


# ---- reading and comparing -----------------------------------------------------------------------


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint, mapped into memory, and verify the checksum of every byte.

    PyTorch itself notices a truncated file, but not changed numbers. Pickled objects are never
    loaded.

    Raises:
        ValueError: The file is damaged, not a checkpoint, or contains pickled objects.
        OSError: The file cannot be opened.
    """
    open(path, "rb").close()  # an OSError of a file that can be opened means damage
    damaged = f"the checkpoint {path} is damaged or not a checkpoint"
    try:
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
    except Exception as error:
        if pickled := re.search(r"GLOBAL `?([\w.]+)", str(error)):
            raise ValueError(
                f"the checkpoint {path} contains a pickled object ({pickled.group(1)}), which is "
                f"never loaded; use a checkpoint of `lightning fit`"
            ) from None
        raise ValueError(f"{damaged}; use another one") from None
    if changed is not None:
        raise ValueError(f"{damaged} (wrong checksum of {changed}); use another one")
    if not isinstance(content, dict) or not {"state_dict", "global_step"} <= content.keys():
        raise ValueError(f"{damaged} (no weights in it); use another one")
    if "hyper_parameters" in content:
        content["hyper_parameters"] = rename_hyper_parameters(content["hyper_parameters"])
    return content


def first_mismatch(
    content: dict[str, Any], config: dict[str, Any], training: bool = False
) -> str | None:
    """The first setting in which a checkpoint differs from a model config.

    Shapes are not enough: a harmonic head has the shapes of a cross-entropy head, and seeds 0 and 1
    those of seeds 3 and 7, which were trained on other examples. Settings that only one of the two
    has are not compared: versions differ in them. With ``training``, every setting that changes the
    training (learning rate, weight decay, ...) is compared, and not only those that decide what the
    weights mean.
    """
    stored = content.get("hyper_parameters", {})
    if "seeds" in stored and "num_seeds" in config:
        config = {**config, "seeds": config.get("seeds") or list(range(config["num_seeds"]))}
    further = [name for name in config if name not in _HARMLESS] if training else []
    for name in dict.fromkeys((*_DECISIVE, *further)):
        if name in stored and name in config and not _equal(stored[name], config[name]):
            return (
                f"trained with {name} {_text(stored[name])}, but the config has "
                f"{_text(config[name])}"
            )
    return None


def _equal(one: Any, two: Any) -> bool:
    """Whether two settings are equal; specs are compared in the options that both have."""
    one, two = _normalized(one), _normalized(two)
    if isinstance(one, tuple) and isinstance(two, tuple):
        shared = one[1].keys() & two[1].keys()
        return one[0] == two[0] and all(_equal(one[1][key], two[1][key]) for key in shared)
    return bool(one == two)


def _normalized(value: Any) -> Any:
    """A spec as (short class name, options), a sequence as a list; other values as they are."""
    if isinstance(value, dict) and value.get("class_path"):
        options = dict(value.get("init_args") or {})
        kept = {key: option for key, option in options.items() if key not in _SPEED_OPTIONS}
        return value["class_path"].rpartition(".")[2], kept
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    value = _normalized(value)
    if isinstance(value, tuple):
        return f"{value[0]}({', '.join(f'{k}={_text(v)}' for k, v in value[1].items())})"
    return str(value)


# ---- --ckpt_path ---------------------------------------------------------------------------------


def find_checkpoint(name: str, config: dict[str, Any], training: bool) -> str | None:
    """The checkpoint file that ``ckpt_path`` means; None if `fit` has none to resume from.

    Raises:
        ValueError: The file does not exist, is damaged, or does not match the config.
    """
    path = config.get("ckpt_path")
    if path == "last":
        root = str(config["trainer"].get("default_root_dir") or "runs")
        path = last_checkpoint(root, name, config, training)
        if path is None and not training:
            raise ValueError(f"ckpt_path is last, but {name} has no checkpoint in {root}; name one")
    elif path and path not in ("best", "hpc"):
        if not os.path.isfile(path):
            raise ValueError(f"ckpt_path is {path}, which does not exist")
        mismatch = first_mismatch(read_checkpoint(path), config["model"].get("init_args", {}))
        if mismatch:
            raise ValueError(
                f"the checkpoint {path} was {mismatch}; use the config.yaml of its run"
            )
    return path


def last_checkpoint(
    root: str, name: str, config: dict[str, Any], training: bool = True
) -> str | None:
    """Find the newest checkpoint in ``root/name/version_*/checkpoints`` that this config wrote.

    Every start of a run has a folder of its own. Newest is by the file's time. Damaged files are
    skipped with a warning; those of another network, head, seed, task, batch or training setting
    with a note. Every rank searches by itself (``ExactResume`` checks that all find the same file).
    Without ``training``, settings such as the learning rate may differ.

    Raises:
        ValueError: There are only damaged ones: a run that is restarted automatically must not
            silently begin anew. (A damaged file in the folder of another config does not count.)
    """
    skipped: dict[str, int] = {}
    damaged: list[Path] = []
    other_folders: set[Path] = set()
    newest = None
    for path in _newest_first(Path(root) / name):
        try:
            content = read_checkpoint(str(path))
        except FileNotFoundError:  # another run has just replaced it
            continue
        except (ValueError, OSError) as error:
            rank_zero_warn(f"skipping a checkpoint: {error}", stacklevel=2)
            damaged.append(path)
            continue
        if (reason := _run_mismatch(content, path, config, training)) is None:
            newest = str(path)
            _print(f"resuming from {path}, step {content['global_step']:,}")
            break
        skipped[reason] = skipped.get(reason, 0) + 1
        other_folders.add(path.parent)
    for reason, count in skipped.items():
        _print(f"skipped {count} checkpoint{'s' * (count > 1)}: {reason}")
    lost = [path for path in damaged if path.parent not in other_folders]
    if newest is None and lost:
        raise ValueError(
            f"ckpt_path is last, but all {len(lost)} checkpoints of this run are damaged, the "
            f"newest {lost[0]}; delete them, or leave out --ckpt_path, to start anew"
        )
    if newest is None:
        _print(f"there is no checkpoint of this run in {Path(root) / name}")
    return newest


def _newest_first(folder: Path) -> Iterator[Path]:
    def age(path: Path) -> tuple[float, int, str]:
        version = path.parts[-3].rpartition("_")[2]
        try:
            time = path.stat().st_mtime
        except FileNotFoundError:  # another run has just deleted it
            time = 0.0
        return time, int(version) if version.isdigit() else -1, path.name

    yield from sorted(folder.glob("version_*/checkpoints/*.ckpt"), key=age, reverse=True)


def _run_mismatch(
    content: dict[str, Any], path: Path, config: dict[str, Any], training: bool
) -> str | None:
    """Why a checkpoint belongs to a run of another config; None if it is this one's."""
    seed = content.get(KEY, {}).get("seed")
    if seed is not None and seed != config.get("seed_everything", seed):
        return f"seed_everything was {seed}"
    if mismatch := first_mismatch(content, config["model"].get("init_args", {}), training):
        return mismatch
    data = config.get("data") or {}
    options = data.get("init_args") or {}
    stored = content.get(data.get("class_path", "").rpartition(".")[2], {})
    for name, value in stored.items():
        if name != "tokenizer" and options.get(name) is not None and options[name] != value:
            return f"data.{name} was {value}"
    saved = path.parents[1] / "config.yaml"
    if "task" in options and saved.is_file():
        saved_data = (yaml.safe_load(saved.read_text()).get("data") or {}).get("init_args") or {}
        if saved_data.get("task") != options["task"]:
            return "data.task was another"
    return None


@rank_zero_only
def _print(line: str) -> None:
    print(line)


# ---- trained language models ---------------------------------------------------------------------


class LoadedModel(NamedTuple):
    """A trained language model and the tokenizer of its data."""

    model: LanguageModel  # in evaluation mode, on the CPU, in float32
    tokenizer: str | None  # its name, as in data.tokenizer; None if the files do not name it


def load_language_model(path: str) -> LoadedModel:
    """Load a language model's checkpoint, or GPT-2 weights in Hugging Face's format.

    Args:
        path: A ``.ckpt`` file of `lightning fit`; a folder that `lightning export` or transformers
            wrote; or, if there is no such file or folder, a model of the Hugging Face hub.

    Raises:
        ValueError: The file does not exist, is damaged, or does not hold a language model.
    """
    if os.path.splitext(path)[1] == ".ckpt" and not os.path.exists(path):
        raise ValueError(
            f"there is no checkpoint {path}; name a .ckpt file of a run's checkpoints/"
        )
    if not os.path.isfile(path):
        source = open_pretrained(path)
        model = LanguageModel(**source.options(), init_from=str(source.folder))
        return LoadedModel(model.eval().float(), source.tokenizer())
    content = read_checkpoint(path)
    settings = content.get("hyper_parameters", {})
    if "network" not in settings or "num_classes" in settings:
        raise ValueError(
            f"{path} is not the checkpoint of a language model, which this command needs"
        )
    model = LanguageModel.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    tokenizer = content.get("OpenWebText", {}).get("tokenizer")
    return LoadedModel(model.eval().float(), tokenizer)


def choose_tokenizer(loaded: Sequence[LoadedModel], name: str | None) -> Tokenizer | None:
    """The tokenizer that trained models of one vocabulary share; None if it is not known.

    Without a ``name`` it is the one that the models name, or GPT-2's if none does and the
    vocabulary has its size. One tokenizer may have several names (GPT-2's, and the files of an
    export), so the ids of some unusual texts are compared.

    Raises:
        ValueError: The models' tokenizers differ from one another or from the user's choice, or
            its size is not theirs.
    """
    size = loaded[0].model.head.num_classes
    names = list(dict.fromkeys(model.tokenizer for model in loaded if model.tokenizer is not None))
    if name is not None:
        names = [name, *(other for other in names if other != name)]
    elif not names:
        if not _fits(GPT2_VOCABULARY, size):
            return None
        names = ["gpt2"]
    tokenizer, *others = (load_tokenizer(name) for name in names)
    if not _fits(tokenizer.vocab_size, size):
        raise ValueError(
            f"the tokenizer {names[0]} has {tokenizer.vocab_size:,} tokens, but the model has "
            f"{size:,}; name the one that it was trained with: --tokenizer"
        )
    for other_name, other in zip(names[1:], others, strict=True):
        pairs = zip(tokenizer.encode_batch(TRIALS), other.encode_batch(TRIALS), strict=True)
        if any(a.tolist() != b.tolist() for a, b in pairs):
            raise ValueError(
                f"the tokenizers {names[0]} and {other_name} encode text differently; a model "
                f"needs the tokenizer that it was trained with"
            )
    return tokenizer


def _fits(num_tokens: int, num_rows: int) -> bool:
    """Whether an embedding with this many rows may be of a tokenizer with this many tokens.

    In a folder of Hugging Face's, rows may be padded to a multiple of 64 or 128.
    """
    return num_tokens == num_rows or (num_rows % 64 == 0 and 0 < num_rows - num_tokens < 128)

"""A trained language model from its checkpoint or Hugging Face folder, without a trainer."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from callbacks.run.exact_resume import KEY
from lightning_modules.gpt2.hub_load import GPT2_VOCABULARY, open_pretrained
from lightning_modules.gpt2.hub_tokenizer import TRIALS
from lightning_modules.language_model import LanguageModel
from lightning_modules.training.renamed import rename_hyper_parameters

# Settings that decide what the stored weights mean, though not always their shapes.
_DECISIVE = ("network", "head", "seeds", "head_settings", "tie_embedding")
# Options of a network or head that change how it computes and not what.
_INDIFFERENT = {"fused"}
# Settings of a model that leave its training as it is, or say of the data what the data say
# themselves; num_seeds is compared as seeds.
_HARMLESS = {
    "compile",
    "init_from",
    "vocab_size",
    "num_inputs",
    "context_length",
    "num_classes",
    "num_seeds",
}
_DAMAGED = (
    "the checkpoint {path} is damaged, or no checkpoint at all ({part}); use another with "
    "--ckpt_path"
)


def checkpoint_misfit(path: str, config: dict[str, Any]) -> str | None:
    """Why a checkpoint's weights are not those of a model config; None if they are.

    Sizes alone do not tell: a harmonic head has the shapes of a cross-entropy head, and seeds 0 and
    1 those of seeds 3 and 7, whose training examples are others' test examples.

    Args:
        path: Checkpoint file. One without settings, of another program, is not judged.
        config: The model's ``init_args`` as the command line parsed them.

    Raises:
        ValueError: The file is no checkpoint, damaged, or holds code.
    """
    misfit = difference(read_checkpoint(path), config)
    return (
        misfit and f"the checkpoint {path} was {misfit}; use the config.yaml beside the checkpoint"
    )


def difference(
    content: dict[str, Any], config: dict[str, Any], training: bool = False
) -> str | None:
    """The first setting in which a checkpoint that was read differs from a model config.

    Settings that only one of the two has are not compared: a checkpoint of an older version lacks
    those that came later.

    Args:
        content: The checkpoint.
        config: The model's ``init_args`` as the command line parsed them.
        training: Compare every setting that changes the training (learning rate, weight decay,
            ...), and not only those that decide what the weights mean.

    Returns:
        "trained with ..., and the config says ..."; None where there is none.
    """
    stored = content.get("hyper_parameters", {})
    if "seeds" in stored:
        config = {**config, "seeds": config.get("seeds") or list(range(config["num_seeds"]))}
    further = [name for name in config if name not in _HARMLESS] if training else []
    for name in dict.fromkeys((*_DECISIVE, *further)):
        if name in stored and name in config and not _same(stored[name], config[name]):
            return (
                f"trained with {name} {_text(stored[name])}, and the config says "
                f"{_text(config[name])}"
            )
    return None


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint's content, mapped into memory.

    Every byte is checked, since PyTorch notices a file that is cut short, and not one whose numbers
    have changed. Nothing is run: what is not numbers, names and plain containers is refused.

    Args:
        path: Checkpoint file.

    Raises:
        ValueError: It is damaged, no checkpoint, or holds code.
        OSError: It cannot be opened.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:
        code = re.search(r"GLOBAL `?([\w.]+)", str(error))  # the name of a class or function
        if code is not None:
            raise ValueError(
                f"the checkpoint {path} holds code ({code.group(1)}), which is never run; use one "
                f"that `lightning fit` wrote"
            ) from None
        raise ValueError(_DAMAGED.format(path=path, part="it cannot be read")) from None
    if damaged is not None:
        raise ValueError(_DAMAGED.format(path=path, part=f"{damaged} has changed"))
    if not isinstance(content, dict) or not {"state_dict", "global_step"} <= content.keys():
        raise ValueError(_DAMAGED.format(path=path, part="there are no weights in it"))
    if "hyper_parameters" in content:
        content["hyper_parameters"] = rename_hyper_parameters(content["hyper_parameters"])
    return content


def _same(one: Any, two: Any) -> bool:
    """Whether two settings are the same, as far as both say them."""
    one, two = _flat(one), _flat(two)
    if isinstance(one, tuple) and isinstance(two, tuple):
        shared = one[1].keys() & two[1].keys()
        return one[0] == two[0] and all(_same(one[1][key], two[1][key]) for key in shared)
    return bool(one == two)


def _flat(value: Any) -> Any:
    """A recipe as (short class name, arguments), a sequence as a list; other values as they are."""
    if isinstance(value, dict) and value.get("class_path"):
        options = dict(value.get("init_args") or {})
        kept = {name: option for name, option in options.items() if name not in _INDIFFERENT}
        return value["class_path"].rpartition(".")[2], kept
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    flat = _flat(value)
    if isinstance(flat, tuple):
        return f"{flat[0]}({', '.join(f'{k}={_text(v)}' for k, v in flat[1].items())})"
    return str(flat)


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


class LoadedModel(NamedTuple):
    """A trained model and what it reads."""

    model: LanguageModel  # in evaluation mode, on the CPU, in float32
    tokenizer: str | None  # what data.tokenizer was or could be; None where that is not said


def load_language_model(path: str) -> LoadedModel:
    """The language model of a checkpoint, or GPT-2 weights in Hugging Face's format.

    Args:
        path: A ``.ckpt`` file of `lightning fit`; a folder that `lightning export` or transformers
            wrote; or, where there is no such file or folder, a model of the Hugging Face hub.

    Raises:
        ValueError: There is no such file, it is damaged, or it holds no language model.
    """
    if os.path.splitext(path)[1] == ".ckpt" and not os.path.exists(path):
        raise ValueError(
            f"there is no checkpoint {path}; name a .ckpt file of a run's checkpoints/"
        )
    if not os.path.isfile(path):
        source = open_pretrained(path)
        model = LanguageModel(**source.options(), init_from=str(source.folder))
        return LoadedModel(model.eval().float(), source.tokenizer())
    content = _read(path)
    settings = content.get("hyper_parameters", {})
    if "network" not in settings or "num_classes" in settings:
        raise ValueError(
            f"{path} holds no language model, and this command needs the checkpoint of one"
        )
    model = LanguageModel.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    tokenizer = content.get("OpenWebText", {}).get("tokenizer")
    return LoadedModel(model.eval().float(), tokenizer)


def choose_tokenizer(
    loaded: Sequence[LoadedModel], asked: str | None, load_tokenizer: Callable[[str], Any]
) -> Any | None:
    """The tokenizer of trained models, loaded, when it is known and certain to be theirs.

    Two names can mean one tokenizer (GPT-2's, and the files of an export), so that what is compared
    are the ids of some odd texts.

    Args:
        loaded: Models of one vocabulary.
        asked: The name that the user gave; None takes the one that the models name, or GPT-2's
            where none does and the vocabulary is as large.
        load_tokenizer: From a name to a tokenizer.

    Returns:
        The tokenizer; None where it is not known.

    Raises:
        ValueError: The models' tokenizers differ, from one another or from the one that was asked
            for, or its size is not theirs.
    """
    size = loaded[0].model.head.num_classes
    names = list(dict.fromkeys(name for _, name in loaded if name is not None))
    if asked is None and not names:
        if not _fits(GPT2_VOCABULARY, size):
            return None
        names = ["gpt2"]
    names = ([] if asked is None else [asked]) + [name for name in names if name != asked]
    tokenizer, *others = (load_tokenizer(name) for name in names)
    if not _fits(tokenizer.vocab_size, size):
        raise ValueError(
            f"the tokenizer {names[0]} has {tokenizer.vocab_size:,} tokens and the model "
            f"{size:,}; name the one that it was trained with: --tokenizer"
        )
    for name, other in zip(names[1:], others, strict=True):
        pairs = zip(tokenizer.encode_batch(TRIALS), other.encode_batch(TRIALS), strict=True)
        if any(a.tolist() != b.tolist() for a, b in pairs):
            trained = "" if asked is None else ", which a model was trained with,"
            raise ValueError(
                f"the tokenizers {names[0]} and {name}{trained} give different ids to the same "
                f"text; models and tokenizer must belong together"
            )
    return tokenizer


def _fits(tokens: int, rows: int) -> bool:
    """Whether a model with so many rows can have a tokenizer of so many tokens.

    Elsewhere rows are added up to a multiple of 64 or 128, and count as tokens in a folder of
    Hugging Face's.
    """
    return tokens == rows or (rows % 64 == 0 and 0 < rows - tokens < 128)


def _read(path: str) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(
            f"the checkpoint {path} cannot be read: it is damaged, or no checkpoint, or holds more "
            f"than numbers and names, which is never loaded; take another one"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{path} is no checkpoint of `lightning fit`; name one")
    return content

"""The entry point of the command line: help, version, and the way to every subcommand."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from glassbox.cli.error_messages import UsageError
from glassbox.cli.function_commands import FUNCTIONS, SUBCOMMANDS, run_function

# Nothing heavy is imported up here: importing LightningCLI takes 4.5 s of CPU, and `--help` and
# `--version` need none of it.

OVERVIEW = """\
usage: lightning SUBCOMMAND --config FILE [--KEY VALUE ...]

Train models that can be read: any loss head, interpretability measured while training.

subcommands:
{subcommands}

options of all but the last four:
  --config FILE    a YAML file, one run each; see configs/
  --KEY VALUE      override any key of it, such as --model.head CrossEntropyHead
  --print_config   print the resolved configuration and stop
of every subcommand:
  --help           every key with a sentence about it

examples:
  lightning fit --config configs/quickstart.yaml
  lightning fit --config configs/algorithmic/modular_addition.yaml --model.head CrossEntropyHead
  lightning check --config configs/algorithmic/modular_addition.yaml
  lightning prepare --config configs/gpt2/gpt2_cpu.yaml --data.files 'texts/**/*.jsonl.gz'
  lightning sample --checkpoint runs/gpt2_cpu/version_0/checkpoints/last.ckpt --prompt 'The city'
  lightning fit --model.help Classifier
  lightning reproduce --list

`glassbox` is another name of this command. GLASSBOX_DEBUG=1 shows tracebacks.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 2 and one sentence where the user can mend the matter."""
    arguments = list(sys.argv[1:] if args is None else args)
    # Before torch reads them: of 1,024 kernels each, texts of many lengths fill gigabytes.
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "64")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<16} {text}" for name, text in SUBCOMMANDS.items())
        print(OVERVIEW.format(subcommands="\n".join(lines)), end="")
        return
    if arguments[0] in ("--version", "-V"):
        versions = ", ".join(f"{name} {_version(name)}" for name in ("lightning", "torch"))
        print(f"glassbox {_version('glassbox')} ({versions})")
        return
    if os.getcwd() not in sys.path:  # for classes of the user's own, by their full path
        sys.path.insert(0, os.getcwd())
    try:
        if arguments[0] not in SUBCOMMANDS:
            raise UsageError(_unknown_subcommand(arguments))
        if arguments[0] in FUNCTIONS:
            run_function(arguments)
        else:
            from glassbox.cli.lightning_cli import run

            run(arguments)
    except UsageError as error:
        _exit_with(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("GLASSBOX_DEBUG"):
            raise
        from glassbox.cli.class_lookup import known_classes, known_keys
        from glassbox.cli.error_messages import user_message

        sentence = user_message(error, arguments, known_classes, known_keys(arguments[0]))
        if sentence is None:
            raise
        _exit_with(sentence)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _unknown_subcommand(arguments: Sequence[str]) -> str:
    if arguments[0].startswith("-"):
        named = [word for word in arguments if word in SUBCOMMANDS]
        example = named[0] if named else "fit"
        return f"the subcommand comes first: lightning {example} {arguments[0]} ..."
    near = difflib.get_close_matches(arguments[0], SUBCOMMANDS, n=1)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    choices = ", ".join(SUBCOMMANDS)
    return f"there is no subcommand {arguments[0]!r}{suggestion}; choose one of {choices}"


def _exit_with(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)

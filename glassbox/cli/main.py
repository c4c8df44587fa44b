"""Entry point of the command line: help, version, and dispatch to the subcommands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from glassbox.cli.subcommands import FUNCTIONS, SUBCOMMANDS

# `--help` answers at once: whatever takes longer to import is imported where it is used.

OVERVIEW = """\
usage: lightning SUBCOMMAND --config FILE [--KEY VALUE ...]

Train models that can be read: any loss head, interpretability measured while training.

subcommands:
{subcommands}

options of all but the last four:
  --config FILE    a YAML file, one per run; see configs/
  --KEY VALUE      override any key of it, such as --model.head CrossEntropyHead
  --print_config   print the resolved configuration and stop
of every subcommand:
  --help           describe every key

examples:
  lightning fit --config configs/quickstart.yaml
  lightning fit --config configs/algorithmic/modular_addition.yaml --model.head CrossEntropyHead
  lightning check --config configs/algorithmic/modular_addition.yaml
  lightning prepare --config configs/gpt2/gpt2_cpu.yaml --data.files 'texts/**/*.jsonl.gz'
  lightning sample runs/gpt2_cpu/version_0/checkpoints/last.ckpt --prompt 'The city'
  lightning fit --model.help Classifier
  lightning reproduce --list

`glassbox` is another name of this command. GLASSBOX_DEBUG=1 shows tracebacks.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; on a user's error, print one line and exit with status 2."""
    arguments = list(sys.argv[1:] if args is None else args)
    # Read by torch when it is imported: its default of 1,024 cached kernels takes gigabytes where
    # texts have many lengths.
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
    try:
        _run(arguments)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("GLASSBOX_DEBUG"):
            raise
        from glassbox.cli.error_messages import user_message

        message = user_message(error, arguments)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None


def _run(arguments: list[str]) -> None:
    if arguments[0] not in SUBCOMMANDS:
        from glassbox.cli.error_messages import UsageError

        raise UsageError(_unknown_subcommand(arguments))
    # Imported before the working directory can be searched: a folder `callbacks/` there must not
    # take the place of ours. It is searched for the user's own classes, after everything installed.
    import callbacks  # noqa: F401
    import datamodules  # noqa: F401
    import lightning_modules  # noqa: F401

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if arguments[0] in FUNCTIONS:
        from glassbox.cli.function_commands import run_function

        run_function(arguments)
    elif arguments[0] == "prepare":
        from glassbox.cli.commands.prepare import prepare

        print(prepare(arguments))
    else:
        from glassbox.cli.lightning_cli import run

        run(arguments)


def _version(package: str) -> str:
    from importlib import metadata

    return metadata.version(package)


def _unknown_subcommand(arguments: Sequence[str]) -> str:
    from glassbox.cli.error_messages import nearest

    if arguments[0].startswith("-"):
        example = next((word for word in arguments if word in SUBCOMMANDS), "fit")
        return f"the subcommand comes first: lightning {example} {arguments[0]} ..."
    suggestion = nearest(arguments[0], list(SUBCOMMANDS))
    return (
        f"unknown subcommand {arguments[0]!r}{suggestion}; choose one of {', '.join(SUBCOMMANDS)}"
    )

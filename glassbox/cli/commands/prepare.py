"""`lightning prepare`: write the token shards of a config's data."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from glassbox.cli.argv import parse
from glassbox.cli.error_messages import UsageError
from glassbox.cli.lightning_cli import build_parser
from glassbox.cli.warning_filters import silence_harmless_warnings


def prepare(arguments: Sequence[str]) -> str:
    """Build the data module of a whole run's config, without its model, and prepare its data."""
    silence_harmless_warnings()
    config = parse(build_parser("prepare").parse_args, arguments).prepare
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(L.LightningDataModule, "data", subclass_mode=True)
    data = parser.instantiate_classes(Namespace(data=config.data)).data
    if not hasattr(data, "prepare"):
        raise UsageError(f"{type(data).__name__} needs no preparation; start with lightning fit")
    return str(data.prepare())

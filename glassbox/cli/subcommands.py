"""The subcommands and what each of them does; standard library only."""

from __future__ import annotations

SUBCOMMANDS = {
    "fit": "train a model",
    "validate": "measure a checkpoint on the validation data, with every probe of the config",
    "test": "measure a checkpoint on the test data",
    "predict": "write a checkpoint's predictions to predictions.csv",
    "prepare": "turn text into token shards, for a config whose data is text",
    "check": "build everything, count parameters and steps, estimate memory; no training",
    "sample": "write text with a language model's checkpoint",
    "export": "write a language model's checkpoint as a Hugging Face folder",
    "compare": "draw the word parallelograms of several language models in one figure",
    "reproduce": "run a paper's figure or table, and report published beside measured numbers",
}

# Subcommands that are one function each; its parameters are the options.
FUNCTIONS = {
    "sample": "glassbox.cli.commands.sample.sample",
    "export": "glassbox.cli.commands.export.export",
    "compare": "glassbox.cli.commands.compare.compare",
    "reproduce": "glassbox.cli.commands.reproduce.reproduce",
}

"""Redirect what a run prints, logs and warns to a file."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


@contextlib.contextmanager
def output_to(file: TextIO) -> Iterator[None]:
    """Redirect stdout, stderr and Lightning's loggers to a file."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [logging.StreamHandler(file)], False
    try:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        for logger, handlers, propagates in before:
            logger.handlers, logger.propagate = handlers, propagates


@contextlib.contextmanager
def run_log(path: Path, name: str, shown: type[Warning]) -> Iterator[None]:
    """Redirect the output of one run of a study to its log.

    ``sys.argv`` is cleared for the run: Inductor reads an option ``--only`` of its own from it, and
    copies the value into the code that it generates.
    """
    terminal, arguments = sys.stderr, sys.argv
    with open(path, "a", buffering=1) as file, output_to(file), warnings.catch_warnings():
        warnings.simplefilter("always", shown)
        show = warnings.showwarning

        def show_twice(
            message: Warning | str, category: type[Warning], *where: Any, **options: Any
        ) -> None:
            show(message, category, *where, **options)
            if issubclass(category, shown):
                print(f"{name}: {message}", file=terminal, flush=True)

        warnings.showwarning = show_twice
        sys.argv = arguments[:1]
        try:
            yield
        finally:
            sys.argv = arguments

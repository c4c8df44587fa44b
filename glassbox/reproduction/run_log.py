"""What a run prints, logs and warns of, sent to a file."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def output_to(file: TextIO) -> Iterator[None]:
    """Send what is printed and logged to a file; Lightning speaks through its logger.

    Args:
        file: Open for writing.
    """
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
def run_log(path: Path, name: str, tell: type[Warning]) -> Iterator[None]:
    """The surroundings of one run of a study: what it prints, logs and warns of goes to its log.

    The command line of the study is kept from it: Inductor looks there for an option ``--only`` of
    its own, copies the value into the code it makes, and fails to compile where that has quotes.

    Args:
        path: The log; written line by line, so that one who waits can read it.
        name: Of the run.
        tell: Warnings that stderr shows too, since the log of a run that succeeds is removed.
    """
    terminal, arguments = sys.stderr, sys.argv
    with open(path, "a", buffering=1) as file, output_to(file), warnings.catch_warnings():
        warnings.simplefilter("always", tell)
        show = warnings.showwarning

        def show_and_tell(message, category, *where, **options):
            show(message, category, *where, **options)
            if issubclass(category, tell):
                print(f"{name}: {message}", file=terminal, flush=True)

        warnings.showwarning = show_and_tell
        sys.argv = arguments[:1]
        try:
            yield
        finally:
            sys.argv = arguments

"""A pool of worker processes that survives the kill of one, and ends with its parent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

T = TypeVar("T")
Attempt = Callable[[T], str | None]


def run_in_processes(
    items: Mapping[str, T], attempt: Attempt[T], jobs: int
) -> Iterator[tuple[str, str | None]]:
    """Process items in several processes; yield results as they are ready.

    A process that is killed (for its memory, say) breaks its pool. The items that were running are
    then tried again one at a time, which identifies the one that kills its process.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    waiting = dict(items)
    suspects: list[str] = []
    while waiting:
        names, workers = (suspects, 1) if suspects else ([*waiting], jobs)
        running: dict[Future[str | None], str] = {}
        with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
            try:
                for name, error in _in_turn(pool, workers, names, waiting, attempt, running):
                    del waiting[name]
                    yield name, error
            except BrokenProcessPool:
                if workers > 1:
                    suspects = [*running.values()]
                    continue
                for name in [*running.values()]:
                    del waiting[name]
                    yield name, "its process was killed; is there enough memory?"
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        suspects = [name for name in suspects if name in waiting]


def _in_turn(
    pool: ProcessPoolExecutor,
    workers: int,
    names: Sequence[str],
    items: Mapping[str, T],
    attempt: Attempt[T],
    running: dict[Future[str | None], str],
) -> Iterator[tuple[str, str | None]]:
    """Submit as many items as there are workers: a stopped pool still works off its queue."""
    queue = list(names)
    while queue or running:
        while queue and len(running) < workers:
            running[pool.submit(attempt, items[queue[0]])] = queue[0]
            del queue[0]
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.result()  # raises BrokenProcessPool if the worker was killed
            yield running.pop(future), error


def _start_worker() -> None:
    """End a worker at Ctrl-C (during training GracefulStop handles it) and with its parent."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()

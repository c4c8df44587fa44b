"""Worker processes that go on when one of them is killed, and end when they should."""

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
    """Do something with each item in one of several processes; results come as they are ready.

    A process that is killed (for its memory, say) takes its pool with it. What was under way then
    is tried again, one at a time, so that what kills its process is known by its name.

    Args:
        items: By name.
        attempt: Done in a worker process; None, or why it failed.
        jobs: Processes.

    Yields:
        Name and result of each.
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
    """At a time as many as there are workers: what a pool has queued it does even when stopped."""
    queue = list(names)
    while queue or running:
        while queue and len(running) < workers:
            running[pool.submit(attempt, items[queue[0]])] = queue[0]
            del queue[0]
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.result()  # or the pool is broken, and this one was running
            yield running.pop(future), error


def _start_worker() -> None:
    """Let a worker end at Ctrl-C (in training GracefulStop sees to it), and with its parent."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()

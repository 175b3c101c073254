"""Processes that train: they end with this one, and do not execute its script again."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from workbench.runs.environment import cores


def pool(jobs: int) -> ProcessPoolExecutor:
    """Processes for `jobs` trainings at a time. Submit inside `script_left_alone()`: they start there."""
    context = multiprocessing.get_context("spawn")  # a forked child of a process that used threads can hang
    return ProcessPoolExecutor(jobs, context, _begin, (threads(jobs),))


def threads(jobs: int) -> int:
    """Threads of each of `jobs` trainings: their share of the cores, and no more than OMP_NUM_THREADS asks for."""
    share = max(1, cores() // jobs)
    wished = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list counts by levels of nesting
    return min(share, int(wished)) if wished.isdecimal() and int(wished) else share


@contextmanager
def script_left_alone() -> Iterator[None]:
    """Inside, processes that start do not execute this one's script, as they would by themselves: each would start all
    trainings again, and fail, unless the script guards against it (`if __name__ == "__main__":`)."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _begin(count: int) -> None:
    import torch

    torch.set_num_threads(count)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose sweep was killed must not go on training unseen; its run can be resumed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

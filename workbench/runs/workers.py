"""Processes that train: they know this one's own methods, end with it, and do not execute the user's script again."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.config import RunConfig
from workbench.methods import handover
from workbench.runs.environment import cores

GUARD = re.compile(r"""^\s*if\s+(__name__\s*==|["']__main__["'])""", re.MULTILINE)


def pool(jobs: int, configs: Iterable[RunConfig]) -> ProcessPoolExecutor:
    """Processes for `jobs` trainings of these at a time. Submit inside `script_left_alone()`: they start there."""
    context = multiprocessing.get_context("spawn")  # a forked child of a process that used threads can hang
    return ProcessPoolExecutor(jobs, context, _begin, (threads(jobs), handover.packed(configs)))


def threads(jobs: int) -> int:
    """Threads of each of `jobs` trainings: their share of the cores, and no more than OMP_NUM_THREADS asks for."""
    share = max(1, cores() // jobs)
    wished = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list counts by levels of nesting
    return min(share, int(wished)) if wished.isdecimal() and int(wished) else share


@contextmanager
def script_left_alone() -> Iterator[None]:
    """Inside, processes that start do not execute the script of this one, as Python lets them: without a guard
    (`if __name__ == "__main__":`) each would start all trainings again, and fail. A script that has one is executed as
    usual, for what else it may set up."""
    script = sys.modules["__main__"]
    if _has_guard(script):
        yield
        return
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _has_guard(script: Any) -> bool:
    path = Path(getattr(script, "__file__", None) or "")
    return path.is_file() and GUARD.search(path.read_text(encoding="utf-8", errors="replace")) is not None


def _begin(count: int, methods: bytes) -> None:
    import torch

    torch.set_num_threads(count)
    handover.unpack(methods)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose sweep was killed must not go on training unseen; its run can be resumed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

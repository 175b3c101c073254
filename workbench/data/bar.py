"""Progress bars of work on data: shown after a second, and never by the processes of a sweep, which share a screen."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

from tqdm.auto import tqdm

RARELY = 30.0
"""Seconds between two lines of a bar in a file."""


def pause(lively: float) -> float:
    """Seconds between two states of a long bar: `lively` on a terminal or a notebook's page, RARELY in a file."""
    return lively if sys.stderr.isatty() or in_notebook() else RARELY


def in_notebook() -> bool:
    """Whether what is written comes onto a notebook's page."""
    # Scripts import ipykernel too, by way of other packages: only a shell that has a kernel writes to a page.
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()  # which is not there yet while it is imported
    return hasattr(shell, "kernel")


def bar(items: Any = None, desc: str = "", total: int | None = None, unit: str = "it") -> tqdm:
    """`tqdm` over an iterable or, without one, moved by hand."""
    hidden = multiprocessing.parent_process() is not None
    return tqdm(items, desc, total, leave=False, delay=1, unit=unit, disable=hidden)

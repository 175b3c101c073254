"""Progress bars of work on data: shown after a second, and never by the processes of a sweep, which share a screen."""

from __future__ import annotations

import multiprocessing
from typing import Any

from tqdm.auto import tqdm


def bar(items: Any = None, desc: str = "", total: int | None = None, unit: str = "it") -> tqdm:
    """`tqdm` over an iterable or, without one, moved by hand."""
    hidden = multiprocessing.parent_process() is not None
    return tqdm(items, desc, total, leave=False, delay=1, unit=unit, disable=hidden)

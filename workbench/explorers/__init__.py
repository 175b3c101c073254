"""Explorers: notebook widgets to look at mixed samples, at trainings as they go, and at results.

    from workbench.explorers import MixedSamples
    MixedSamples()                       # as a cell's value

Each is a thin shell of ipywidgets around plain functions that work without it (`mixed.render(state) -> Figure`), has a
static twin (`png()`, shown where widgets can't run), frees what it holds on `close()`, and is replaced when its cell
runs again. To add one: subclass `Explorer`, and add a line to the table.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.explorers.base import Explorer as Explorer
    from workbench.explorers.live import LiveTraining as LiveTraining
    from workbench.explorers.mixed_widget import MixedSamples as MixedSamples
    from workbench.explorers.results import Results as Results

_HOME = {"Explorer": "base", "MixedSamples": "mixed_widget", "LiveTraining": "live", "Results": "results"}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import an explorer on first use, and with it ipywidgets."""
    if name not in _HOME:
        raise AttributeError(f"module 'workbench.explorers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"workbench.explorers.{_HOME[name]}"), name)

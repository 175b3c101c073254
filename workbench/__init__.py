"""A research workbench for mixup augmentation of images.

The layers, in the order in which they may import each other (a module imports only from modules to its left):

    config     settings, parameter bounds, mistakes told in one line
    style      palette, venue sizes, fonts
    draw       random numbers as a function of (seed, epoch, step)
    data       the table of data sets; batches on the device
    models     Net: a timm classifier with named depths
    saliency   maps of what matters in an image
    methods    METHODS, one file a mixup method
    train      step, epoch, fit: knows no method by name
    runs       the run folder: run, resume, launch, load
    sweep      methods x seeds -> runs
    analysis   ANALYSES, one file a question about what training made
    published  the benchmark's published numbers, and own runs beside them
    figures    figures and tables for papers, from run folders alone
    bench      how fast it is, as ratios in one run
    pages      notebooks executed into HTML, one or a whole site
    tour       the main job, end to end
    gallery    all methods on the same four photographs
    explorers  widgets: mixed samples, live training, results
    commands   the commands of `workbench`, a few calls each

The names that people import most live here: `from workbench import load, Net, METHODS, build, run, analyse`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

LAYERS = (
    "config",
    "style",
    "draw",
    "data",
    "models",
    "saliency",
    "methods",
    "train",
    "runs",
    "sweep",
    "analysis",
    "published",
    "figures",
    "bench",
    "pages",
    "tour",
    "gallery",
    "explorers",
    "commands",
    "__main__",
)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workbench.analysis import analyse as analyse
    from workbench.config import RunConfig as RunConfig
    from workbench.config import UsageError as UsageError
    from workbench.data import load as load
    from workbench.draw import Draw as Draw
    from workbench.methods import METHODS as METHODS
    from workbench.methods import build as build
    from workbench.models import Net as Net
    from workbench.runs import Run as Run
    from workbench.runs import launch as launch
    from workbench.runs import run as run

_HOME = {
    "RunConfig": "config",
    "UsageError": "config",
    "Draw": "draw",
    "load": "data",
    "Net": "models",
    "METHODS": "methods",
    "build": "methods",
    "Run": "runs",
    "run": "runs",
    "launch": "runs",
    "analyse": "analysis",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import the popular names on first use, so that `workbench --help` need not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"workbench.{_HOME[name]}"), name)

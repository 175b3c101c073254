"""Training: step, epoch, fit. Knows no method by name and never touches the disk."""

from __future__ import annotations

from workbench.train.fit import Diverged, Training, deterministic, fit
from workbench.train.setup import assemble, check, check_processes

__all__ = ["Diverged", "Training", "assemble", "check", "check_processes", "deterministic", "fit"]

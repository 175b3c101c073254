"""What all analyses here share: counting right answers, and a loop that says how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from workbench.analysis.inputs import Examples, chunk_of, device_of, progress, timed
from workbench.config import UsageError, shown
from workbench.models import Net

S = TypeVar("S")


def hits(net: Net, images: Tensor, labels: Tensor) -> int:
    """How many of the images are given their class. The net should be in `probing`."""
    with torch.no_grad():
        return int((net(images).argmax(1) == labels).sum())


def clean_hits(net: Net, data: Examples) -> int:
    """How many images the net knows as they are."""
    with net.probing():
        return sum(hits(net, x, y) for x, y in data.batches(chunk_of(net, data), device_of(net)))


def paced(steps: Sequence[S], work: Callable[[S], None], what: str) -> None:
    """`work` on every step, with a bar; what the first one took says how long the rest will."""
    if not steps:
        return
    seconds = timed(lambda: work(steps[0])) * len(steps)
    with progress(len(steps), what, seconds) as bar:
        bar.update()
        for step in steps[1:]:
            work(step)
            bar.update()


def check_numbers(what: str, values: object, low: float, high: float) -> tuple[float, ...]:
    """The values as floats. UsageError unless there is at least one and all lie from `low` to `high`."""
    given = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    fits = [isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high for v in given]
    if not given or not all(fits):
        raise UsageError(f"{what} must be a list of numbers from {low:g} to {high:g}, got {shown(values)}")
    return tuple(float(v) for v in given)


def check_whole(what: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{what} must be a whole number from {low} to {high}, got {shown(value)}")

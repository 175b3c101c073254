"""What all analyses here share: counting right answers, and checks of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.analysis.chunks import Chunk, chunk_of
from workbench.analysis.inputs import Examples, device_of
from workbench.analysis.options import plain
from workbench.config import UsageError, is_number, shown
from workbench.models import Net


def hits(net: Net, images: Tensor, labels: Tensor, chunk: Chunk) -> int:
    """How many of the images are given their class, a chunk of them at a time. The net should be in `probing`."""

    def right(start: int, number: int) -> int:
        rows = slice(start, start + number)
        return int((net(images[rows]).argmax(1) == labels[rows]).sum())

    with torch.no_grad():
        return sum(chunk.over(len(labels), right))


def clean_hits(net: Net, data: Examples) -> int:
    """How many images the net knows as they are."""
    chunk = chunk_of(net, data)

    def right(start: int, number: int) -> int:
        images, labels = data.batch(start, number, device_of(net))
        return int((net(images).argmax(1) == labels).sum())

    with net.probing(), torch.no_grad():
        return sum(chunk.over(len(data), right))


def check_numbers(what: str, values: object, low: float, high: float) -> tuple[float, ...]:
    """The values as floats. UsageError unless there is at least one and all lie from `low` to `high`."""
    values = plain(values)
    given = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    fits = [is_number(v) and low <= v <= high for v in given]
    if not given or not all(fits):
        raise UsageError(f"{what} must be a list of numbers from {low:g} to {high:g}, got {shown(values)}")
    return tuple(float(v) for v in given)

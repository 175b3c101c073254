"""A net moved along straight lines through its weights, and its loss at the points of a grid of them.

The net's own weights are never written to: while it is moved, its parameters hold other memory, and get their own back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from workbench.analysis.chunks import Chunk, block_of, chunk_of
from workbench.analysis.inputs import Examples, device_of
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.models import Net

CHUNK = 512
"""Images evaluated at a time, at most."""

MOST_POINTS = 1001
"""Along an axis of a slice: a plane of more would fill the memory, and take weeks."""

Direction: TypeAlias = dict[str, Tensor]
"""Name of a parameter -> its part of the direction, on the net's device; parameters that are missing stand still."""
Move: TypeAlias = Callable[[float, float], None]
"""Takes the net to a point of the slice; the second number is 0 on a line."""


def random_direction(net: Net, seed: int, number: int = 0) -> Direction:
    """Gaussian numbers, each filter's as long as the net's own filter (Li et al., arXiv:1712.09913, section 4).

    A filter is a row of a parameter's first dimension: an output channel of a convolution, a row of a matrix.
    Parameters of fewer than two dimensions (biases, the scales and shifts of norms) stand still. Nets of one
    architecture get the same numbers, before they are scaled, for the same seed.
    """
    rng = Draw(seed, step=number, stream="landscape").rng
    found = {}
    for name, weight in net.named_parameters():
        if weight.dim() < 2:
            continue
        drawn = torch.from_numpy(rng.standard_normal(tuple(weight.shape), dtype=np.float32))
        drawn = drawn.to(weight.device, weight.dtype)
        length = weight.detach().flatten(1).norm(dim=1) / drawn.flatten(1).norm(dim=1)
        found[name] = drawn * length.view(-1, *[1] * (weight.dim() - 1))
    return found


@contextmanager
def moved_along(net: Net, directions: Sequence[Direction]) -> Iterator[Move]:
    """Inside, `move(a, b)` gives the net its weights plus a times the first direction plus b times the second."""
    parameters = dict(net.named_parameters())
    names = [name for name in parameters if any(name in direction for direction in directions)]
    paths = [[d[n] if n in d else torch.zeros_like(parameters[n]) for n in names] for d in directions]
    with _elsewhere(net, [parameters[n] for n in names]) as (own, places):

        def move(*point: float) -> None:
            torch._foreach_copy_(places, own)
            for step, path in zip(point, paths, strict=False):
                torch._foreach_add_(places, path, alpha=step)

        yield move


@contextmanager
def moved_between(net: Net, other: Net) -> Iterator[Move]:
    """Inside, `move(a, 0)` gives the net (1 - a) of its own weights and a of the other's; at 0 and 1 exactly one's.
    Buffers that are floating point (the statistics of batch norm) go the same way."""
    start, finish = dict(net.named_parameters()), dict(other.named_parameters())
    shapes = [{name: tuple(p.shape) for name, p in side.items()} for side in (start, finish)]
    if shapes[0] != shapes[1]:
        raise UsageError(f"nets of one architecture have a line between them, got {net.name} and {other.name}")
    with _elsewhere(net, list(start.values())) as (own, places):
        buffers, wanted = dict(net.named_buffers()), dict(other.named_buffers())  # in here the net's are copies
        floating = [name for name, buffer in buffers.items() if buffer.is_floating_point()]
        beginning = [*own, *[buffers[name].clone() for name in floating]]
        places = [*places, *[buffers[name] for name in floating]]
        end = [p.detach().to(device_of(net)) for p in [*finish.values(), *[wanted[name] for name in floating]]]

        def move(a: float, _b: float) -> None:
            torch._foreach_copy_(places, beginning)
            torch._foreach_lerp_(places, end, a)

        yield move


@contextmanager
def _elsewhere(net: Net, parameters: Sequence[nn.Parameter]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Inside, the parameters live in other memory, in evaluation mode and without gradients: (their own tensors, not
    to be written to; the tensors that they have now)."""
    own = [p.data for p in parameters]
    places = [torch.empty_like(values) for values in own]
    with net.probing(), torch.no_grad():
        try:
            for parameter, place in zip(parameters, places, strict=True):
                parameter.data = place
            yield own, places
        finally:
            for parameter, values in zip(parameters, own, strict=True):
                parameter.data = values


def on_device(data: Examples, net: Net) -> Examples:
    """The examples where the net is, so that they travel once and not at every point."""
    return Examples(data.images.to(device_of(net)), data.labels.to(device_of(net)))


def loss_and_accuracy(net: Net, data: Examples, chunk: Chunk | None = None) -> tuple[float, float]:
    """Mean cross-entropy in nats, summed in float64, and share of right answers, in the mode that the net is in.

    `chunk` is for whoever asks often: without one, what fits in memory is found out anew.
    """

    def sums(start: int, number: int) -> Tensor:
        images, labels = data.batch(start, number, device_of(net))
        logits = net(images)
        right = (logits.argmax(1) == labels).sum()
        return torch.stack([F.cross_entropy(logits.double(), labels, reduction="sum"), right.double()])

    chunk = chunk or chunk_of(net, data, most=CHUNK)
    with torch.no_grad():
        total = torch.stack(chunk.over(len(data), sums)).sum(0)
    loss, accuracy = (total / len(data)).tolist()
    return loss, accuracy


def recompute_statistics(net: Net, data: Examples) -> None:
    """Set the running statistics of batch norm to the means over the examples, in batches of about one size, which
    follows from the images alone and not from the memory that is free.

    For a net in evaluation mode whose buffers may be written to; the momentum is put back. UsageError for a single
    value a channel, which has no variance.
    """
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean over the batches
            norm.train()
        for rows in torch.arange(len(data)).tensor_split(-(-len(data) // block_of(data, most=CHUNK))):
            net(data.batch(int(rows[0]), len(rows), device_of(net))[0])
    except ValueError as error:  # of PyTorch: "Expected more than 1 value per channel when training"
        raise UsageError(f"batch norm can't be recomputed on {len(data)} images; take more ({error})") from error
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def coarse_to_fine(rows: int, columns: int) -> list[tuple[int, int]]:
    """All points of a grid, its corners and middle first, then by halves, so that a slice that was cut short shows the
    whole of it coarsely."""
    across, down = _depths(rows), _depths(columns)
    points = [(i, j) for i in range(rows) for j in range(columns)]
    return sorted(points, key=lambda point: max(across[point[0]], down[point[1]]))


def _depths(number: int) -> list[int]:
    """How often a range must be halved until each of its points is met; the ends are met at once."""
    depths = [0] * number
    ranges, depth = [(0, number - 1)], 0
    while ranges:
        depth += 1
        halves = [(low, (low + high) // 2, high) for low, high in ranges if high - low > 1]
        for _, middle, _ in halves:
            depths[middle] = depth
        ranges = [part for low, middle, high in halves for part in ((low, middle), (middle, high))]
    return depths

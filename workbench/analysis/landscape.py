"""How does the loss change around a net's weights, and between two nets? Slices of the loss landscape.

Conventions: the loss is the MEAN cross-entropy, in nats, over a fixed subset of the images in evaluation mode.
- `way="line"`: weights + a * d for every net, d a random direction whose filters are as long as the net's own; biases
  and the scales and shifts of norms stand still; every net gets the same random numbers, so that nets compare.
- `way="plane"`: weights + a * d + b * e of one net, with two such directions.
- `way="interpolation"`: (1 - a) * one net + a * the other, all weights, a from 0 to 1.
At a = b = 0 the loss is the net's own, exactly. Batch norm is a setting: "running" takes the net's statistics
(interpolated between two nets), "recomputed" estimates them anew on the subset at every point, which costs a second
pass and, at 0, gives the loss with the new statistics.

Sources: filter normalisation, Li et al., arXiv:1712.09913; the line between two nets, Goodfellow et al.,
arXiv:1412.6544, and its barrier, Entezari et al., arXiv:2110.06296; recomputed statistics, Izmailov et al.,
arXiv:1803.05407.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.analysis import contours
from workbench.analysis.base import Result
from workbench.analysis.chunks import Chunk, chunk_of
from workbench.analysis.inputs import Data, Examples, examples
from workbench.analysis.kept import Kept, owner_of
from workbench.analysis.pace import progress
from workbench.analysis.run_names import run_name, short_names
from workbench.analysis.side_by_side import Nets, by_name, check_all_fit
from workbench.analysis.slices import (
    CHUNK,
    MOST_POINTS,
    Move,
    coarse_to_fine,
    loss_and_accuracy,
    moved_along,
    moved_between,
    on_device,
    random_direction,
    recompute_statistics,
)
from workbench.config import UsageError, choose, is_number, is_whole, shown
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STEEP = 20
"""Highest loss over lowest from which the axis is logarithmic."""


# R lines, P points along a, Q points along b (1 where there is no b)
@dataclass(frozen=True)
class Landscape(Result):
    """Loss and accuracy on a grid of points."""

    name: str
    way: str
    """"line", "plane" or "interpolation"."""
    nets: tuple[str, ...]
    """Names of the nets: R, or the two ends of an interpolation."""
    a: np.ndarray
    """(P,) steps along the first direction, or the share of the second net."""
    b: np.ndarray
    """(Q,) steps along the second direction."""
    loss: np.ndarray
    """(R, P, Q) in nats; nan or infinite where the net has no finite logits, but never on the whole border."""
    accuracy: np.ndarray
    """(R, P, Q) share of right answers."""
    batch_norm: str
    images: int

    @property
    def rows(self) -> tuple[str, ...]:
        """(R,) what each line is of."""
        return (f"{self.nets[0]} to {self.nets[1]}",) if self.way == "interpolation" else self.nets

    @property
    def centre(self) -> tuple[int, int]:
        """Where the net itself is: the place of a = b = 0."""
        return int(np.abs(self.a).argmin()), int(np.abs(self.b).argmin())

    @property
    def border(self) -> np.ndarray:
        """(P, Q) bool: the ends of a line, the sides of a plane."""
        edge = np.ones(self.loss.shape[1:], bool)
        edge[1:-1, slice(1, -1) if len(self.b) > 1 else slice(None)] = False
        return edge

    @property
    def barrier(self) -> np.ndarray:
        """(R,) how far the loss rises, at most, above the straight line between the losses at the two ends of b = 0;
        for two nets, the barrier between them; nan on a plane."""
        if self.way == "plane":
            return np.full(len(self.loss), np.nan)
        loss = self.loss[:, :, 0]
        share = (self.a - self.a[0]) / (self.a[-1] - self.a[0])
        return (loss - loss[:, :1] * (1 - share) - loss[:, -1:] * share).max(1)

    def to_frame(self) -> pd.DataFrame:
        """One row a point: name (of the net), a, b, loss, accuracy."""
        import pandas as pd

        rows, first, second = np.meshgrid(np.arange(len(self.rows)), self.a, self.b, indexing="ij")
        table = {"a": first, "b": second, "loss": self.loss, "accuracy": self.accuracy}
        frame = pd.DataFrame({key: values.ravel() for key, values in table.items()})
        frame.insert(0, "name", np.array(self.rows)[rows.ravel()])
        return frame

    def summary(self) -> pd.DataFrame:
        """A row a net: loss and accuracy at a = b = 0, the mean rise of the loss to the border of the slice (infinite
        where a loss there is not finite), and for two nets the barrier between them."""
        import pandas as pd

        i, j = self.centre
        outside = self.loss[:, self.border]
        table = {
            "name": self.rows,
            "loss": self.loss[:, i, j],
            "accuracy": self.accuracy[:, i, j],
            "rise": np.where(np.isfinite(outside), outside, np.inf).mean(1) - self.loss[:, i, j],
            "images": self.images,
        }
        return pd.DataFrame(table | ({"barrier": self.barrier} if self.way == "interpolation" else {}))

    @property
    def height(self) -> float:
        return 0.85 if self.way == "plane" else 0.62

    def draw(self, ax: Axes) -> None:
        """Lines over a, or the contours of the plane with the net as a mark."""
        drawn = {"line": self._lines, "interpolation": self._between, "plane": self._plane}
        drawn[self.way](ax)

    def figures(self) -> Mapping[str, Callable[[], Any]]:
        """A plane's surface."""
        return {"surface": self.surface} if self.way == "plane" else {}

    def surface(self) -> Any:
        """The plane as a surface over it, in a figure of its own; returns its three-dimensional axes. UsageError for
        a line."""
        if self.way != "plane":
            raise UsageError(f"a surface is drawn of a plane, got a {self.way}; take way='plane'")
        with style.paper() as width:
            ax = style.new_figure(width, 0.85 * width, layout="none").add_axes((0, 0.06, 0.94, 0.86), projection="3d")
            contours.surface(ax, self.a, self.b, self.loss[0])
            ax.set(xlabel="first direction", ylabel="second direction", title=run_name(self.rows[0]))
        return ax

    def _lines(self, ax: Axes) -> None:
        for label, looks, loss in zip(*line_looks(self.nets), self.loss[:, :, 0], strict=True):
            ax.plot(self.a, loss, label=label, **looks)
        ax.set(xlabel="step along a random direction", xlim=(self.a[0], self.a[-1]))
        self._loss_axis(ax)
        if len(self.nets) == 1:
            ax.set_title(run_name(self.nets[0]))
        else:
            ax.legend(fontsize=max(style.SMALLEST, 5 / 6 * style.points()))

    def _between(self, ax: Axes) -> None:
        """The line between two nets over the straight line that a barrier is measured from."""
        loss = self.loss[0, :, 0]
        ax.plot(self.a[[0, -1]], loss[[0, -1]], color=style.FAINT, linestyle=(0, (4, 2)), linewidth=0.8)
        ax.plot(self.a, loss, color=style.INK, zorder=2)
        labels, looks = line_looks(self.nets)
        for place, one in zip((0, -1), looks, strict=True):
            ax.plot(self.a[place], loss[place], marker="o", color=one["color"], linestyle="", clip_on=False, zorder=3)
        ax.set(xlabel=f"from {labels[0]} (0) to {labels[1]} (1)", xlim=(0, 1))
        self._loss_axis(ax)

    def _plane(self, ax: Axes) -> None:
        contours.contours(ax, self.a, self.b, self.loss[0])
        ax.plot(0, 0, marker="+", color="white", markersize=7, linestyle="")
        ax.set(xlabel="first direction", ylabel="second direction", title=run_name(self.rows[0]))

    def _loss_axis(self, ax: Axes) -> None:
        seen = self.loss[np.isfinite(self.loss)]
        if seen.size and seen.min() > 0 and seen.max() > STEEP * seen.min():
            ax.set_yscale("log")
        ax.set_ylabel("loss")


def line_looks(nets: Sequence[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """A label and a look for each net: the method's own where a name tells it, else the colours in turn; nets of one
    colour differ in their lines."""
    from matplotlib import colormaps

    methods = [next((part for part in name.split("-") if part in style.PALETTE), "") for name in nets]
    turn = colormaps["tab10"].colors  # type: ignore[attr-defined]
    colors = [style.PALETTE.get(method, turn[i % 10]) for i, method in enumerate(methods)]
    before = [colors[:i].count(color) for i, color in enumerate(colors)]
    lines = ("-", (0, (4, 1.5)), (0, (1.2, 1)), (0, (5, 1.2, 1.2, 1.2)))
    looks = [{"color": c, "linestyle": lines[k % len(lines)]} for c, k in zip(colors, before, strict=True)]
    return short_names(nets), looks


# --------------------------------------------------------------------------------------------------------- computing


def landscape(
    nets: Nets | Net,
    data: Data,
    *,
    way: str = "line",
    images: int = 256,
    seed: int = 0,
    points: int = 21,
    span: float = 1.0,
    batch_norm: str = "running",
    keep: str = "",
    name: str = "",
) -> Landscape:
    """Loss of `images` test images (the same for a seed) along slices through the nets' weights.

    nets: (name, net), or one net alone; any number for "line", two for "interpolation", one for "plane". points: on a
    line, or on each side of a plane; odd, so that one is the net itself, unless for "interpolation". span: how far a
    line or a plane goes to each side; 1 is as long as the filters are. batch_norm: "running" or "recomputed". keep:
    path of a file that holds what is done; the same call goes on from it after it was killed. Coarse before fine.

    A point costs one evaluation of the images, two where statistics are recomputed. UsageError for options out of
    range, for nets that do not fit the data or one another, and where a span is so wide that no loss at the border is
    finite.
    """
    nets = by_name(nets)
    a, b = _axes(choose(WAYS, way, "way of a landscape"), len(nets), points, span)
    choose(STATISTICS, batch_norm, "batch_norm")
    data = examples(data, images, seed)
    check_all_fit(nets, data)
    slices = [_slice(way, row, seed) for row in ([nets] if way == "interpolation" else [[net] for net in nets])]
    shape = (len(slices), len(a), len(b))
    options = {"way": way, "seed": seed, "points": points, "span": span, "batch_norm": batch_norm}
    owner = owner_of([net for _, net in nets], data, options) if keep else ""
    arrays = {key: np.full(shape, np.nan) for key in ("loss", "accuracy")}
    with Kept(keep, owner, arrays, shape) as kept:
        _fill(kept, slices, data, a, b, batch_norm)
    names = tuple(n for n, _ in nets)
    found = Landscape(name, way, names, a, b, **kept.arrays, batch_norm=batch_norm, images=len(data))
    _check_border(found, span)
    return found


def _check_border(found: Landscape, span: float) -> None:
    """UsageError where a slice shows nothing but that it goes too far."""
    for row, loss in zip(found.rows, found.loss[:, found.border], strict=True):
        if not np.isfinite(loss).any():
            where = f"all along the border of its {found.way}"
            raise UsageError(f"the loss of {row} is infinite {where}; take a smaller span than {span:g}")


Slice = tuple[Net, Callable[[], AbstractContextManager[Move]]]
"""A net, and what makes it move."""


@dataclass(frozen=True)
class Way:
    """What a way of slicing asks for."""

    fewest: int
    most: float
    asked: str
    planar: bool = False


WAYS: Mapping[str, Way] = {
    "line": Way(1, np.inf, "at least one net"),
    "plane": Way(1, 1, "one net", planar=True),
    "interpolation": Way(2, 2, "two nets"),
}
Statistics = Callable[[Net, Examples], None]
STATISTICS: Mapping[str, Statistics] = {
    "running": lambda net, data: None,
    "recomputed": recompute_statistics,
}
"""What is done to batch norm at every point."""


def _axes(way: Way, nets: int, points: int, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Points along a and along b; UsageError for options that make none."""
    if not way.fewest <= nets <= way.most:
        raise UsageError(f"this way of a landscape takes {way.asked}, got {nets}; name other runs or another way")
    if not is_whole(points) or not 3 <= points <= MOST_POINTS or (way.fewest == 1 and points % 2 == 0):
        odd = "" if way.fewest > 1 else "odd and "
        raise UsageError(f"points must be {odd}from 3 to {MOST_POINTS}, got {shown(points)}")
    points = int(points)  # NumPy's small ones overflow
    if not is_number(span) or not 0 < span < np.inf:
        raise UsageError(f"span must be above 0, got {shown(span)}")
    half = points // 2
    steps = np.arange(-half, half + 1) / half * span  # 0 is exactly 0
    if way.fewest == 2:
        return np.arange(points) / (points - 1), np.zeros(1)
    return steps, steps if way.planar else np.zeros(1)


def _slice(way: str, nets: Nets, seed: int) -> Slice:
    net = nets[0][1]
    if way == "interpolation":
        return net, lambda: moved_between(net, nets[1][1])
    return net, lambda: moved_along(net, [random_direction(net, seed, k) for k in range(2 if way == "plane" else 1)])


def _fill(kept: Kept, slices: Sequence[Slice], data: Examples, a: np.ndarray, b: np.ndarray, batch_norm: str) -> None:
    """Evaluate every point that is not done yet."""
    with progress(int((~kept.done).sum()), "landscape", unit="point") as bar:
        for row, (net, slicing) in enumerate(slices):
            points = [point for point in coarse_to_fine(len(a), len(b)) if not kept.done[(row, *point)]]
            if not points:
                continue
            here, statistics = on_device(data, net), STATISTICS[batch_norm]
            measured = partial(_measured, net, here, statistics, chunk_of(net, here, most=CHUNK))
            with slicing() as move:
                for i, j in points:
                    move(float(a[i]), float(b[j]))
                    loss, accuracy = measured()
                    kept.put((row, i, j), loss=loss, accuracy=accuracy)
                    bar.update()


def _measured(net: Net, data: Examples, statistics: Statistics, chunk: Chunk) -> tuple[float, float]:
    """Loss and accuracy of the net where it is."""
    statistics(net, data)
    return loss_and_accuracy(net, data, chunk)

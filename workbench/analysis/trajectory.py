"""The way that training took through the weights, seen on the plane that shows most of it.

From state dicts, one an epoch or so, the last one being the end of training; a run keeps them if its `keep_weights`
says so. The plane goes through the last state; its directions are the principal directions of the differences to
it, all learned weights counting, unscaled. Source: Li et al., arXiv:1712.09913, section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench import style
from workbench.analysis import contours
from workbench.analysis.base import Result
from workbench.analysis.chunks import chunk_of
from workbench.analysis.inputs import Data, Examples, check_fit, device_of, examples
from workbench.analysis.pace import paced
from workbench.analysis.run_names import run_name
from workbench.analysis.slices import (
    CHUNK,
    MOST_POINTS,
    Direction,
    coarse_to_fine,
    loss_and_accuracy,
    moved_along,
    on_device,
)
from workbench.config import UsageError, whole
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MARGIN = 0.25
"""Of the plane around the path, in lengths of the path's longer side."""
AT_ONCE = 2**22
"""Numbers of all states that are brought to float64 at a time: 32 MiB."""

States = Mapping[int, Mapping[str, Tensor]]
"""Epoch -> state dict, by rising epoch."""


# T states, P and Q points of the plane
@dataclass(frozen=True)
class Trajectory(Result):
    """The path on its plane, and the loss there if it was asked for."""

    name: str
    epochs: np.ndarray
    """(T,) after how many each state was taken; 0 is before training."""
    path: np.ndarray
    """(T, 2) along the first and second direction, as lengths in the space of the weights; the last is (0, 0)."""
    shares: np.ndarray
    """(2,) of the squared distances to the last state that each direction shows."""
    a: np.ndarray
    """(P,) of the plane, empty without a net."""
    b: np.ndarray
    """(Q,)"""
    loss: np.ndarray
    """(P, Q) mean cross-entropy in nats."""
    images: int
    """The loss is their mean; 0 without a net."""

    def to_frame(self) -> pd.DataFrame:
        """One row a state (quantity "path") and a point of the plane ("loss", epoch -1): name, quantity, epoch, a, b,
        loss."""
        import pandas as pd

        path = pd.DataFrame({"quantity": "path", "epoch": self.epochs, "loss": np.nan})
        first, second = np.meshgrid(self.a, self.b, indexing="ij")
        plane = pd.DataFrame({"quantity": "loss", "epoch": -1, "loss": self.loss.ravel()}, index=range(self.loss.size))
        path[["a", "b"]], plane[["a", "b"]] = self.path, np.stack([first.ravel(), second.ravel()], 1)
        frame = pd.concat([path, plane] if len(plane) else [path], ignore_index=True)
        frame.insert(0, "name", self.name)
        return frame[["name", "quantity", "epoch", "a", "b", "loss"]]

    def summary(self) -> pd.DataFrame:
        """One row: epochs seen, length of the way along the plane, how far apart its ends are, the lowest loss on the
        plane, and what both directions show."""
        import pandas as pd

        steps = np.linalg.norm(np.diff(self.path, axis=0), axis=1)
        numbers = {
            "states": len(self.epochs),
            "length": steps.sum(),
            "distance": np.linalg.norm(self.path[0] - self.path[-1]),
            "first_share": self.shares[0],
            "second_share": self.shares[1],
            "lowest_loss": self.loss.min() if self.loss.size else np.nan,
            "images": self.images,
        }
        return pd.DataFrame([{"name": self.name, **numbers}])

    @property
    def height(self) -> float:
        """As high as the plane is, beside its bar."""
        if not self.loss.size:
            return 0.62
        return 0.2 + 0.65 * min(float(np.ptp(self.b) / np.ptp(self.a)), 1.3)

    def draw(self, ax: Axes) -> None:
        """The path from its open to its closed mark, over the contours of the loss where there are some."""
        color = style.INK
        if self.loss.size:
            contours.contours(ax, self.a, self.b, self.loss)
            color = "white"
        ax.plot(*self.path.T, color=color, marker="o", markersize=2)
        ax.plot(*self.path[0], color=color, marker="o", markersize=5, markerfacecolor="none", linestyle="")
        ax.plot(*self.path[-1], color=color, marker="o", markersize=5, linestyle="")
        for epoch, place in ((self.epochs[0], self.path[0]), (self.epochs[-1], self.path[-1])):
            ax.annotate(
                f"epoch {epoch}", place, xytext=(0, 5), textcoords="offset points", ha="center", color=color,
                fontsize=style.SMALLEST,
            )  # fmt: skip
        names = [f"{which} direction ({share:.0%})" for which, share in zip(("first", "second"), self.shares)]  # noqa: B905
        ax.set(xlabel=names[0], ylabel=names[1], title=run_name(self.name), aspect="equal")


def trajectory(
    states: States,
    net: Net | None,
    data: Data | None,
    *,
    images: int = 256,
    seed: int = 0,
    points: int = 15,
    name: str = "",
) -> Trajectory:
    """The path of three or more state dicts of one net.

    With the net that the last of them is of, and data: the loss of `images` images over points x points of the plane,
    with the net's own batch norm statistics. UsageError for states that don't belong together.
    """
    points = whole("points", points, 3, MOST_POINTS)
    here = None
    if net is not None and data is not None:
        here = examples(data, images, seed)
        check_fit(net, here)
    epochs = np.array(list(states), np.int64)
    _check_states(states)
    path, shares, directions = principal(_Apart(states))
    if net is None or here is None:
        nothing = np.zeros(0)
        return Trajectory(name, epochs, path, shares, nothing, nothing, np.zeros((0, 0)), 0)
    a, b = _grid(path, points)
    parts = [_named(direction, states[epochs[-1]], net) for direction in directions]
    loss = _loss_on(a, b, net, on_device(here, net), parts)
    return Trajectory(name, epochs, path, shares, a, b, loss, len(here))


def _loss_on(a: np.ndarray, b: np.ndarray, net: Net, data: Examples, directions: Sequence[Direction]) -> np.ndarray:
    """(P, Q) loss of the net moved by all steps a and b along both directions."""
    loss, chunk = np.full((len(a), len(b)), np.nan), chunk_of(net, data, most=CHUNK)
    with moved_along(net, directions) as move:

        def evaluate(place: tuple[int, int]) -> None:
            move(float(a[place[0]]), float(b[place[1]]))
            loss[place] = loss_and_accuracy(net, data, chunk)[0]

        paced(list(coarse_to_fine(len(a), len(b))), evaluate, "trajectory", "point")
    return loss


def principal(apart: Iterable[Tensor]) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Path (T, 2), shares (2,) and directions (2, n) of length 1, or 0 where nothing is left, of n weights.

    `apart`: the differences of T states to the last of them, (T, m) float64 for some of the weights after the other,
    iterated twice. The first state lies on the positive side of both directions.
    """
    products = torch.stack([part @ part.T for part in apart]).sum(0)  # T x T: n may be millions
    squares, vectors = torch.linalg.eigh(products)
    squares, vectors = squares.flip(0)[:2].clamp(min=0), vectors.flip(1)[:, :2]
    directions = torch.cat([vectors.T @ part for part in apart], 1)
    total, lengths = float(products.trace()), directions.norm(dim=1, keepdim=True)
    scale = torch.where(lengths > 1e-9 * total**0.5, 1 / lengths, 0)
    path = products @ vectors * scale.T
    signs = torch.where(path[0] < 0, -1.0, 1.0).to(path.dtype)
    return (path * signs).numpy(), (squares / (total or 1.0)).numpy(), directions.mul_(scale * signs[:, None])


def _learned(state: Mapping[str, Tensor]) -> list[str]:
    """Names of what is learned: no statistics of batch norm or of the images."""
    statistics = ("running_mean", "running_var", "mean", "std")
    return [n for n, t in state.items() if t.is_floating_point() and n.rpartition(".")[2] not in statistics]


@dataclass(frozen=True)
class _Apart:
    """Differences of states to the last of them, (T, m) float64, for a part of the weights after the other: with all
    states in memory, as much again in float64 would be too much."""

    states: States

    def __iter__(self) -> Iterator[Tensor]:
        *_, last = self.states.values()
        for name in _learned(last):
            flat = [state[name].detach().reshape(-1) for state in self.states.values()]
            for parts in zip(*(row.split(max(1, AT_ONCE // len(flat))) for row in flat), strict=True):
                rows = torch.stack([part.cpu().double() for part in parts])
                yield rows.sub_(rows[-1].clone())


def _check_states(states: States) -> None:
    """UsageError for too few states, and for such that are not of one net."""
    if len(states) < 3:
        raise UsageError(f"a trajectory needs the states of at least three epochs, got {len(states)}")
    *_, last = states.values()
    shapes = {name: last[name].shape for name in _learned(last)}
    for epoch, state in states.items():
        if {name: state[name].shape for name in _learned(state)} != shapes:
            raise UsageError(f"epoch {epoch} has other weights than the last; take the states of one training")


def _named(direction: Tensor, state: Mapping[str, Tensor], net: Net) -> Direction:
    """A direction (n,) in parts for the net, whose weights must be those of the state."""
    own, names = dict(net.named_parameters()), _learned(state)
    if set(own) != set(names) or any(not torch.equal(own[n].detach().cpu(), state[n].detach().cpu()) for n in names):
        raise UsageError("the net must hold the last state; load that into it first, with net.load_state_dict")
    parts = direction.split([state[name].numel() for name in names])
    where = {"device": device_of(net)}
    return {n: p.view(own[n].shape).to(dtype=own[n].dtype, **where) for n, p in zip(names, parts, strict=True)}


def _grid(path: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps along both directions that hold the path and a margin around it."""
    room = MARGIN * max(float(np.ptp(path, axis=0).max()), 1e-12)
    low, high = path.min(0) - room, path.max(0) + room
    return np.linspace(low[0], high[0], points), np.linspace(low[1], high[1], points)

"""Does the label tell what can be seen? A source's weight in the label against the share of its object in the mix.

Conventions: of every source k of a mixed row, visible_k is the share with which the source's object pixels went into
the mix, in pixels of its whole object: 1 is the whole object at full strength and full size, 0.25 a quarter of its
pixels, or all of them at a quarter of their strength, or the whole object at half its side. A method whose labels are
exact on average has a bias of 0: that is what `weight - visible` is held against, never against the area of a box.

How the pixels are followed, through blends, crops, resizing and transport alike: see `visibility`.

Not covered: mixes of features, which have no pixels (ManifoldMix, AlignMix): they are shown mixed at the input, as
their `picture` is; and rows that are mixed with themselves, which are left out.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import block_of
from workbench.analysis.inputs import Data, Examples, check_fit, device_of, examples
from workbench.analysis.pace import progress
from workbench.analysis.run_names import run_name
from workbench.analysis.visibility import seen
from workbench.config import UsageError, check_fields, whole
from workbench.draw import Draw
from workbench.methods import METHODS, Method, build
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BATCH = 64
"""Images that are mixed among themselves, at most."""


# M pairs of a mixed row and one of its sources
@dataclass(frozen=True)
class Fidelity(Result):
    """Label weight and visible share of every source of every mixed row."""

    name: str
    method: str
    """Its key, or the name of its class."""
    note: str
    """What the method's picture of itself says, where that is not simply what the net sees."""
    weight: np.ndarray
    """(M,) the label's weight of the source, 0 to 1."""
    visible: np.ndarray
    """(M,) the share of the source's object that is visible, 0 to about 1."""
    order: np.ndarray
    """(M,) 0 for the row itself, 1 for its partner, ..."""
    alpha: np.ndarray
    """(M,) the method's alpha; nan where it has none."""
    label_from: float
    """A lost object: the label gives it at least this much, ..."""
    visible_below: float
    """... and less than this share of it is visible."""

    @property
    def bias(self) -> float:
        """Mean over all sources of label weight minus visible share: above 0, labels promise more than there is."""
        return _mean(self.weight - self.visible)

    @property
    def correlation(self) -> float:
        """Pearson's, of weight and visible share; nan where either does not vary."""
        return _correlation(self.weight, self.visible)

    @property
    def lost(self) -> float:
        """Of the partners to which the label gives at least `label_from`, the share whose object is as good as gone."""
        return _lost(self.weight, self.visible, self.order, self.label_from, self.visible_below)

    def to_frame(self) -> pd.DataFrame:
        """One line a mixed row and source."""
        import pandas as pd

        columns = {"source": self.order, "alpha": self.alpha, "weight": self.weight, "visible": self.visible}
        return pd.DataFrame({"name": self.name, "method": self.method, **columns})

    def summary(self) -> pd.DataFrame:
        """One line an alpha. `mean_error` is the mean of |weight - visible|."""
        import pandas as pd

        alphas = _alphas(self.alpha)
        return pd.DataFrame([self._line(alpha) for alpha in alphas])

    def _line(self, alpha: float) -> dict[str, Any]:
        rows = _at(self.alpha, alpha)
        weight, visible, order = self.weight[rows], self.visible[rows], self.order[rows]
        return {
            "name": self.name,
            "method": self.method,
            "alpha": alpha,
            "sources": len(weight),
            "bias": _mean(weight - visible),
            "partner_bias": _mean((weight - visible)[order > 0]),
            "mean_error": _mean(np.abs(weight - visible)),
            "correlation": _correlation(weight, visible),
            "lost": _lost(weight, visible, order, self.label_from, self.visible_below),
        }

    @property
    def height(self) -> float:
        alphas = len(_alphas(self.alpha))
        return 0.9 + (0.08 * alphas if alphas > 1 else 0)

    def draw(self, ax: Axes) -> None:
        """A point a source; on the diagonal the label tells the truth. The tinted corner holds the lost objects. The
        numbers stand in the corner above it; those of several alphas below, a line each."""
        ax.fill_between((self.label_from, 1), 0, self.visible_below, color=style.FAINT, alpha=0.5, linewidth=0)
        ax.plot((0, 1), (0, 1), color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=3)
        for label, rows, looks in self._groups():
            ax.scatter(self.weight[rows], self.visible[rows], linewidths=0, label=label, clip_on=False, **looks)
        top = max(1.0, float(self.visible.max(initial=0)))
        ax.set(xlim=(0, 1), ylim=(0, top), xlabel="weight in the label", ylabel="share of the object that is visible")
        ax.set_title(run_name(self.name) or style.label(self.method))
        if len(_alphas(self.alpha)) > 1:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), markerscale=1.6, handletextpad=0.2)
            return
        if len(self.weight):
            ax.legend(loc="upper left", markerscale=2, handletextpad=0.2)
        _write(ax, _quoted(self._line(self.alpha[0]), "\n") if len(self.weight) else "no row is mixed with another")

    def _groups(self) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        """(label, points, looks): by alpha where there are several, else the row itself and its partners."""
        alphas, dense = _alphas(self.alpha), 0.8 if len(self.weight) < 500 else 0.5
        if len(alphas) > 1:
            for alpha, looks in zip(alphas, _alpha_looks(len(alphas)), strict=True):
                yield f"α = {alpha:g}: {_quoted(self._line(alpha), ', ')}", _at(self.alpha, alpha), looks
            return
        partner = self.order > 0
        for label, rows, color in (
            ("row itself", ~partner, style.MUTED),
            ("partner", partner, style.look(self.method).color),
        ):
            if rows.any():
                yield label, rows, {"color": color, "alpha": dense, "s": 3}


def _quoted(line: Mapping[str, Any], between: str) -> str:
    """The numbers of a line of the summary, as far as there are any."""
    bias = f"bias {100 * line['bias']:+.1f} points".replace("-", "\N{MINUS SIGN}")
    r = "" if np.isnan(line["correlation"]) else f"{between}r = {line['correlation']:.2f}"
    lost = "" if np.isnan(line["lost"]) else f"{between}object lost {100 * line['lost']:.1f} %"
    return f"{bias}{r}{lost}".replace("r = -", "r = \N{MINUS SIGN}")


def _write(ax: Axes, text: str) -> None:
    """At the right, just above the corner of lost objects."""
    box = {"boxstyle": "square,pad=0.2", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
    ax.text(0.98, 0.08, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=style.SMALLEST, bbox=box)


def _alpha_looks(number: int) -> list[dict[str, Any]]:
    """Rising alphas: from dark to bright in colours that the colour-blind tell apart, none too bright for white paper,
    and with marks of their own."""
    from matplotlib import colormaps

    colors = colormaps["viridis"](np.linspace(0, 0.68, number))
    return [{"color": c, "marker": m, "alpha": 0.7, "s": 6} for c, m in zip(colors, itertools.cycle("os^Dv"))]


# ------------------------------------------------------------------------------------------------------ the numbers


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _correlation(weight: np.ndarray, visible: np.ndarray) -> float:
    if len(weight) < 2 or np.ptp(weight) == 0 or np.ptp(visible) == 0:
        return np.nan
    return float(np.corrcoef(weight, visible)[0, 1])


def _lost(weight: np.ndarray, visible: np.ndarray, order: np.ndarray, label_from: float, visible_below: float) -> float:
    """The rate; nan where the label gives no partner that much."""
    promised = (order > 0) & (weight >= label_from)
    return _mean(visible[promised] < visible_below)


def _alphas(alpha: np.ndarray) -> list[float]:
    found = np.unique(alpha)  # equal nans are one
    return found.tolist() if len(found) else [np.nan]


def _at(alpha: np.ndarray, value: float) -> np.ndarray:
    return np.isnan(alpha) if np.isnan(value) else alpha == value


# -------------------------------------------------------------------------------------------------------- computing


def fidelity(
    method: Method,
    net: Net,
    data: Data,
    *,
    images: int = 256,
    draws: int = 4,
    alphas: Sequence[float] = (),
    label_from: float = 0.3,
    visible_below: float = 0.05,
    seed: int = 0,
    name: str = "",
) -> Fidelity:
    """Mix images that know their objects, and hold the labels against what is visible of each.

    data: with object masks (`shapes`, `folder:PATH` with masks/, `npz:PATH` with test_masks); images without one can be
    partners, but are not counted. images: how many, at most. draws: how often they are mixed, each time with other
    partners and weights. alphas: values of the method's `alpha` to go through; none: the method as it is. A learned
    mixer is taken as it is now, in evaluation mode.
    """
    chosen = examples(data, images, seed)
    check_fit(net, chosen)
    return _fidelity(method, net, chosen, draws, alphas, (label_from, visible_below), seed, name)


def fidelity_table(
    keys: Iterable[str], data: Data, *, alphas: Sequence[float] = (), images: int = 256, draws: int = 4, seed: int = 0
) -> pd.DataFrame:
    """The summaries of several methods, at their papers' parameters and at each of `alphas` that a method has.

    For methods that need no net: UsageError for the others.
    """
    import pandas as pd

    chosen, found = examples(data, images, seed), []
    for key in keys:
        method = build(key)
        if method.needs_net:
            raise UsageError(f"{key} looks into a net; call fidelity(method, net, data) with one")
        swept = alphas if hasattr(method, "alpha") else ()
        found.append(_fidelity(method, None, chosen, draws, swept, (0.3, 0.05), seed, key).summary())
    if not found:
        raise UsageError("a table of fidelity needs at least one method, got none")
    return pd.concat(found, ignore_index=True)


def _fidelity(
    method: Method,
    net: Net | None,
    data: Examples,
    draws: int,
    alphas: Sequence[float],
    limits: tuple[float, float],
    seed: int,
    name: str,
) -> Fidelity:
    _check(data, limits)
    draws = whole("draws", draws, 1)
    methods = [_with_alpha(method, alpha) for alpha in alphas] or [copy.deepcopy(method)]
    batches = [(m, number, rows) for m in methods for number, rows in _batches(data, net, draws, seed)]
    parts, notes = [], set()
    with progress(len(batches), f"fidelity of {_key(method)}", unit="batch") as bar:
        for mixer, number, rows in batches:
            part, note = _measured(mixer, net, data, rows, partial(Draw, seed, *number, stream="fidelity"))
            parts.append((*part, np.full(len(part[0]), getattr(mixer, "alpha", np.nan), float)))
            notes.add(note)
            bar.update()
    weight, visible, order, alpha = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Fidelity(name, _key(method), "; ".join(sorted(notes - {""})), weight, visible, order, alpha, *limits)


def _check(data: Examples, limits: tuple[float, float]) -> None:
    if len(data) < 2:
        raise UsageError(f"fidelity needs at least two images to mix with each other, got {len(data)}; take more")
    if data.masks is None:
        raise UsageError(
            "fidelity needs images that know their objects, got none with masks; take data 'shapes', or put masks "
            "beside your images: PATH/masks/ for folder:PATH, test_masks for npz:PATH (data/README.md)"
        )
    if not bool(data.masks.any()):
        raise UsageError("fidelity needs images with objects, but all masks are empty")
    if not all(0 <= limit <= 1 for limit in limits):
        raise UsageError(f"label_from and visible_below must be from 0 to 1, got {limits[0]} and {limits[1]}")


def _key(method: Method) -> str:
    return next((key for key, cls in METHODS.items() if cls is type(method)), type(method).__name__)


def _with_alpha(method: Method, alpha: float) -> Method:
    """A copy of the method, with what it learned, at another alpha."""
    if "alpha" not in {f.name for f in dataclasses.fields(method)}:
        raise UsageError(f"{_key(method)} has no alpha to go through; leave alphas out")
    other: Any = copy.deepcopy(method)
    other.alpha = alpha
    check_fields(other, type(method).__name__)
    return other


def _batches(data: Examples, net: Net | None, draws: int, seed: int) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """((draw, batch), rows): in each draw every image once, in batches of about one size, put together by chance."""
    size = BATCH if net is None else block_of(data, BATCH)
    for draw in range(draws):
        order = Draw(seed, draw, stream="fidelity order").rng.permutation(len(data))
        for i, rows in enumerate(np.array_split(order, -(-len(data) // size))):
            yield (draw, i), rows


def _measured(
    method: Method, net: Net | None, data: Examples, rows: np.ndarray, draw: Callable[[], Draw]
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], str]:
    """(weight, visible, order), each (M,), of one batch, and what the method's picture says of itself."""
    assert data.masks is not None
    batch = Examples(data.images[rows], data.labels[rows])
    x, y = batch.batch(0, len(batch), "cpu" if net is None else device_of(net))
    objects = data.masks[rows].ne(0).to(x)
    mixed, pixels, note = seen(method.eval(), net, x, y, objects, draw)
    source, weight, visible = (t.cpu().numpy() for t in (mixed.source, mixed.weight.double(), pixels.double()))
    return counted(source, weight, visible, objects.sum((1, 2)).cpu().numpy()), note


def counted(
    source: np.ndarray, weight: np.ndarray, visible: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weight, visible share, order), each (M,), of the sources that have an object, in rows with another source.

    source, weight, visible: (R, K), visible in pixels; whole: (B,) pixels of each image's object.
    """
    same = source[:, :, None] == source[:, None]
    earlier = np.tril(same, -1).any(2)  # a source that stands in a row before: its weight and pixels count there
    weight, visible = (np.where(earlier, 0, (same * part[:, None]).sum(2)) for part in (weight, visible))
    own = source == source[:, :1]
    takes_part = (weight > 0) | (visible > 0)
    mixed_rows = (takes_part & ~own).any(1, keepdims=True)
    itself = np.arange(source.shape[1]) == 0
    chosen = mixed_rows & (whole[source] > 0) & (itself | (takes_part & ~own)) & ~earlier
    order = np.broadcast_to(np.arange(source.shape[1]), source.shape)
    return weight[chosen], (visible / np.maximum(whole[source], 1))[chosen], order[chosen]

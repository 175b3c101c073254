"""Published accuracies of methods over data sets, a spoke a data set, each scaled to its own range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.config import UsageError, choose
from workbench.published import names, results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("vanilla", "mixup", "cutmix", "puzzlemix", "automix", "samix")
"""The usual choice: more lines than these can hardly be followed."""
MOST = 10
NETS = ("resnet18", "resnet50", "resnext50")
"""Of the tables in which all chosen methods have a number, a spoke takes the first of these nets."""
INNER = 0.2
"""Radius of the lowest accuracy of a spoke, in radii of the highest; in the middle there would be no room."""
LARGEST = 1.75
"""Inches of the outer ring's radius at most: wider pages stay free at the sides."""
GAP, EDGE, LINE = 0.06, 0.04, 0.105
"""Inches between a spoke's end and its label; around the figure; of a line of the note."""
SPACING = 1.05
"""Of the lines of a label."""
NOTE = "Inner and outer ring: lowest and highest published top-1 accuracy of these methods."


@dataclass(frozen=True)
class Spoke:
    """A data set: which table its numbers are from, and the number of each method in percent."""

    dataset: str
    backbone: str
    epochs: int
    values: Mapping[str, float]

    @property
    def range(self) -> tuple[float, float]:
        return min(self.values.values()), max(self.values.values())

    @property
    def label(self) -> str:
        """Data set; net and length of training; lowest and highest accuracy."""
        low, high = self.range
        net = names.BACKBONES.get(self.backbone, self.backbone)
        title = names.DATASETS[self.dataset].title
        return f"{title}\n{net}, {self.epochs} ep.\n{low:.1f} to {high:.1f} %"


def radar(
    methods: Sequence[str] = METHODS, datasets: Sequence[str] = (), *, backbone: str | None = None,
    venue: str = "cvpr", columns: int = 1,
) -> Figure:  # fmt: skip
    """A closed line a method through its published top-1 accuracies: the outer ring is the best of the chosen methods
    on each data set, the inner ring the lowest, with the range written at the spoke.

    methods: 2 to 10 keys of the benchmark. datasets: at least three; when left out, all on which every chosen method
    has a number. backbone: take numbers of this net alone; when left out, ResNet-18 where it has numbers. Numbers of
    one spoke are of one net, setting and length of training, the longest that all chosen methods have. UsageError
    where fewer than three data sets are left.
    """
    if not 2 <= len(set(methods)) <= MOST:
        raise UsageError(f"a radar shows 2 to {MOST} methods, got {len(set(methods))}; choose among them")
    chosen = spokes(methods, datasets, backbone)
    with style.paper(venue, columns) as width:
        figure = style.new_figure(width, width, layout="none")
        lines = style.wrap(figure, NOTE, width - 2 * EDGE, style.SMALLEST)
        labels = [names.method(method) for method in methods]
        ncols = style.legend_columns(width, labels)
        note, legend = len(lines) * LINE, -(-len(labels) // ncols) * 1.35 * _small() / 72 + 3 * EDGE
        radius, up, down = _room(figure, chosen, width)
        height = up + down + legend + note + EDGE
        figure.set_figheight(height)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(-width / 2, width / 2), ylim=(up - height, up))
        ax.set_axis_off()
        _web(ax, chosen, radius)
        _lines(ax, chosen, methods, radius)
        handles = ax.get_legend_handles_labels()
        figure.legend(*handles, loc="lower center", ncols=ncols, bbox_to_anchor=(0.5, (note + EDGE) / height))
        for i, line in enumerate(reversed(lines)):
            y = up - height + EDGE + (i + 0.5) * LINE
            ax.text(0, y, line, ha="center", va="center_baseline", fontsize=style.SMALLEST, color=style.MUTED)
        return figure


def spokes(methods: Sequence[str], datasets: Sequence[str] = (), backbone: str | None = None) -> list[Spoke]:
    """A spoke for every data set on which all methods have a number, in the order of `names.DATASETS`."""
    frame = results(metric="top1", task="classification")
    frame = frame[frame["group"] == "mixup_benchmark"]
    for method in methods:
        choose({key: key for key in frame["method"].unique()}, method, "method with published numbers")
    wanted = list(dict.fromkeys(names.dataset(name, frame["dataset"].unique()) for name in datasets))
    if backbone is not None:
        nets = {key: key for key in frame["backbone"].unique()}
        frame = frame[frame["backbone"] == choose(nets, names.backbone(backbone), "net with published numbers")]
    found = [_spoke(frame[frame["dataset"] == key], methods) for key in wanted or names.DATASETS]
    lacking = [key for key, spoke in zip(wanted, found, strict=False) if spoke is None]
    if lacking:
        raise UsageError(f"not all of {', '.join(methods)} have a number on {', '.join(lacking)}; leave out some")
    there = [spoke for spoke in found if spoke is not None]
    if len(there) < 3:
        got = ", ".join(s.dataset for s in there) or "none"
        raise UsageError(f"a radar needs three data sets with numbers of all its methods, got {got}; choose others")
    return there


def _spoke(frame: pd.DataFrame, methods: Sequence[str]) -> Spoke | None:
    """Of the tables of one data set in which all methods have a number: first net of NETS, longest training."""
    tables = [
        ((str(net), int(str(epochs)), str(setting)), dict(zip(part["method"], part["value"], strict=True)))
        for (net, epochs, setting), part in frame.groupby(["backbone", "epochs", "setting"])
    ]
    whole = [(key, values) for key, values in tables if set(methods) <= set(values)]
    if not whole:
        return None
    order = {net: i for i, net in enumerate(NETS)}
    key, values = min(whole, key=lambda t: (order.get(t[0][0], len(order)), t[0][0], -t[0][1], t[0][2]))
    dataset = frame["dataset"].iloc[0]
    return Spoke(dataset, key[0], key[1], {method: float(values[method]) for method in methods})


# ----------------------------------------------------------------------------------------------------------- drawing


def _directions(number: int) -> np.ndarray:
    """(S, 2) unit vectors, the first upwards, then clockwise."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(number) / number
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _room(figure: Figure, chosen: Sequence[Spoke], width: float) -> tuple[float, float, float]:
    """Inches: radius of the outer ring such that all labels fit into the width; what is needed above and below."""
    toward = _directions(len(chosen))
    sizes = [_label_size(figure, spoke) for spoke in chosen]
    inside = [
        (width / 2 - EDGE - w * _beside(x)) / max(abs(x), 1e-9) - GAP
        for (x, _), (w, _) in zip(toward, sizes, strict=True)
    ]
    radius = min(*inside, LARGEST)
    reach = [(radius + GAP) * y + h * _above(y) for (_, y), (_, h) in zip(toward, sizes, strict=True)]
    depth = [-(radius + GAP) * y + h * _above(-y) for (_, y), (_, h) in zip(toward, sizes, strict=True)]
    return radius, max(reach) + EDGE, max(depth) + EDGE


def _label_size(figure: Figure, spoke: Spoke) -> tuple[float, float]:
    """(width, height) in inches of a spoke's label."""
    lines = [style.text_size(figure, line, _small()) for line in spoke.label.split("\n")]
    return max(w for w, _ in lines), SPACING * 1.2 * _small() / 72 * len(lines)


def _small() -> float:
    """Points of the labels, inside `style.paper`: as ticks and legends have."""
    return max(style.SMALLEST, 5 / 6 * style.points())


def _beside(x: float) -> float:
    """Share of a label's width that lies farther out than its anchor."""
    return 0.5 if abs(x) < 0.2 else 1.0


def _above(y: float) -> float:
    """Share of a label's height that lies farther out than its anchor, in the direction `y` points to."""
    return 1.0 if y > 0.9 else 0.0 if y < -0.9 else 0.5 + 0.5 * y


def _web(ax: Axes, chosen: Sequence[Spoke], radius: float) -> None:
    """Rings, spokes and what is written at them."""
    toward = _directions(len(chosen))
    for share in (0.0, 0.5, 1.0):
        ring = radius * (INNER + (1 - INNER) * share) * np.concatenate([toward, toward[:1]])
        ax.plot(*ring.T, color=style.FAINT, linewidth=0.5, linestyle="-" if share in (0.0, 1.0) else (0, (2, 2)))
    for (x, y), spoke in zip(toward, chosen, strict=True):
        ax.plot((0, radius * x), (0, radius * y), color=style.FAINT, linewidth=0.5, zorder=1)
        left, low = (radius + GAP) * x, (radius + GAP) * y
        align = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
        height = _label_size(style.page(ax), spoke)[1]
        middle = low + height * (_above(y) - 0.5)
        ax.text(left, middle, spoke.label, ha=align, va="center", fontsize=_small(), linespacing=SPACING)


def _lines(ax: Axes, chosen: Sequence[Spoke], methods: Sequence[str], radius: float) -> None:
    """A closed line a method."""
    toward = _directions(len(chosen))
    for method in methods:
        share = np.array([_share(spoke, method) for spoke in chosen])
        points = radius * (INNER + (1 - INNER) * share)[:, None] * toward
        look = style.look(method)
        ax.plot(
            *np.concatenate([points, points[:1]]).T, color=look.color, linestyle=look.line, marker=look.marker,
            markersize=0.9 * look.size, linewidth=1.0, label=names.method(method), zorder=3,
        )  # fmt: skip


def _share(spoke: Spoke, method: str) -> float:
    low, high = spoke.range
    return (spoke.values[method] - low) / (high - low) if high > low else 1.0

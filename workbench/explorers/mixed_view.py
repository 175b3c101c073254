"""How mixed samples look on paper: sources, masks, mixes, and the distributions below; and a small one for a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.explorers.mixed import Distribution, Mixers, Sample, State, distribution, mix, names
from workbench.explorers.pictures import Source
from workbench.figures.samples import ROOMY, footnotes, framed
from workbench.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = 18
"""Characters of a caption; a longer name is cut."""
CURVES, LEGEND = 1.55, 0.17
"""Inches for the distributions, and for a row of their legend."""
BINS = 40
"""Of the histogram on a card."""


def render(
    state: State, source: Source, mixers: Mixers | None = None, *, venue: str = "cvpr", columns: int = 2
) -> Figure:
    """The view as a paper's figure, at exactly the venue's width: A and B, a row a method with its mask and mix, label
    weight and visible share under them; below, of how many draws both lie under a value, with a dot for what is shown.

    UsageError for an unknown venue, and where a method of the state can't be shown.
    """
    samples = mix(state, source, mixers)
    found = distributions(state, source)
    with style.paper(venue, columns) as width:
        figure = style.image_grid(_blocks(state, source, samples, width), width, notes=_notes(state, samples))
        if found:
            _add_distributions(figure, state, samples, found)
        return figure


def distributions(state: State, source: Source) -> dict[int, Distribution]:
    """Of the state's methods that mix without a net, by their place."""
    pair = source.batch(state.pair, min(state.size, source.side))
    return {
        i: distribution(chosen.key, chosen.params, pair=pair)
        for i, chosen in enumerate(state.methods)
        if not METHODS[chosen.key].needs_net or METHODS[chosen.key].family == "feature"
    }


def _blocks(state: State, source: Source, samples: Sequence[Sample], width: float) -> list[list[style.GridRow]]:
    """One method with its sources in one row where there is room; else A and B on top, in each of two blocks."""
    marks = footnotes([s.note for s in samples])
    own = [_paper(picture) for picture in max(samples, key=lambda s: s.mixed.shape[0]).sources]
    captions = [_cut(f"{letter}: {source.names[row]}") for letter, row in zip("AB", state.pair, strict=True)]
    rows = [
        style.GridRow(
            name + marks.get(s.note, ""),
            [framed(s.mask) if s.mask is not None else np.ones((1, 1)), _paper(s.mixed)],
            ["" if s.visible is None else f"visible {s.visible:.2f} A", f"label {s.label[0]:.2f} A"],
        )
        for name, s in zip(names(state), samples, strict=True)
    ]
    if len(rows) == 1 and width >= ROOMY:
        row = rows[0]
        return [[style.GridRow(row.label, [*own, *row.pictures], [*captions, *row.captions])]]
    head = style.GridRow("Pictures", own, captions)
    half = -(-len(rows) // (2 if width >= ROOMY else 1))
    return [[head, *rows[i : i + half]] for i in range(0, len(rows), half)]


def _paper(picture: np.ndarray) -> np.ndarray:
    """(H, W, C) as matplotlib takes it."""
    return picture[:, :, 0] if picture.shape[2] == 1 else picture


def _cut(text: str) -> str:
    return text if len(text) <= CAPTION else text[: CAPTION - 1] + "…"


def _notes(state: State, samples: Sequence[Sample]) -> list[str]:
    wished = "drawn as in training" if state.lam is None else f"{state.lam:g}"
    marks = footnotes([s.note for s in samples])
    sides = " and ".join(str(side) for side in sorted({s.mixed.shape[0] for s in samples}))
    return [
        f"Lambda {wished}, seed {state.seed}, {sides} px. Left: where A shows (white) and its "
        "share of the pixels; right: the mix and its label's weight of A.",
        *(f"{mark} {note[0].upper()}{note[1:]}." for note, mark in marks.items()),
    ]


# ------------------------------------------------------------------------------------------------- distributions


def _add_distributions(
    figure: Figure, state: State, samples: Sequence[Sample], found: Mapping[int, Distribution]
) -> None:
    """Two panels under the pictures, for label weight and visible share."""
    width = figure.get_figwidth()
    shown = [names(state)[i] for i in found]
    in_row = style.legend_columns(width - 0.2, shown)
    legend = LEGEND * -(-len(shown) // in_row) if len(state.methods) > 1 else 0.0
    _grow(figure, CURVES + legend)
    height = figure.get_figheight()
    left, bottom, top = 0.5 / width, (legend + 0.38) / height, (CURVES + legend - 0.1) / height
    side = (1 - left - 0.2 / width) / 2
    for k, what in enumerate(("Label weight of A", "Visible share of A")):
        ax = figure.add_axes((left + k * (side + 0.1 / width), bottom, side - 0.1 / width, top - bottom))
        for i, spread in found.items():
            values = spread.visible if k else spread.label
            now = samples[i].visible if k else samples[i].label[0]
            if values is not None and now is not None:
                _cumulative(ax, state, i, values, now)
        ax.set(xlabel=what, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.set(ylabel="Share of draws") if k == 0 else ax.set_yticklabels([])
    handles = figure.axes[-2].get_lines()[::2]
    if legend:
        figure.legend(handles, shown, loc="lower center", ncols=in_row, borderaxespad=0.1)


def _cumulative(ax: Axes, state: State, i: int, values: np.ndarray, now: float) -> None:
    """A curve, and a dot on it at the value that is shown."""
    key = state.methods[i].key
    again = any(chosen.key == key for chosen in state.methods[:i])
    looks = style.look(key)
    ordered = np.sort(values)
    share = (np.arange(len(ordered)) + 0.5) / len(ordered)
    ax.plot(ordered, share, color=looks.color, linestyle="--" if again else looks.line)
    dot = {"marker": looks.marker, "linestyle": "none", "markersize": looks.size}  # a marker may be a tuple of numbers
    ax.plot([now], [np.interp(now, ordered, share)], color=looks.color, **dot)


def _grow(figure: Figure, inches: float) -> None:
    """Make room below what is there."""
    before = figure.get_figheight()
    after = before + inches
    for ax in figure.axes:
        x, y, w, h = ax.get_position().bounds
        ax.set_position((x, (y * before + inches) / after, w, h * before / after))
    for text in figure.texts:
        text.set_y((text.get_position()[1] * before + inches) / after)
    figure.set_figheight(after)


def histogram_svg(found: Distribution, label: float, visible: float | None, color: str, width: int, height: int) -> str:
    """A small histogram over the draws, as SVG of `width` x `height` pixels: label weight of A filled, visible share
    as a line, a stroke at the label weight that is shown and a triangle at the visible share."""
    base, top, edge = height - 31, 6, 8
    span = width - 2 * edge

    def across(share: float) -> float:
        return edge + share * span

    counts = [np.histogram(v, BINS, (0, 1))[0] for v in (found.label, found.visible) if v is not None]
    tallest = max(1, *(int(c.max()) for c in counts))
    heights = [(base - top) * c / tallest for c in counts]
    steps = [_steps(h, edge, span / BINS, base) for h in heights]
    outline = f'<path d="{steps[1]}" fill="none" stroke="{style.INK}" stroke-width="1"/>' if len(steps) > 1 else ""
    mark = across(label)
    triangle = "" if visible is None else (f'<path d="M{across(visible):.1f} {base} l-4 6 h8 z" fill="{style.INK}"/>')
    ticks = "".join(
        f'<text x="{across(v):.0f}" y="{height - 14}" text-anchor="{a}">{v:g}</text>'
        for v, a in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="10" fill="{style.MUTED}"><path d="{steps[0]}Z" fill="{color}" fill-opacity="0.45"/>{outline}'
        f'<path d="M{edge} {base}H{width - edge}" stroke="{style.FAINT}"/>'
        f'<path d="M{mark:.1f} {top - 4}V{base}" stroke="{color}" stroke-width="2"/>{triangle}{ticks}'
        f'<text x="{width / 2:.0f}" y="{height - 3}" text-anchor="middle">share of A over {len(found.label):,} draws: '
        "label (filled), visible (line)</text></svg>"
    )


def _steps(heights: np.ndarray, left: float, wide: float, base: float) -> str:
    """The outline of bars, as an SVG path."""
    path = [f"M{left:.1f} {base}"]
    for i, high in enumerate(heights):
        path.append(f"V{base - high:.1f}H{left + (i + 1) * wide:.1f}")
    return "".join([*path, f"V{base}"])

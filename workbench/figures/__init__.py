"""Figures and tables for papers, from run folders alone: no net, no data set, no training.

    fig = render(runs, "curves", venue="neurips", columns=1)
    save(fig, "out/curves")                    # out/curves.pdf and out/curves.png, exactly the venue's width

A figure is a function of runs that returns a matplotlib Figure; it draws what analyses found and computes nothing
else. To add one: write `figures/NAME.py` with `NAME(runs, *, venue, columns)`, add a line to FIGURES; the tests in
`tests/figures/test_figures.py` then hold it to the rules (exact width, nothing cut, no text over another, none under
6 pt, two renderings alike).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import style
from workbench.analysis import StoredRun
from workbench.config import UsageError, choose
from workbench.figures import critical, curves, reliability, samples, tables, tradeoff

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "FORMATS", "Entry", "render", "save", "tables"]


@dataclass(frozen=True)
class Entry:
    """A row of the table: how to draw the figure, and what it shows."""

    draw: Callable[..., Figure]
    summary: str


FIGURES: Mapping[str, Entry] = {
    "samples": Entry(samples.samples, "what each method makes of the same pairs of test pictures at lambda 0.5"),
    "curves": Entry(curves.curves, "test accuracy and training loss over the epochs, with bands over seeds"),
    "reliability": Entry(reliability.reliability, "accuracy against confidence, a diagram a method, with its ECE"),
    "critical": Entry(critical.critical, "mean ranks over seeds; bars join the methods that are not told apart"),
    "tradeoff": Entry(tradeoff.tradeoff, "accuracy against step time and memory, as multiples of vanilla"),
}

# what would differ between two renderings of the same figure is left out
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {},
    "svg": {"Date": None},
}


def render(runs: Sequence[StoredRun], name: str, venue: str = "cvpr", columns: int = 1, **options: Any) -> Figure:
    """A figure of these runs, at the width of `columns` columns of the venue's page.

    UsageError for an unknown figure or venue, and where the runs lack what the figure shows.
    """
    entry = choose(FIGURES, name, "figure")
    if not runs:
        raise UsageError(f"figure {name} needs at least one finished run, got none; train some first")
    return entry.draw(list(runs), venue=venue, columns=columns, **options)


def save(figure: Figure, stem: str | Path, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write `stem.pdf`, `stem.png` ...; gives the paths. The same figure gives the same bytes; fonts are TrueType.

    A file is there whole or not at all. The folder is made where it is missing.
    """
    from workbench.runs.folder import write_bytes

    for kind in formats:
        choose(FORMATS, kind, "figure format")
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    paths = [Path(f"{stem}.{kind}") for kind in formats]
    for path, kind in zip(paths, formats, strict=True):
        write_bytes(path, _encoded(figure, kind))
    return paths


def _encoded(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    with style.paper():  # fonts are embedded as the settings say that hold while saving
        figure.savefig(buffer, format=kind, metadata=dict(FORMATS[kind]))
    return buffer.getvalue()

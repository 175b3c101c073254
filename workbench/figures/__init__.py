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
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import style
from workbench.analysis import StoredRun
from workbench.config import UsageError, choose
from workbench.figures import (
    cam,
    card,
    corruptions,
    critical,
    curves,
    fidelity,
    hessian,
    landscape,
    reliability,
    samples,
    tables,
    tradeoff,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "FORMATS", "Entry", "render", "save", "tables"]


@dataclass(frozen=True)
class Entry:
    """A row of the table: how to draw the figure, and what it shows."""

    draw: Callable[..., Figure]
    summary: str
    pages: Callable[[Sequence[StoredRun]], list[str]] | None = None
    """Where a figure shows one method: which there are; each is given as the option `method`."""
    shows: str = ""
    """The analysis without whose stored results there is no figure; empty where it needs none that takes a net."""


FIGURES: Mapping[str, Entry] = {
    "samples": Entry(samples.samples, "what each method makes of the same pairs of test pictures at lambda 0.5"),
    "curves": Entry(curves.curves, "test accuracy and training loss over the epochs, with bands over seeds"),
    "reliability": Entry(reliability.reliability, "accuracy against confidence, a diagram a method, with its ECE"),
    "critical": Entry(critical.critical, "mean ranks over seeds; bars join the methods that are not told apart"),
    "tradeoff": Entry(tradeoff.tradeoff, "accuracy against step time and memory, as multiples of vanilla"),
    "landscape": Entry(
        landscape.landscape,
        "test accuracy beside the loss along a random direction, or planes of it",
        shows="landscape",
    ),
    "hessian": Entry(
        hessian.hessian,
        "spectral densities of the loss's Hessian, with largest eigenvalue and trace",
        shows="hessian",
    ),
    "cam": Entry(cam.cam, "where the nets look: one row an image, one column a method", shows="cam"),
    "corruptions": Entry(
        corruptions.corruptions,
        "accuracy by family of corruptions beside that on clean images",
        shows="robustness",
    ),
    "fidelity": Entry(
        fidelity.fidelity, "label weights against the visible share of each source's object", shows="fidelity"
    ),
    "card": Entry(
        card.card, "a page of one method: formula, samples, cost, accuracy, calibration, robustness", card.labels
    ),
}

# what would differ between two renderings of the same figure is left out
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {},
    "svg": {"Date": None},
    "pgf": {},
}
TEX = "pdflatex"
"""What measures texts for PGF."""
PREAMBLE = r"\usepackage[T1]{fontenc}\usepackage{textcomp,amssymb,underscore}"
"""What a document that includes a PGF file needs beside `pgf`."""


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

    A file is there whole or not at all. The folder is made where it is missing. PGF needs a LaTeX on the machine, and
    writes the pictures of a figure beside it, as `stem-img0.png` and so on. UsageError for a format that can't be.
    """
    from workbench.runs.folder import make_folder, write_bytes

    check_formats(formats)
    stem = Path(stem)
    make_folder(stem.parent)
    files = [file for kind in formats for file in _encoded(figure, stem.name, kind).items()]
    for name, content in files:
        write_bytes(stem.parent / name, content)
    return [stem.parent / name for name, _ in files]


def check_formats(formats: Sequence[str]) -> None:
    """UsageError for an unknown format, and for PGF where there is no LaTeX."""
    for kind in formats:
        choose(FORMATS, kind, "figure format")
    if "pgf" in formats and shutil.which(TEX) is None:
        raise UsageError(
            f"figure format pgf needs LaTeX, and there is no {TEX} here: install TeX Live, or leave it out"
        )


def _encoded(figure: Figure, stem: str, kind: str) -> dict[str, bytes]:
    """Files by name. All but PGF have one."""
    import matplotlib

    metadata: dict[str, Any] = {"metadata": dict(FORMATS[kind])} if FORMATS[kind] else {}
    tex: Any = {"pgf.texsystem": TEX, "pgf.rcfonts": False, "pgf.preamble": PREAMBLE}
    with style.paper(), matplotlib.rc_context(tex):  # fonts are embedded as the settings say that hold while saving
        if kind != "pgf":
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **metadata)
            return {f"{stem}.{kind}": buffer.getvalue()}
        with tempfile.TemporaryDirectory() as folder:
            figure.savefig(Path(folder) / f"{stem}.pgf", format=kind)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir(), reverse=True)}

"""Commands that look at what training made, and at what methods make of pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from workbench.commands.words import Runs, finished_runs


def analyse(
    analysis: Positional[str | None] = None,
    runs: Positional[Runs] = (),
    out: Path | None = None,
    options: Mapping[str, Any] = {},
) -> None:
    """Run an analysis over finished runs: prints its table, and with --out writes CSV and figure.

    Args:
        analysis: Name of the analysis; all are listed when left out.
        runs: Run folders, or folders of runs.
        out: Folder for table and figure.
        options: Options of the analysis, such as `images=500 seed=1`; a wrong name tells the right ones.
    """
    from workbench.figures.export import listing, report

    print(listing() if analysis is None else report(analysis, finished_runs(runs), out, options))


def figures(
    runs: Positional[Runs],
    out: Path = Path("out/figures"),
    only: tuple[str, ...] = (),
    venue: str = "cvpr",
    columns: Literal[1, 2] = 2,
    formats: tuple[str, ...] = ("pdf", "png"),
) -> None:
    """Render figures and tables for a paper from finished runs, and hold them to a paper's rules.

    Those of the published numbers, which need no runs, come from `workbench published --figures OUT`.

    Args:
        runs: Run folders, or folders of runs; the figures there are are listed when left out.
        out: Where to write them.
        only: Names of figures; all of them when left out.
        venue: Whose column width and font sizes, e.g. cvpr, neurips, icml.
        columns: Width in columns.
        formats: Any of pdf, png, svg and, where there is a LaTeX, pgf, whose texts are set by the document in its own
            font (their places are made for Times). Tables are text, CSV and LaTeX.
    """
    from workbench.figures.export import drawable, export

    if not runs:
        print(drawable())
        return
    for path in export(finished_runs(runs), out, only=only, venue=venue, columns=columns, formats=formats):
        print(path)


def mix(
    method: str = "cutmix",
    images: tuple[Path, ...] = (),
    lam: float = 0.5,
    out: Path = Path("mixed.png"),
    size: int = 224,
    seed: int = 0,
    params: Mapping[str, Any] = {},
    run: Path | None = None,
) -> None:
    """Mix your own pictures: A and B in, the mix and its label weights out.

    Args:
        method: Key of the method.
        images: Two picture files, A and B.
        lam: Wished weight of the first picture, 0 to 1.
        out: Picture to write; a sheet with sources, mask and mix comes beside it.
        size: Side in pixels to which the pictures are brought (shorter side, then centre crop).
        seed: Seed of what else is drawn, such as the place of a box.
        params: Parameters of the method.
        run: A finished run, for methods that look into a net or have learned.
    """
    from workbench.figures.mix import mix_files

    for line in mix_files(method, images, lam, out, size=size, seed=seed, params=params, run=run):
        print(line)


def data(
    name: Positional[str | None] = None, download: bool = False, root: str | None = None, out: Path | None = None
) -> None:
    """List the data sets, describe one, fetch one, or look at one.

    Args:
        name: Name of a data set, folder:PATH or npz:PATH; all are listed when left out.
        download: Fetch it from its official place.
        root: Where data sets lie or go; else $WORKBENCH_DATA, else ./data.
        out: Write a contact sheet of some of its images to this picture.
    """
    from workbench.data import report

    if download:
        report.fetch(name, root)
    print(report.table() if name is None else report.describe(name, root))
    if out is not None and name is not None:
        from workbench.figures.contact import contact_sheet

        print(contact_sheet(name, root, out))


def methods(name: Positional[str | None] = None) -> None:
    """List the mixup methods, or describe one with its parameters and their bounds.

    Args:
        name: Key of a method.
    """
    from workbench.methods import METHODS
    from workbench.methods.cards import card

    for key in [name] if name else METHODS:
        print(card(key, full=name is not None))


def gallery(
    out: Path = Path("out/gallery"),
    lam: float = 0.5,
    only: tuple[str, ...] = (),
    runs: tuple[Path, ...] = (),
    epochs: int = 5,
    jobs: int = 2,
) -> None:
    """See all methods on the same four photographs: mixes, masks and label weights on one page.

    Args:
        out: Folder for the page (PDF and PNG) and for the short trainings that some methods need.
        lam: Wished weight of each photograph itself, 0 to 1.
        only: Keys of methods; all when left out.
        runs: Your own finished runs, or folders of runs: their nets and what their methods learned are shown.
        epochs: Epochs of each short training.
        jobs: Trainings at a time, each in a process of its own.
    """
    from workbench.figures import save
    from workbench.figures.gallery import gallery as page
    from workbench.gallery import mixes

    for path in save(page(mixes(out, lam, only, runs, epochs, jobs), lam), out / "gallery"):
        print(path)


def audit(
    method: Positional[str],
    params: Mapping[str, Any] = {},
    run: Path | None = None,
    out: Path | None = None,
) -> None:
    """Hold a mixing method to some twenty-five invariants: labels, pixels, draws, odd batches, types.

    Args:
        method: Key of a method (your own callable: `from workbench.analysis.audit import audit`).
        params: Parameters of the method.
        run: A finished run whose net is looked into, for methods that need one.
        out: Picture of the first failure to write, as PNG and PDF.
    """
    from workbench.figures.export import audited

    found, text = audited(method, params, run, out)
    print(text)
    if not found.passed:
        sys.exit(1)

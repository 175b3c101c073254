"""Everything that a paper takes from a set of runs, written into one folder; and one analysis with table and figure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from workbench import style
from workbench.analysis import ANALYSES, StoredRun, analyse, stored
from workbench.analysis.audit import Audit, audit
from workbench.analysis.base import Result
from workbench.config import UsageError, choose
from workbench.figures import FIGURES, card, check_formats, lint, measures, render, save, tables
from workbench.figures.summaries import summary_text
from workbench.methods import build
from workbench.runs import Run
from workbench.runs.folder import make_folder, write_bytes


def export(
    runs: Sequence[StoredRun],
    out: Path,
    only: Sequence[str] = (),
    venue: str = "cvpr",
    columns: int = 2,
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """All figures (or those named in `only`), and the tables as text, CSV and LaTeX. Returns the files.

    A figure that these runs can't give, because they are of vanilla alone or an analysis is not stored, is left out
    with a word why, unless it was asked for by name. `lint.Faulty`, which knows the files, after all is written, where
    a figure breaks the rules.
    """
    for name in only:
        choose(FIGURES, name, "figure")
    width = style.page_width(venue, columns)
    check_formats(formats)
    make_folder(out)  # before the work: a folder that can't be written is told at once
    runs = _readable(runs)
    written, wrong = tables.save_tables(analyse(runs, "compare"), out / "compare"), []
    written += measures.save_tables(runs, out)
    names = list(only) or _with_results(runs)
    if "card" in names and (lacking := card.lacking(runs)):
        tqdm.write(f"cards are without {', '.join(lacking)}: nothing stored yet; `workbench analyse {lacking[0]} RUNS`")
    for name in tqdm(names, desc="figures", unit="figure", leave=False):
        try:
            for stem, options in _pages(name, runs):
                figure = render(runs, name, venue, columns, **options)
                paths = save(figure, out / stem, formats)
                pages = [path for path in paths if path.stem == stem]  # without the pictures that belong to a PGF
                found = lint.faults(figure) + [fault for path in pages for fault in lint.file_faults(path, width)]
                wrong += [f"figure {stem}: {fault}" for fault in found]
                written += paths
        except UsageError as error:
            if only:
                raise
            tqdm.write(f"left out figure {name}: {error}")
    if wrong:
        raise lint.Faulty(wrong, written)
    return written


def _with_results(runs: Sequence[StoredRun]) -> list[str]:
    """The figures of which some run has results (which run lacks them is told when they are drawn); of the others one
    line says how to have them."""
    missing = {name: entry.shows for name, entry in FIGURES.items() if entry.shows and not _any_has(runs, entry.shows)}
    if missing:
        first, *further = dict.fromkeys(missing.values())
        likewise = f" (likewise {', '.join(further)})" if further else ""
        tqdm.write(f"left out {', '.join(missing)}: nothing stored yet; `workbench analyse {first} RUNS`{likewise}")
    return [name for name in FIGURES if name not in missing]


def _any_has(runs: Sequence[StoredRun], analysis: str) -> bool:
    for some in (runs, *([run] for run in runs)):  # a joint result is of all together
        with suppress(UsageError):  # these lack it
            if stored(some, analysis):
                return True
    return False


def _readable(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs whose predictions can be read; the others are told. UsageError where none is left."""
    found, damaged = [], []
    for run in runs:
        try:
            run.predictions()
            found.append(run)
        except UsageError as error:
            damaged.append(str(error))
    if not found and damaged:
        raise UsageError(damaged[0])
    for why in damaged:
        tqdm.write(f"left out {why}")
    return found


def _pages(name: str, runs: Sequence[StoredRun]) -> list[tuple[str, dict[str, str]]]:
    """The name of the file and the options of every page of a figure."""
    pages = FIGURES[name].pages
    if pages is None:
        return [(name, {})]
    return [
        (f"{name}-{re.sub(r'[^a-z0-9]+', '-', label.lower()).strip('-')}", {"method": label}) for label in pages(runs)
    ]


def drawable() -> str:
    """The figures there are, a line each."""
    return "\n".join(f"{name:12s} {entry.summary}" for name, entry in FIGURES.items())


def listing() -> str:
    """The analyses there are, a line each."""
    return "\n".join(f"{name:12s} {entry.summary}" for name, entry in ANALYSES.items())


def report(name: str, runs: Sequence[StoredRun], out: Path | None, options: Mapping[str, Any] | None = None) -> str:
    """An analysis over runs as text; with `out`, its whole table and its summary as CSV, and its figures as PDF and PNG
    as well."""
    choose(ANALYSES, name, "analysis")
    if out is not None:
        make_folder(out)
    found: Any = analyse(runs, name, **(options or {}))
    results: list[Result] = found if isinstance(found, list) else [found]
    summary = pd.concat([r.summary() for r in results], ignore_index=True)
    if out is not None:
        for stem, table in ((name, pd.concat([r.to_frame() for r in results])), (f"{name}-summary", summary)):
            write_bytes(out / f"{stem}.csv", table.to_csv(index=False).encode())
        for i, result in enumerate(results):
            stem = f"{name}-{runs[i].name}" if isinstance(found, list) else name
            save(style.page(result.plot()), out / stem)
            for view, draw in result.figures().items():
                save(style.page(draw()), out / f"{stem}-{view}")
    if name == "compare":
        return tables.text(found)
    return summary_text(summary, [run.name for run in runs])


def audited(method: str, params: Mapping[str, Any], run: Path | None, out: Path | None) -> tuple[Audit, str]:
    """The audit of one of our methods and its text; with `out`, its table and pictures as PNG and PDF as well."""
    mixer = build(method, params)
    if run is None and mixer.needs_net:
        raise UsageError(f"{method} looks into a net: give it one with --run, a finished run")
    if out is not None:
        make_folder(out.parent)
    if run is None:
        found = audit(mixer, name=method)
    else:
        handle = Run(run)
        net = handle.net()
        mixer = handle.method() if handle.config.method == method and not params else mixer
        found = audit(
            mixer, net=net, classes=net.num_classes, channels=net.channels, size=net.size, name=f"{method}, {run}"
        )
    if out is not None:
        save(style.page(found.plot()), out.with_suffix(""))
    rows = zip(found.status, found.says, found.reason, strict=True)
    lines = [f"{status:5s} {says}" + (f": {reason}" if reason else "") for status, says, reason in rows]
    return found, "\n".join(lines)

"""Calibration and robustness by method, as tables: what was stored or follows from stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis import StoredRun, analyse
from workbench.analysis.compare import count_of_seeds, mean_interval, separated
from workbench.analysis.groups import Group, group
from workbench.config import UsageError
from workbench.figures import tabular
from workbench.figures.corruptions import panels_of
from workbench.figures.found import alike, of_groups
from workbench.figures.tabular import Column, Table, numbers

Measured = Sequence[tuple[Group[StoredRun], list[Any]]]
"""Groups of one setting, each with a result a seed."""

CALIBRATION: Mapping[str, tuple[str, float, int]] = {
    "ECE (%)": ("ece", 100, 1),
    "Class-wise ECE (%)": ("classwise_ece", 100, 1),
    "MCE (%)": ("mce", 100, 1),
    "Gap (%)": ("signed_gap", 100, 1),
    "Brier": ("brier", 1, 3),
    "NLL": ("nll", 1, 3),
    "ECE, scaled (%)": ("ece_after", 100, 1),
}
"""Heading: field of a Calibration, factor, digits. All but the gap are better the lower they are."""


def save_tables(runs: Sequence[StoredRun], out: Path) -> list[Path]:
    """Write `calibration` and, where it is stored, `robustness` as text, CSV and LaTeX; gives the paths."""
    from workbench.runs.folder import make_folder, write_bytes

    paths = {}
    for name, (of, make) in MEASURES.items():
        try:
            found = of(group(runs))
            tables = [make(part, mark) for mark in ("*", "Bold") for part in _by_setting(found)]
        except UsageError:  # not stored: the figure of the same name says so
            continue
        half = len(tables) // 2
        paths[out / f"{name}.txt"] = "\n\n\n".join(map(tabular.text, tables[:half])) + "\n"
        paths[out / f"{name}.csv"] = pd.concat([r.to_frame() for _, rs in found for r in rs]).to_csv(index=False)
        paths[out / f"{name}.tex"] = "\n".join(map(tabular.latex, tables[half:]))
    make_folder(out)
    for path, content in paths.items():
        write_bytes(path, content.encode())
    return list(paths)


def _by_setting(found: Measured) -> list[Measured]:
    settings = dict.fromkeys((g.setting, g.protocol) for g, _ in found)
    return [[(g, of) for g, of in found if (g.setting, g.protocol) == key] for key in settings]


def _calibrated(groups: Sequence[Group[StoredRun]]) -> Measured:
    return [(g, analyse(list(g.items), "calibration")) for g in groups]


def _corrupted(groups: Sequence[Group[StoredRun]]) -> Measured:
    found = list(zip(groups, of_groups(groups, "robustness"), strict=True))
    for part in _by_setting(found):
        alike([r for _, of in part for r in of], "robustness", "kinds", "severities", "source")
    return found


def calibration_table(found: Measured, mark: str) -> Table:
    """A row a method: errors of the confidence, before and after temperature scaling."""
    columns = []
    for head, (field, factor, digits) in CALIBRATION.items():
        values = [np.array([factor * getattr(r, field) for r in of]) for _, of in found]
        columns.append(_column(head, values, digits, lowest=None if field == "signed_gap" else True))
    note = (
        "ECE, MCE: 15 bins of equal width; gap: mean confidence minus accuracy, negative where under-confident; "
        "scaled: after temperature scaling on one half of the test images, measured on the other."
    )
    return _table(found, "Calibration", columns, note, mark, "tab:calibration")


def robustness_table(found: Measured, mark: str) -> Table:
    """A row a method: accuracy on clean images and by family of corruptions."""
    first = found[0][1][0]
    columns = [_column("Clean", [np.array([100 * r.clean for r in of]) for _, of in found], 1, lowest=False)]
    for name, rows in panels_of(first.kinds).items():
        values = [np.array([100 * r.accuracy[list(rows)].mean() for r in of]) for _, of in found]
        columns.append(_column("All corruptions" if name == "all" else name.capitalize(), values, 1, lowest=False))
    severities = ", ".join(map(str, first.severities.tolist()))
    made = "made here (C-style)" if first.source == "C-style" else "as published"
    note = (
        f"Accuracy (%) under {len(first.kinds)} corruptions, {made}, mean over severities {severities}, on "
        f"{first.images} test images."
    )
    return _table(found, "Robustness", columns, note, mark, "tab:robustness")


def _column(head: str, values: Sequence[np.ndarray], digits: int, *, lowest: bool | None) -> Column:
    """Means with spreads; the best stands out where its interval is clear of all others. `lowest`: which is best."""
    mean, spread, low, high = np.array([mean_interval(v) for v in values]).T
    best = None if lowest is None else separated(low, high, lowest=lowest)
    return numbers(head, mean, spread, digits, best)


def _table(found: Measured, what: str, columns: Sequence[Column], note: str, mark: str, label: str) -> Table:
    first = found[0][0]
    seeds = np.array([len(g.items) for g, _ in found])
    spread = "; mean \N{PLUS-MINUS SIGN} sample standard deviation" if seeds.max() > 1 else ""
    notes = [note, f"{count_of_seeds(seeds).capitalize()}{spread}; final weights."]
    if any(column.best is not None for column in columns):
        notes.append(f"{mark}: 95 % interval over seeds clear of all others.")
    return Table(
        title=f"{what}: {first.setting}",
        columns=[Column("Method", [g.label for g, _ in found], words=True), *columns],
        notes=notes,
        caption=f"{what} on {first.setting}.",
        label=label,
    )


MEASURES: Mapping[str, tuple[Callable[[Sequence[Group[StoredRun]]], Measured], Callable[[Measured, str], Table]]] = {
    "calibration": (_calibrated, calibration_table),
    "robustness": (_corrupted, robustness_table),
}
"""How the results of a table are found, and how it is made."""

"""What analyses sum up, as text for a terminal: rounded, with the runs' short names, at most as wide as a page of code.

One row of the summary a line, where that fits. Else turned: a line a measure, a column a run. What is the same in all
rows stands once, below.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.analysis.run_names import short_names
from workbench.config import is_whole
from workbench.figures.tabular import MISSING

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 110
"""Characters of a line, where names and words leave a choice."""
PERCENT = {
    "accuracy", "low", "high", "confidence", "ece", "mce", "signed_gap", "adaptive_ece", "classwise_ece", "ece_before",
    "ece_after", "clean", "corrupted", "lost", "mean_corruption_error", "worst_accuracy", "error", "clean_error",
    "worst", "bias", "partner_bias", "mean_error", "first_share", "second_share",
}  # fmt: skip
"""Columns of fractions that figures show in percent."""
ERRORS = ("_se", "_error")
"""What the name of an error ends in that stands behind its measure."""

Columns = dict[str, list[str]]
"""Name of a column -> its cells, all as many."""


def summary_text(summary: pd.DataFrame, runs: Sequence[str] = ()) -> str:
    """The table as text; `runs`: names of folders, which become short where they stand in the column `name`."""
    columns = _with_errors(_cells(summary))
    for name, short in sorted(zip(runs, short_names(runs), strict=True), key=lambda pair: -len(pair[0])):
        columns["name"] = [cell.replace(name, short) for cell in columns["name"]]
    shared = {key: cells[0] for key, cells in columns.items() if len(summary) > 1 and len(set(cells)) == 1}
    own = {key: cells for key, cells in columns.items() if key not in shared}
    told = ", ".join(f"{key} {cell}".replace(" ", "\N{NO-BREAK SPACE}") for key, cell in shared.items())
    note = textwrap.fill(f"in all rows: {told}", WIDTH, break_long_words=False, break_on_hyphens=False)
    note = note.replace("\N{NO-BREAK SPACE}", " ")
    return "\n\n".join([*([_layout(own)] if own else []), *([note] if told else [])])


def _cells(table: pd.DataFrame) -> Columns:
    return {str(key): [_cell(str(key), value) for value in table[key]] for key in table}


def _cell(key: str, value: Any) -> str:
    """Three digits of a number, a decimal of what is in percent."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if is_whole(value):
        return _minus(f"{value:,}")
    if not isinstance(value, float):  # as NumPy's float64 is
        return str(value)
    if np.isnan(value):
        return MISSING
    if key in PERCENT:
        return _minus(f"{100 * value:z.1f} %")
    return _minus(f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _with_errors(columns: Columns) -> Columns:
    """Errors behind their measures: `0.41 ± 0.03`."""
    errors = {key + end: key for key in columns for end in ERRORS if key + end in columns}
    beside = {key: columns[error] for error, key in errors.items()}
    return {
        key: [_around(*pair) for pair in zip(cells, beside[key], strict=True)] if key in beside else cells
        for key, cells in columns.items()
        if key not in errors
    }


def _around(value: str, error: str) -> str:
    return value if error == MISSING else f"{value} \N{PLUS-MINUS SIGN} {error}"


def _layout(columns: Columns) -> str:
    """By rows where they fit; turned where there are fewer of them than columns, or several of a run."""
    upright = [[key, *cells] for key, cells in columns.items()]
    names = columns.get("name", [])
    several = len(set(names)) < len(names)
    if not several and (_width(upright) <= WIDTH or len(names) > len(columns)):
        return _text(upright, 1)
    turned = _turned(columns) if names else None
    return _text(upright, 1) if turned is None else _text(*turned)


def _turned(columns: Columns) -> tuple[list[list[str]], int] | None:
    """A column a name, a line a measure and setting; and how many columns say what a line is. Settings are the columns
    that don't depend on the name. None where the names have not all the same settings."""
    names = list(dict.fromkeys(columns["name"]))
    each = len(columns["name"]) // len(names)
    if columns["name"] != [name for name in names for _ in range(each)]:
        return None
    by_name = {
        key: [cells[i : i + each] for i in range(0, len(cells), each)]
        for key, cells in columns.items()
        if key != "name"
    }
    settings = {key: rows[0] for key, rows in by_name.items() if each > 1 and all(row == rows[0] for row in rows)}
    if each > 1 and len(set(zip(*settings.values(), strict=True))) < each:
        return None
    lines = [["", *settings, *names]]
    for key, rows in by_name.items():
        if key not in settings:
            once = all(len(set(row)) == 1 for row in rows)  # it depends on the name alone
            lines += [
                [key, *("" if once else cells[i] for cells in settings.values()), *(row[i] for row in rows)]
                for i in range(1 if once else each)
            ]
    return [list(column) for column in zip(*lines, strict=True)], 1 + len(settings)


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns) - 2


def _text(columns: Sequence[Sequence[str]], fixed: int) -> str:
    """Aligned columns, under one another where they don't fit side by side; the first `fixed` begin every block."""
    blocks = [list(columns[:fixed])]
    for column in columns[fixed:]:
        if len(blocks[-1]) > fixed and _width([*blocks[-1], column]) > WIDTH:
            blocks.append(list(columns[:fixed]))
        blocks[-1].append(column)
    return "\n\n".join("\n".join(_lines(block)) for block in blocks)


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in zip(*columns, strict=True)
    ]

"""Published numbers, and own runs beside them, as LaTeX tables (booktabs, siunitx), and as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.figures import tabular
from workbench.figures.tabular import Column, numbers
from workbench.published.beside import Beside, to_frame
from workbench.published.table import BOUND, OFFICIAL, Cell, Table, beside_notes, beside_text, differing, text

SIGNS = {OFFICIAL: r"\textdagger{}", BOUND: r"\textdaggerdbl{}"}


def latex(table: Table) -> str:
    """A table environment; marks stand small beside the numbers, bold is the lead that the caption defines."""
    columns = [Column("Method", [row.label for row in table.rows], words=True)]
    if any(row.alpha for row in table.rows):
        columns.append(Column("\N{GREEK SMALL LETTER ALPHA}", [row.alpha for row in table.rows], words=True))
    for column, head in zip(table.columns, table.heads, strict=True):
        cells = [row.cells.get(column, Cell("")) for row in table.rows]
        best = next((i for i, cell in enumerate(cells) if cell.best), None)
        marks = [cell.marks for cell in cells]
        columns.append(Column(head, [cell.text for cell in cells], marks if any(marks) else (), best))
    protocol = [line.replace("*: leads", "Bold: leads") for line in table.protocol]
    caption, label = f"Published numbers, {table.title}.", f"tab:published-{table.slug}"
    return _signed(tabular.latex(tabular.Table(table.title, columns, [*protocol, *table.notes], caption, label)))


def beside_latex(rows: Sequence[Beside], title: str, slug: str) -> str:
    """Own runs beside published numbers; the caption says what the numbers mean and where the protocols differ."""
    bounds = [BOUND if row.seeds == 1 and not math.isnan(row.z) else "" for row in rows]
    columns = [
        Column("Method", [row.label for row in rows], words=True),
        numbers("Own (%)", np.array([row.own for row in rows]), np.array([row.own_sd for row in rows]), digits=2),
        Column("Seeds", [str(row.seeds) for row in rows]),
        numbers("Published (%)", np.array([row.published for row in rows]), digits=2),
        Column("Epochs", [_whole(row.published_epochs) for row in rows]),
        Column("Difference", [_cell(row.difference, 2) for row in rows]),
        Column("z", [_cell(row.z, 1) for row in rows], bounds if any(bounds) else ()),
    ]
    caption, label = f"Own runs beside published numbers, {title}.", f"tab:beside-{slug}"
    notes = [*beside_notes(rows), *differing(rows)]
    return _signed(tabular.latex(tabular.Table(title, columns, notes, caption, label)))


def save_published(
    tables: Sequence[Table], own: Sequence[Beside], title: str, out: Path, slug: str = "published"
) -> list[Path]:
    """Write `published.txt`, `.csv` (all columns of the results) and `.tex`, with own runs beside them where there are
    any (`.csv`: a file of its own, `published-own.csv`). Gives the paths; the folder is made where it is missing."""
    import pandas as pd

    from workbench.runs.folder import make_folder, write_bytes

    words = [*map(text, tables), *([beside_text(own, title)] if own else [])]
    tex = [*map(latex, tables), *([beside_latex(own, title, slug)] if own else [])]
    files = {
        f"{slug}.txt": "\n\n".join(words),
        f"{slug}.csv": pd.concat([table.numbers for table in tables]).to_csv(index=False),
        f"{slug}.tex": "\n".join(tex),
    }
    if own:
        files[f"{slug}-own.csv"] = to_frame(own).to_csv(index=False)
    make_folder(out)
    for name, content in files.items():
        write_bytes(out / name, content.encode())
    return [out / name for name in files]


def _cell(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:+.{digits}f}"


def _whole(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}"


def _signed(made: str) -> str:
    """Signs that older LaTeX doesn't take, as commands."""
    for sign, command in SIGNS.items():
        made = made.replace(sign, command)
    return made

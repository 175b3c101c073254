"""Tables of numbers, as plain text and as LaTeX (adjustbox, booktabs, siunitx): a number, what stands small beside it,
and the one number of a column that may stand out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

MISSING = "\N{EN DASH}"
NARROW = 4
"""Columns that a table may show in one column of a page; with more it takes the width of the page."""
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{EN DASH}": "--",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def escape(text: str) -> str:
    """Plain text as LaTeX that prints it."""
    return re.sub("|".join(map(re.escape, ESCAPES)), lambda found: ESCAPES[found[0]], text)


@dataclass(frozen=True)
class Column:
    """A column of R numbers, or of plain words."""

    head: str
    cells: Sequence[str]
    """(R,) words, or numbers as `-1.5` or `+1.5`, all with as many digits after the point; "" where there is none."""
    beside: Sequence[str] = ()
    """(R,) what stands small beside a number, such as its spread; empty where nothing does in the whole column."""
    best: int | None = None
    """The row that stands out."""
    words: bool = False

    @property
    def empty(self) -> bool:
        return not any(self.cells)


@dataclass(frozen=True)
class Table:
    """Columns under a title, and sentences that say what the numbers mean."""

    title: str
    columns: Sequence[Column]
    notes: Sequence[str]
    caption: str
    """How a caption begins, before the notes."""
    label: str = "tab:methods"
    mark: str = field(default="*")
    """What stands behind the numbers that stand out, in plain text."""


def numbers(
    head: str, means: np.ndarray, spreads: np.ndarray | None = None, digits: int = 1, best: int | None = None
) -> Column:
    """A column of means with their spreads; nan is left out."""
    cells = ["" if np.isnan(mean) else f"{mean:z.{digits}f}" for mean in means]
    if spreads is None or np.isnan(spreads).all():
        return Column(head, cells, best=best)
    beside = ["" if np.isnan(s) else f"\N{PLUS-MINUS SIGN}{s:.{digits}f}" for s in spreads]
    return Column(head, cells, beside, best)


def text(table: Table) -> str:
    """For a terminal: a title, aligned columns, and the notes."""
    shown = [column for column in table.columns if not column.empty]
    cells = [[column.head, *(_plain(column, row, table.mark) for row in range(len(column.cells)))] for column in shown]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in zip(*cells, strict=True)
    ]
    return "\n".join([table.title, "", lines[0], "-" * len(lines[0]), *lines[1:], "", *table.notes])


def _plain(column: Column, row: int, mark: str) -> str:
    if not column.cells[row]:
        return MISSING
    number = column.cells[row] if column.words else column.cells[row].replace("-", "\N{MINUS SIGN}")
    beside = f" {column.beside[row]}" if column.beside and column.beside[row] else ""
    return number + (mark if row == column.best else "") + beside


def latex(table: Table) -> str:
    """A table environment for `\\usepackage{adjustbox,booktabs,siunitx}`, the caption above as venues ask for.

    More than four columns stand across both columns of the page; what is still too wide is made smaller.
    Numbers stand in S columns; a spread has a narrow column of its own, in small type, so that numbers stay aligned at
    their points. `detect-weight` lets a bold number be bold in an S column.
    """
    shown = [column for column in table.columns if not column.empty]
    environment = "table*" if len(shown) > NARROW else "table"
    rows = range(len(shown[0].cells))
    body = [" & ".join(chain.from_iterable(_tex(column, row) for column in shown)) + r" \\" for row in rows]
    lines = [
        r"% needs \usepackage{adjustbox,booktabs,siunitx}",
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        rf"\caption{{{escape(' '.join([table.caption, *table.notes]))}}}",
        rf"\label{{{table.label}}}",
        r"\sisetup{detect-weight=true}",
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{{''.join(map(_format, shown))}}}",
        r"\toprule",
        " & ".join(map(_head, shown)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _format(column: Column) -> str:
    """The column's type, and that of the small one beside it."""
    if column.words:
        return "l"
    known = [cell for cell in column.cells if cell]
    whole = max(len(cell.lstrip("+-").partition(".")[0]) for cell in known)
    after = max(len(cell.partition(".")[2]) for cell in known)
    sign = "+" if any(cell[0] in "+-" for cell in known) else ""
    point = f".{after}" if after else ""
    explicit = ",retain-explicit-plus" if any(cell[0] == "+" for cell in known) else ""
    return f"S[table-format={sign}{whole}{point}{explicit}]" + (r"@{\,}>{\scriptsize}l" if column.beside else "")


def _head(column: Column) -> str:
    if column.words:
        return escape(column.head)
    return rf"\multicolumn{{2}}{{c}}{{{escape(column.head)}}}" if column.beside else f"{{{escape(column.head)}}}"


def _tex(column: Column, row: int) -> list[str]:
    """The cells of a row: words in braces where a number is expected, or siunitx takes them for one."""
    cell = column.cells[row]
    if column.words:
        return [escape(cell or MISSING)]
    bold = r"\bfseries " if row == column.best else ""
    number = bold + cell if cell else f"{{{escape(MISSING)}}}"
    return [number, escape(column.beside[row])] if column.beside else [number]

"""The comparison of runs as a table: plain text, CSV with all digits, LaTeX (booktabs).

One table a setting: different data, models or lengths of training never share one. A number is in bold only where its
95 % interval over seeds lies clear of every other row's; with two seeds that is rare, and should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.analysis.compare import Comparison, count_of_seeds, separated
from workbench.config import choose

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{EN DASH}": "--",
}  # fmt: skip


def escape(text: str) -> str:
    """Plain text as LaTeX that prints it."""
    return re.sub("|".join(map(re.escape, ESCAPES)), lambda found: ESCAPES[found[0]], text)


@dataclass(frozen=True)
class Markup:
    """How a kind of table writes plain text, a number that stands out, and the smaller text beside a number."""

    plain: Callable[[str], str]
    bold: Callable[[str], str]
    small: Callable[[str], str]


TEXT = Markup(plain=str, bold=lambda t: f"{t}*", small=lambda t: f" {t}")
LATEX = Markup(
    plain=escape,
    bold=lambda t: rf"\textbf{{{escape(t)}}}",
    small=lambda t: rf"{{\scriptsize\,{escape(t)}}}",
)


def text(found: Comparison) -> str:
    """For a terminal: a title, aligned columns, and what the numbers mean."""
    parts = []
    for rows in _settings(found):
        table = _columns(found, rows, TEXT)
        widths = [max(map(len, (head, *cells))) for head, cells in table.items()]
        lines = [table.keys(), *zip(*table.values(), strict=True)]
        ruled = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
            for line in lines
        ]
        title = f"{found.setting[rows[0]]} ({found.protocol[rows[0]]})"
        parts.append("\n".join([title, "", ruled[0], "-" * len(ruled[0]), *ruled[1:], "", *_meaning(found, rows, "*")]))
    return "\n\n\n".join(parts) + "\n"


def csv(found: Comparison) -> str:
    """All columns of `Comparison.to_frame()`, all digits, fractions."""
    return found.to_frame().to_csv(index=False)


def latex(found: Comparison) -> str:
    """A table environment a setting, for `\\usepackage{booktabs}`; the caption states the protocol."""
    import pandas as pd

    parts = []
    for i, rows in enumerate(_settings(found)):
        table = _columns(found, rows, LATEX)
        frame = pd.DataFrame({escape(head): cells for head, cells in table.items()})
        about = " ".join([f"Results on {found.setting[rows[0]]}.", *_meaning(found, rows, "Bold")])
        parts.append(
            frame.style.hide(axis="index").to_latex(
                hrules=True,
                column_format="l" + "r" * (frame.shape[1] - 1),
                caption=escape(about),
                label="tab:methods" + (f"-{i + 1}" if i else ""),
                position="t",
                position_float="centering",
            )
        )
    return "\n".join(parts)


TABLES: Mapping[str, Callable[[Comparison], str]] = {"txt": text, "csv": csv, "tex": latex}


def save_tables(found: Comparison, stem: str | Path, formats: Sequence[str] = ("txt", "csv", "tex")) -> list[Path]:
    """Write `stem.txt`, `stem.csv`, `stem.tex`; gives the paths. The folder is made where it is missing."""
    from workbench.runs.folder import write_bytes

    writers = {kind: choose(TABLES, kind, "table format") for kind in formats}
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    paths = {Path(f"{stem}.{kind}"): write for kind, write in writers.items()}
    for path, write in paths.items():
        write_bytes(path, write(found).encode())
    return list(paths)


# ---------------------------------------------------------------------------------------------------------- the cells


def _settings(found: Comparison) -> list[np.ndarray]:
    """Row indices, setting by setting."""
    keys = list(zip(found.setting, found.protocol, strict=True))
    return [np.array([i for i, k in enumerate(keys) if k == key]) for key in dict.fromkeys(keys)]


def _columns(found: Comparison, rows: np.ndarray, markup: Markup) -> dict[str, list[str]]:
    """Cells by heading; columns without any number are left out."""
    best, calm = _best(found, rows)
    table = {
        "Method": [markup.plain(found.label[r]) for r in rows],
        "Accuracy (%)": _cells(100 * found.accuracy[rows], 100 * found.accuracy_sd[rows], 1, markup, best),
        "ECE (%)": _cells(100 * found.ece[rows], 100 * found.ece_sd[rows], 1, markup, calm),
        "Step time": _cells(found.seconds[rows], found.seconds_sd[rows], 2, markup, unit="\N{MULTIPLICATION SIGN}"),
        "Memory": _cells(found.memory[rows], found.memory_sd[rows], 2, markup, unit="\N{MULTIPLICATION SIGN}"),
        "To vanilla (points)": [_difference(found, r, markup) for r in rows],
        "Seeds": [str(found.seeds[r]) for r in rows],
    }
    empty = [head for head, cells in table.items() if all(cell == markup.plain("\N{EN DASH}") for cell in cells)]
    same = ["Seeds"] if len(set(found.seeds[rows])) == 1 else []
    return {head: cells for head, cells in table.items() if head not in empty + same}


def _cells(
    means: np.ndarray, spreads: np.ndarray, digits: int, markup: Markup, best: int | None = None, unit: str = ""
) -> list[str]:
    """`91.3 +- 0.4` of every row; the number in `best` stands out."""
    cells = []
    for i, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
        if np.isnan(mean):
            cells.append(markup.plain("\N{EN DASH}"))
            continue
        number = (markup.bold if i == best else markup.plain)(f"{mean:.{digits}f}{unit}")
        beside = "" if np.isnan(spread) or unit else markup.small(f"\N{PLUS-MINUS SIGN}{spread:.{digits}f}")
        cells.append(number + beside)
    return cells


def _difference(found: Comparison, row: int, markup: Markup) -> str:
    """`+1.2 [-3.4, +5.8]`"""
    mean, low, high = (100 * v[row] for v in (found.difference, found.difference_low, found.difference_high))
    if np.isnan(mean):
        return markup.plain("\N{EN DASH}")
    beside = "" if np.isnan(low) else markup.small(f"[{_signed(low)}, {_signed(high)}]")
    return markup.plain(_signed(mean)) + beside


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _meaning(found: Comparison, rows: np.ndarray, mark: str) -> list[str]:
    """What the numbers of a table mean, in sentences."""
    owned = np.isin(found.run_row, rows)
    seeds = ", ".join(str(s) for s in np.unique(found.run_seed[owned]))
    images, error = found.test_images[rows[0]], 100 * np.nanmax(found.sampling_error[rows])
    many = found.seeds[rows].max() > 1
    return [
        f"Test accuracy: {found.protocol[rows[0]]}; ECE: 15 bins, final weights.",
        f"{count_of_seeds(found.seeds[rows]).capitalize()} ({seeds})"
        + ("; mean \N{PLUS-MINUS SIGN} sample standard deviation." if many else ", so no spread is known."),
        *_compared(found, rows),
        f"The {images} test images alone leave a standard error of {error:.1f} points.",
        *([_standing_out(found, rows, mark)] if many else []),
    ]


def _standing_out(found: Comparison, rows: np.ndarray, mark: str) -> str:
    best = _best(found, rows)
    if best == (None, None):
        return "No method's 95 % interval over seeds is clear of all others."
    return f"{mark}: 95 % interval over seeds clear of all others."


def _best(found: Comparison, rows: np.ndarray) -> tuple[int | None, int | None]:
    """Which of the rows stand out in accuracy and in ECE."""
    return (
        separated(found.accuracy_low[rows], found.accuracy_high[rows]),
        separated(found.ece_low[rows], found.ece_high[rows], lowest=True),
    )


def _compared(found: Comparison, rows: np.ndarray) -> list[str]:
    """What was compared with vanilla, or why it was not."""
    costs = "Step time and peak memory are multiples of vanilla."
    paired = "To vanilla: difference of accuracy, paired by seed, with its 95 % interval."
    lines = [costs] if not np.isnan(found.seconds[rows]).all() or not np.isnan(found.memory[rows]).all() else []
    lines += [paired] if not np.isnan(found.difference[rows]).all() else []
    return lines or ["No vanilla run of this setting, so neither cost nor difference is given."]

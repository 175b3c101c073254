"""The comparison of runs as a table: plain text, CSV with all digits, LaTeX (adjustbox, booktabs, siunitx).

One table a setting: different data, models or lengths of training never share one. A number is in bold only where its
95 % interval over seeds lies clear of every other row's; with two seeds that is rare, and should be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.analysis.compare import Comparison, count_of_seeds, separated
from workbench.config import choose
from workbench.figures import tabular
from workbench.figures.tabular import Column, Table, numbers
from workbench.figures.tabular import escape as escape


def text(found: Comparison) -> str:
    """For a terminal: of every setting a title, aligned columns, and what the numbers mean; then where to read on."""
    tables = "\n\n\n".join(tabular.text(table) for table in tables_of(found, "*"))
    return "\n".join([tables, *found.further()]) + "\n"


def csv(found: Comparison) -> str:
    """All columns of `Comparison.to_frame()`, all digits, fractions."""
    return found.to_frame().to_csv(index=False)


def latex(found: Comparison) -> str:
    """A table environment a setting, as `tabular.latex` makes it; the caption states the protocol."""
    return "\n".join(tabular.latex(table) for table in tables_of(found, "Bold"))


def tables_of(found: Comparison, mark: str) -> list[Table]:
    """A table a setting. `mark`: what the notes call a number that stands out."""
    return [
        Table(
            title=f"{found.setting[rows[0]]} ({found.protocol[rows[0]]})",
            columns=_columns(found, rows),
            notes=_meaning(found, rows, mark),
            caption=f"Results on {found.setting[rows[0]]}.",
            label="tab:methods" + (f"-{i + 1}" if i else ""),
        )
        for i, rows in enumerate(_settings(found))
    ]


TABLES: Mapping[str, Callable[[Comparison], str]] = {"txt": text, "csv": csv, "tex": latex}


def save_tables(found: Comparison, stem: str | Path, formats: Sequence[str] = ("txt", "csv", "tex")) -> list[Path]:
    """Write `stem.txt`, `stem.csv`, `stem.tex`; gives the paths. The folder is made where it is missing."""
    from workbench.runs.folder import make_folder, write_bytes

    writers = {kind: choose(TABLES, kind, "table format") for kind in formats}
    folder = Path(stem).parent
    make_folder(folder)
    paths = {Path(f"{stem}.{kind}"): write for kind, write in writers.items()}
    for path, write in paths.items():
        write_bytes(path, write(found).encode())
    return list(paths)


# ---------------------------------------------------------------------------------------------------------- the cells


def _settings(found: Comparison) -> list[np.ndarray]:
    """Row indices, setting by setting."""
    keys = list(zip(found.setting, found.protocol, strict=True))
    return [np.array([i for i, k in enumerate(keys) if k == key]) for key in dict.fromkeys(keys)]


def _columns(found: Comparison, rows: np.ndarray) -> list[Column]:
    """The seeds have a column only where they differ."""
    best, calm = _best(found, rows)
    times = "\N{MULTIPLICATION SIGN}"
    columns = [
        Column("Method", [found.label[r] for r in rows], words=True),
        numbers("Accuracy (%)", 100 * found.accuracy[rows], 100 * found.accuracy_sd[rows], best=best),
        numbers("ECE (%)", 100 * found.ece[rows], 100 * found.ece_sd[rows], best=calm),
        numbers(f"Step time ({times})", found.seconds[rows], digits=2),
        numbers(f"Memory ({times})", found.memory[rows], digits=2),
        _differences(found, rows),
    ]
    same = len(set(found.seeds[rows])) == 1
    return columns if same else [*columns, Column("Seeds", [str(found.seeds[r]) for r in rows])]


def _differences(found: Comparison, rows: np.ndarray) -> Column:
    """`+1.2 [-3.4, +5.8]`"""
    means = ["" if np.isnan(found.difference[r]) else f"{100 * found.difference[r]:+z.1f}" for r in rows]
    intervals = [
        "" if np.isnan(found.difference_low[r])
        else f"[{_signed(100 * found.difference_low[r])}, {_signed(100 * found.difference_high[r])}]"
        for r in rows
    ]  # fmt: skip
    return Column("To vanilla (points)", means, intervals if any(intervals) else ())


def _signed(value: float) -> str:
    return f"{value:+z.1f}".replace("-", "\N{MINUS SIGN}")


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
        *found.ledger(rows),
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
    if not lines and "vanilla" not in {found.method[r] for r in rows}:
        return ["No vanilla run of this setting, so neither cost nor difference is given."]
    return lines + [f"No cost is given: {why}." for why in found.costs_missing(rows)]

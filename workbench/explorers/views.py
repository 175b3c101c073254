"""What the results explorer can show of finished runs: paper figures and analyses, as figure and table. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.analysis import ACROSS, ANALYSES, Result, analyse, stored
from workbench.config import UsageError, shown
from workbench.explorers.progress import progress
from workbench.figures import FIGURES, render
from workbench.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LONGEST = 40
"""Rows of a table that are shown; all of them are exported."""
SHARES = frozenset((
    "accuracy", "accuracy_sd", "accuracy_low", "accuracy_high", "sampling_error", "low", "high", "difference",
    "difference_low", "difference_high", "ece", "ece_sd", "ece_low", "ece_high", "mce", "signed_gap", "adaptive_ece",
    "classwise_ece", "ece_before", "ece_after", "confidence", "clean", "corrupted", "lost", "mean_corruption_error",
    "worst", "worst_accuracy", "clean_error",
))  # fmt: skip
"""Columns of tables that are shown in percent, as figures have them; what is exported are shares."""
MULTIPLES = {"seconds": "step time", "seconds_sd": "step time SD", "memory": "memory", "memory_sd": "memory SD"}
"""Columns that are multiples of plain training's."""
CAPITALS = ("ece", "mce", "nll", "sd", "se", "auroc", "fpr95", "cka")
INSTANT = frozenset({"predictions", *ACROSS})
"""Needs of analyses that take no net and so are computed at once."""


def views() -> dict[str, str]:
    """What there is to choose: key by text, figures first."""
    figures = {f"figure: {name}": f"figure:{name}" for name in FIGURES}
    return figures | {f"analysis: {name}": f"analysis:{name}" for name in ANALYSES}


def about(view: str) -> str:
    """The question that a view answers."""
    kind, _, name = view.partition(":")
    table: Mapping[str, Any] = FIGURES if kind == "figure" else ANALYSES
    return str(table[name].summary)


def computed_at_once(view: str) -> bool:
    """Whether the view needs no net."""
    kind, _, name = view.partition(":")
    return kind == "figure" or ANALYSES[name].needs in INSTANT


def results(runs: Sequence[Run], name: str) -> list[Result]:
    """The results of an analysis over runs: computed where that takes no net, else those that are stored.

    UsageError, with the command that makes them, where some are not stored.
    """
    if ANALYSES[name].needs not in INSTANT:
        return stored(runs, name)
    found: Any = analyse(list(runs), name)
    return found if isinstance(found, list) else [found]


def parts(runs: Mapping[str, Run], view: str) -> list[str]:
    """What a view shows one at a time, a run (by its label) or a method; empty where it shows all at once."""
    kind, _, name = view.partition(":")
    if kind == "figure":
        pages = FIGURES[name].pages
        return [] if pages is None else pages(list(runs.values()))
    return [] if across(name) else list(runs)


def draw(runs: Sequence[Run], view: str, part: int = 0, venue: str = "cvpr", columns: int = 2) -> Figure:
    """The figure of a view; `part`: which of its `parts`."""
    kind, _, name = view.partition(":")
    if kind == "figure":
        pages = FIGURES[name].pages
        page = {} if pages is None else {"method": pages(runs)[part]}
        return render(runs, name, venue, columns, **page)
    if name == "calibration":  # with the method's name and colour, as papers have it
        return render([runs[part]], "reliability", venue, columns)
    found = results(runs, name)
    return found[min(part, len(found) - 1)].figure(venue, columns)


def frame(runs: Sequence[Run], view: str) -> pd.DataFrame | None:
    """The numbers behind a view, a row each; None for a figure that is made of pictures or curves alone."""
    import pandas as pd

    kind, _, name = view.partition(":")
    if kind == "figure":
        name = {"tradeoff": "compare", "critical": "ranking", "reliability": "calibration"}.get(name, name)
    if name not in ANALYSES:
        return None
    return pd.concat([one.summary() for one in results(runs, name)], ignore_index=True)


def damage(run: Run) -> str:
    """What of a finished run can't be read, in a line; empty where all can."""
    readers: tuple[Callable[[], Any], ...] = (lambda: run.result, run.predictions, run.samples, lambda: run.history)
    for read in readers:
        try:
            read()
        except (UsageError, OSError) as error:
            return " ".join(str(error).split())
        except (KeyError, TypeError, AttributeError) as error:
            return f"{run.path} is not as this version writes runs: {shown(error)}"
    standing = progress(run)
    return standing.message if standing.state == "unreadable" else ""


def html(table: pd.DataFrame) -> str:
    """The table for a page, its texts escaped, the first LONGEST rows; what is the same in all rows stands below."""
    rows = _for_reading(table.head(LONGEST).dropna(axis=1, how="all"))
    same = [c for c in rows.columns[1:] if len(rows) > 1 and len({str(value) for value in rows[c]}) == 1]
    told = ", ".join(f"{c} {_told(rows[c].iloc[0])}" for c in same)
    lines = [f"The same in all rows: {told}."] if same else []
    if len(table) > LONGEST:
        lines.append(f"{len(table) - LONGEST} further rows are in the exported CSV.")
    page = rows.drop(columns=same).to_html(index=False, float_format=_told, border=0, na_rep="–", justify="left")
    page = page.replace("<table ", '<table cellpadding="5" ', 1)
    still = "white-space:normal; position:sticky; left:0; max-width:min(860px, 55vw)"  # where the table is scrolled
    notes = "".join(f'<p style="{still}">{escape(line)}</p>' for line in lines)
    return f'<div style="line-height:1.35; white-space:nowrap">{page}{notes}</div>'


def _for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The table with shares in percent, and with headings in words and units."""
    shown = table.copy()
    for column in SHARES & set(table.columns):
        if table[column].dtype.kind == "f":
            shown[column] = 100 * table[column]
    return shown.rename(columns={c: _heading(c, shown[c].dtype.kind == "f") for c in shown.columns})


def _heading(column: str, number: bool) -> str:
    if number and column in MULTIPLES:
        return f"{MULTIPLES[column]} (× plain)"
    words = " ".join(word.upper() if word in CAPITALS else word for word in str(column).split("_"))
    return f"{words} (%)" if number and column in SHARES else words


def _told(value: object) -> str:
    """A number in four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_table(runs: Sequence[Run], view: str, stem: Path) -> list[Path]:
    """The whole table as `<stem>.csv`, all digits; gives the files, none for a view without a table."""
    import pandas as pd

    from workbench.runs.folder import write_bytes

    table = frame(runs, view)
    kind, _, name = view.partition(":")
    if table is None:
        return []
    if kind == "analysis":
        table = pd.concat([one.to_frame() for one in results(runs, name)], ignore_index=True)
    path = Path(f"{stem}.csv")
    write_bytes(path, table.to_csv(index=False).encode())
    return [path]


def columns_of(view: str) -> int:
    """Columns of a page that suit the view: one for the result of a single run."""
    kind, _, name = view.partition(":")
    return 2 if kind == "figure" or across(name) else 1


def across(name: str) -> bool:
    """Whether an analysis gives one result over all runs."""
    return ANALYSES[name].joint or ANALYSES[name].needs in ACROSS

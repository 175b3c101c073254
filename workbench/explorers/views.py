"""What the results explorer can show of finished runs: paper figures and analyses, as figure and table. No widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.analysis import ACROSS, ANALYSES, Result, analyse, stored
from workbench.figures import FIGURES, render
from workbench.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LONGEST = 40
"""Rows of a table that are shown; all of them are exported."""
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


def draw(runs: Sequence[Run], view: str, part: int = 0, venue: str = "cvpr", columns: int = 2) -> Figure:
    """The figure of a view; `part`: which result, for an analysis that gives one a run."""
    kind, _, name = view.partition(":")
    if kind == "figure":
        return render(runs, name, venue, columns)
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


def html(table: pd.DataFrame) -> str:
    """The table for a page, its texts escaped, the first LONGEST rows."""
    more = f"<p>{len(table) - LONGEST} further rows are in the exported CSV.</p>" if len(table) > LONGEST else ""
    shown = table.head(LONGEST).dropna(axis=1, how="all")
    page = shown.to_html(index=False, float_format=lambda v: f"{v:.4g}", border=0, na_rep="–", justify="left")
    return f'<div style="overflow:auto; max-width:100%; max-height:420px; line-height:1.35">{page}{more}</div>'


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

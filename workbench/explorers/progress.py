"""How trainings stand, from their run folders alone: numbers and curves. No widgets here."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from workbench import style
from workbench.config import UsageError, shown
from workbench.runs import Run, labelled
from workbench.runs.handle import COMPLETE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 8
"""Curves in one figure that are shown."""
ROWS = 20
"""Rows in one table that are shown."""
DASHES = tuple((0, (3 * k, 1.5, 1, 1.5)) for k in range(1, SHOWN))
"""Lines of further runs of a method, which share its colour and its marker."""
COLUMNS = ("epoch", "train_loss", "test_accuracy", "seconds", "images")
"""What is shown of every epoch in a history."""
ENDED = frozenset({"done", "failed", "interrupted", "not begun", "unreadable"})
"""States that a run does not leave unless a file of its folder is written; a running one may just vanish."""
Stamp: TypeAlias = tuple[tuple[int, int], ...]
COLORS = {"running": "#2d6a4f", "done": "#17458f", "failed": "#a3262a", "interrupted": "#8a5a00"}
"""Of the states in tables; others are grey."""


@dataclass(frozen=True)
class Progress:
    """Where one run stands."""

    name: str
    state: str
    """waiting, running, done, failed, interrupted, not begun, or unreadable."""
    done: float
    """Epochs that are done, the part of the present one included."""
    epochs: int
    speed: float | None
    """Images a second, of the last whole epoch."""
    seconds_left: float | None
    accuracy: float | None
    """On the test images after the last whole epoch, 0 to 1."""
    message: str
    """Why it failed, or never began."""


class Watch:
    """Looks at runs again and again, and reads only what has changed since the last look: of a run that has ended and
    whose files are as they were, nothing but their times."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Stamp, Progress]] = {}

    def look(self, found: Iterable[Run]) -> tuple[dict[str, Run], dict[str, Progress]]:
        """The runs, and how each of them stands, by name; by path where several have the same name."""
        named = labelled(found)
        self._known = {run.path: self._looked_at(run, name) for name, run in named.items()}
        return named, {name: self._known[run.path][1] for name, run in named.items()}

    def _looked_at(self, run: Run, name: str) -> tuple[Stamp, Progress]:
        stamp = _stamp(run.path)
        before = self._known.get(run.path)
        if before is not None and before[0] == stamp and before[1].name == name and before[1].state in ENDED:
            return before
        return stamp, progress(run, name)


def _stamp(path: Path) -> Stamp:
    """When the files of a run were written, and how long they are."""
    return tuple(_time_and_length(path / file) for file in ("config.yaml", "history.jsonl", "status.json", *COMPLETE))


def _time_and_length(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def progress(run: Run, name: str = "") -> Progress:
    """Read how a run stands; one that can't be read is told as such, with the reason. `name`: what to call it."""
    name = name or run.name
    try:
        return _read(run, name)
    except (UsageError, OSError) as error:
        why = str(error)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        why = f"{run.path}: history.jsonl and status.json are not as this version writes them: {shown(error)}"
    return Progress(name, "unreadable", 0.0, 0, None, None, None, " ".join(why.split()))


def _read(run: Run, name: str) -> Progress:
    config, history, status, state = run.config, run.history, run.status, run.state
    lacking = [column for column in COLUMNS if column not in history.columns] if len(history) else []
    if lacking:
        expected = f"expected {', '.join(COLUMNS)} of every epoch"
        raise UsageError(f"{run.path / 'history.jsonl'} has no {', '.join(lacking)}; {expected}")
    last = history.iloc[-1] if len(history) else None
    running = state == "running"
    within = (status["step"] / status["steps"] + status["epoch"] - 1) if running and "step" in status else 0.0
    left = status.get("seconds_left") if running else None
    return Progress(
        name=name,
        state=state,
        done=max(float(len(history)), float(within)),
        epochs=config.epochs,
        speed=None if last is None or not last["seconds"] > 0 else _known(last["images"] / last["seconds"]),
        seconds_left=_known(left),
        accuracy=None if last is None else _known(last["test_accuracy"]),
        message=str(status.get("message", "")) if state in ("failed", "not begun") else "",
    )


def _known(value: float | None) -> float | None:
    """A number; None where there is none to tell."""
    return None if value is None or not np.isfinite(value) else float(value)


def table(found: Sequence[Progress]) -> str:
    """The runs as an HTML table with a bar each, the first ROWS of them."""
    if not found:
        return '<div style="color:#666">no runs yet; launch(RunConfig(...)) or `workbench train` starts one</div>'
    heads = ("run", "state", "epochs", "", "images/s", "left", "last accuracy")
    head = "".join(f'<th style="text-align:left; padding:2px 12px 2px 0">{text}</th>' for text in heads)
    rows = "".join(map(_row, found[:ROWS]))
    more = f"<div>and {len(found) - ROWS} more; choose runs to see them</div>" if len(found) > ROWS else ""
    return f'<table style="border-collapse:collapse; line-height:1.5">{head}{rows}</table>{more}'


def _row(p: Progress) -> str:
    share = p.done / p.epochs if p.epochs else 0.0
    full = f"width:{100 * min(share, 1):.0f}%; height:8px; border-radius:4px; background:{_color(p)}"
    empty = "width:80px; height:8px; border-radius:4px; background:#e6e6e6"
    bar = f'<div style="{empty}"><div style="{full}"></div></div>'
    cells = [
        html.escape(p.name),
        f'<span style="color:{_color(p)}">{p.state}</span>',
        f"{p.done:.1f} of {p.epochs}" if p.epochs else "–",
        bar,
        f"{p.speed:,.0f}" if p.speed else "–",
        duration(p.seconds_left),
        f"{p.accuracy:.1%}" if p.accuracy is not None else "–",
    ]
    breaks = ("normal", *(len(cells) - 1) * ("nowrap",))  # a long name takes two lines rather than push accuracy out
    row = "".join(
        f'<td style="padding:2px 12px 2px 0; white-space:{kind}">{cell}</td>'
        for cell, kind in zip(cells, breaks, strict=True)
    )
    why = f'<tr><td colspan="7" style="color:{_color(p)}">{html.escape(p.message)}</td></tr>' if p.message else ""
    return f"<tr>{row}</tr>{why}"


def _color(p: Progress) -> str:
    return COLORS.get(p.state, style.MUTED)


def duration(seconds: float | None) -> str:
    """A length of time in the two largest units: 45 s, 3 min 20 s, 2 h 5 min; a dash where it is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def render(runs: Sequence[Run], venue: str = "cvpr", columns: int = 2) -> Figure:
    """Test accuracy and training loss over the epochs so far, a line a run (the first SHOWN of them), finished or not.

    UsageError where no run has finished an epoch yet.
    """
    begun = list(islice(((run, history) for run in runs if len(history := run.history)), SHOWN))
    if not begun:
        raise UsageError("no chosen run has finished an epoch yet; curves come with the first")
    labels = _labels([run for run, _ in begun])
    with style.paper(venue, columns) as width:
        rows = -(-len(begun) // style.legend_columns(width, labels))
        beside = width >= 4.5
        figure = style.new_figure(width, (0.34 if beside else 0.9) * width + 0.14 * rows)
        axes = figure.subplots(1, 2) if beside else figure.subplots(2, 1)
        for ax, column, scale, text in zip(
            axes, ("test_accuracy", "train_loss"), (100, 1), ("test accuracy (%)", "training loss"), strict=True
        ):
            _lines(ax, begun, labels, column, scale)
            ax.set(xlabel="epoch", ylabel=text)
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=style.legend_columns(width, labels),
            title=f"{len(begun)} of {len(runs)} runs; choose others to see them" if len(runs) > SHOWN else None,
        )
        return figure


def _labels(runs: Sequence[Run]) -> list[str]:
    """Method and seed; the run's name where that does not tell it from another one."""
    labels = [f"{style.label(run.config.method)}, seed {run.config.seed}" for run in runs]
    told = [run.name if labels.count(label) > 1 else label for run, label in zip(runs, labels, strict=True)]
    return [text.replace("$", r"\$") for text in told]  # no formula


def _lines(
    ax: Axes, begun: Sequence[tuple[Run, pd.DataFrame]], labels: Sequence[str], column: str, scale: float
) -> None:
    count: Counter[str] = Counter()
    for (run, history), label in zip(begun, labels, strict=True):
        look = style.look(run.config.method)
        line = (look.line, *DASHES)[count[run.config.method] % (1 + len(DASHES))]
        count[run.config.method] += 1
        ax.plot(
            history["epoch"], scale * history[column], color=look.color, linestyle=line,
            marker=look.marker, markersize=look.size, markevery=max(1, len(history) // 6), label=label,
        )  # fmt: skip
    ax.set_xlim(0.5, max(run.config.epochs for run, _ in begun) + 0.5)
    ax.locator_params(axis="x", integer=True)


def standing(found: Sequence[Progress]) -> Figure:
    """The runs as lines of text, for when there is no curve yet."""
    lines = [f"{p.name}: {p.state}, {p.done:.1f} of {p.epochs} epochs" for p in found[:SHOWN]] or ["no runs yet"]
    with style.paper("cvpr", 2) as width:
        figure = style.new_figure(width, 0.1 + 0.17 * len(lines), layout="none")
        height = figure.get_figheight()
        for i, text in enumerate(lines):
            figure.text(0.01, 1 - (0.12 + 0.17 * i) / height, text, va="center", color=style.INK, parse_math=False)
        return figure

"""How trainings stand, from their run folders alone: numbers and curves. No widgets here."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench import style
from workbench.config import UsageError
from workbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 8
"""Curves in one figure that are shown."""
COLORS = {"running": "#2d6a4f", "done": "#17458f", "failed": "#a3262a", "interrupted": "#8a5a00"}
"""Of the states in tables; others are grey."""


@dataclass(frozen=True)
class Progress:
    """Where one run stands."""

    name: str
    state: str
    """waiting, running, done, failed, interrupted, or unreadable."""
    done: float
    """Epochs that are done, the part of the present one included."""
    epochs: int
    speed: float | None
    """Images a second, of the last whole epoch."""
    seconds_left: float | None
    accuracy: float | None
    """On the test images after the last whole epoch, 0 to 1."""
    message: str
    """Why it failed."""


def progress(run: Run) -> Progress:
    """Read how a run stands; one that can't be read is told as such, with the reason."""
    try:
        history, status, config, state = run.history, run.status, run.config, run.state
    except UsageError as error:
        return Progress(run.name, "unreadable", 0.0, 0, None, None, None, str(error))
    last = history.iloc[-1] if len(history) else None
    running = state == "running"
    within = (status["step"] / status["steps"] + status["epoch"] - 1) if running and "step" in status else 0.0
    return Progress(
        name=run.name,
        state=state,
        done=max(float(len(history)), within),
        epochs=config.epochs,
        speed=None if last is None or not last["seconds"] else float(last["images"] / last["seconds"]),
        seconds_left=status.get("seconds_left") if running else None,
        accuracy=None if last is None else float(last["test_accuracy"]),
        message=str(status.get("message", "")) if state == "failed" else "",
    )


def table(found: Sequence[Progress]) -> str:
    """The runs as an HTML table with a bar each."""
    if not found:
        return '<div style="color:#666">no runs chosen</div>'
    heads = ("run", "state", "epochs", "", "images/s", "left", "accuracy")
    head = "".join(f'<th style="text-align:left; padding:2px 14px 2px 0">{text}</th>' for text in heads)
    return f'<table style="border-collapse:collapse; line-height:1.5">{head}{"".join(map(_row, found))}</table>'


def _row(p: Progress) -> str:
    share = p.done / p.epochs if p.epochs else 0.0
    full = f"width:{100 * min(share, 1):.0f}%; height:8px; border-radius:4px; background:{_color(p)}"
    empty = "width:120px; height:8px; border-radius:4px; background:#e6e6e6"
    bar = f'<div style="{empty}"><div style="{full}"></div></div>'
    cells = [
        html.escape(p.name),
        f'<span style="color:{_color(p)}">{p.state}</span>',
        f"{p.done:.1f} of {p.epochs}",
        bar,
        f"{p.speed:,.0f}" if p.speed else "–",
        duration(p.seconds_left),
        f"{p.accuracy:.1%}" if p.accuracy is not None else "–",
    ]
    row = "".join(f'<td style="padding:2px 14px 2px 0; white-space:nowrap">{cell}</td>' for cell in cells)
    why = f'<tr><td colspan="7" style="color:{_color(p)}">{html.escape(p.message)}</td></tr>' if p.message else ""
    return f"<tr>{row}</tr>{why}"


def _color(p: Progress) -> str:
    return COLORS.get(p.state, style.MUTED)


def duration(seconds: float | None) -> str:
    """A length of time in the two largest units: 45 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def render(runs: Sequence[Run], venue: str = "cvpr", columns: int = 2) -> Figure:
    """Test accuracy and training loss over the epochs so far, a line a run (the first SHOWN of them), finished or not.

    UsageError where no run has finished an epoch yet.
    """
    begun = [run for run in runs if len(run.history)][:SHOWN]
    if not begun:
        raise UsageError("no chosen run has finished an epoch yet; curves come with the first")
    labels = [f"{style.label(run.config.method)}, seed {run.config.seed}" for run in begun]
    labels = [label if labels.count(label) == 1 else run.name for label, run in zip(labels, begun, strict=True)]
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
        )
        return figure


def _lines(ax: Axes, runs: Sequence[Run], labels: Sequence[str], column: str, scale: float) -> None:
    for run, label in zip(runs, labels, strict=True):
        look, history = style.look(run.config.method), run.history
        shade = 1 - 0.55 * min(run.config.seed % 4, 3) / 3  # seeds of a method share its colour
        ax.plot(
            history["epoch"], scale * history[column], color=look.color, linestyle=look.line, alpha=shade,
            marker=look.marker, markersize=look.size, markevery=max(1, len(history) // 6), label=label,
        )  # fmt: skip
    ax.set_xlim(0.5, max(run.config.epochs for run in runs) + 0.5)
    ax.locator_params(axis="x", integer=True)


def standing(found: Sequence[Progress]) -> Figure:
    """The runs as lines of text, for when there is no curve yet."""
    lines = [f"{p.name}: {p.state}, {p.done:.1f} of {p.epochs} epochs" for p in found[:SHOWN]] or ["no runs yet"]
    with style.paper("cvpr", 2) as width:
        figure = style.new_figure(width, 0.1 + 0.17 * len(lines), layout="none")
        height = figure.get_figheight()
        for i, text in enumerate(lines):
            figure.text(0.01, 1 - (0.12 + 0.17 * i) / height, text, va="center", color=style.INK)
        return figure

"""Live training: the runs below a folder as they go, from any notebook, at any time, without holding the kernel up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as widgets

from workbench.config import UsageError
from workbench.explorers import parts
from workbench.explorers.base import Explorer
from workbench.explorers.progress import Progress, progress, render, standing, table
from workbench.explorers.screen import Screen
from workbench.figures.replayed import replayed
from workbench.methods import METHODS
from workbench.runs import Run, launch, replay, runs

PERIOD = 1.0
"""Seconds between two looks at the run folders."""


class LiveTraining(Explorer):
    """Curves, speed, time left and the last mixed batch of runs, with buttons to stop them and to go on.

    where: a folder (all runs below it, new ones as they come), a run, or several runs. It reads run folders and nothing
    else, so it shows a training of another process, of another notebook, or of a page that was closed long ago.
    """

    name = "live"

    def __init__(self, where: str | Path | Run | Sequence[Run] = "out/runs", *, key: str = "") -> None:
        super().__init__(key)
        self._look = _looker(where)
        self._seen: dict[str, Progress] = {}
        self._runs: dict[str, Run] = {}
        self._batch_of: tuple[str, int, int] | None = None
        size = widgets.Layout(width="300px", height="130px")
        self.choice = self.watch(widgets.SelectMultiple(options=[], layout=size))
        self.stop = self.on_click(parts.button("Stop", "End the chosen trainings; they can be resumed"), self._stop)
        self.resume = self.on_click(
            parts.button("Resume", "Go on with the chosen runs, each in a process of its own"), self._resume
        )
        self.batch_now = self.on_click(parts.button("Batch of now", "Show the step that runs now"), self._show_batch)
        self.table = widgets.HTML(layout=widgets.Layout(overflow="auto", flex="1 1 400px"))
        self.curves = Screen()
        self.batch = Screen()
        chooser = parts.column(
            parts.heading("Runs (hold Ctrl or Shift to choose several)"),
            self.choice,
            parts.row(self.stop, self.resume, self.batch_now),
        )
        self.export = parts.Export(self, lambda venue, columns: render(self._chosen(), venue, columns), "out/curves")
        self.lay_out(parts.row(chooser, self.table), self.curves.widget, self.batch.widget, self.export.row)
        self._read()
        self.settle()
        self.every(PERIOD, self._refresh)

    # ---------------------------------------------------------------------------------------- what it shows

    def draw(self) -> None:
        """Table, curves, and the last batch where it costs no net."""
        chosen = self._chosen()
        self.table.value = table([self._seen[run.name] for run in chosen])
        self.stop.disabled = not any(self._seen[run.name].state == "running" for run in chosen)
        self.resume.disabled = not any(self._seen[run.name].state in ("interrupted", "failed") for run in chosen)
        self.batch_now.disabled = not chosen
        if not any(self._seen[run.name].done >= 1 for run in chosen):
            self.curves.clear()
            self.batch.clear()
            return
        self.curves.show(render(chosen))
        if chosen[0].config.method in METHODS and not METHODS[chosen[0].config.method].needs_net:
            self._show_batch()

    def png(self) -> bytes:
        """The curves of the chosen runs; before the first epoch is done, how they stand."""
        chosen = self._chosen()
        begun = any(self._seen[run.name].done >= 1 for run in chosen)
        return parts.figure_png(render(chosen) if begun else standing([self._seen[run.name] for run in chosen]))

    def _chosen(self) -> list[Run]:
        """The chosen runs, or all where none is chosen; those that can't be read are left out."""
        names = self.choice.value or tuple(self._runs)
        return [self._runs[n] for n in names if n in self._runs and self._seen[n].state != "unreadable"]

    def _read(self) -> bool:
        """Look at the folders; whether anything has changed."""
        self._runs = {run.name: run for run in self._look()}
        seen = {name: progress(run) for name, run in self._runs.items()}
        changed, self._seen = seen != self._seen, seen
        options = [(f"{p.state}  ·  {name}", name) for name, p in seen.items()]
        if options != list(self.choice.options):
            kept = tuple(name for name in self.choice.value if name in seen)
            self.choice.options = options  # this clears the choice
            self.choice.value = kept
        return changed

    def _refresh(self) -> None:
        before = self._seen
        if self._read():
            grown = {n for n, p in self._seen.items() if n not in before or int(p.done) != int(before[n].done)}
            states = {n for n, p in self._seen.items() if n in before and p.state != before[n].state}
            if grown or states:
                self.later()
            else:  # within an epoch only the table moves
                self.table.value = table([self._seen[run.name] for run in self._chosen()])
        wrong = [f"{n}: {p.message}" for n, p in self._seen.items() if p.state == "unreadable"]
        if wrong:
            self.tell(
                f"left out {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""), mistake=True
            )

    def _show_batch(self) -> None:
        """What the net saw last, of the first chosen run."""
        run = self._first()
        status, done = run.status, len(run.history)
        inside = run.state == "running" and "step" in status
        epoch, step = (int(status["epoch"]), max(1, int(status["step"]))) if inside else (max(done, 1), 1)
        if self._batch_of == (run.name, epoch, step):
            return
        self.batch.show(replayed(replay(run, min(epoch, run.config.epochs), step, quick=True)))
        self._batch_of = run.name, epoch, step

    # ---------------------------------------------------------------------------------------- what it does

    def _first(self) -> Run:
        chosen = self._chosen()
        if not chosen:
            raise UsageError("there is no run to show; start one with launch(RunConfig(...)) or `workbench train`")
        return chosen[0]

    def _stop(self) -> None:
        for run in self._chosen():
            run.stop()
        self.tell("stopping; the runs can be resumed from their last finished epoch")

    def _resume(self) -> None:
        going = [run for run in self._chosen() if run.state in ("interrupted", "failed", "waiting")]
        for run in going:
            launch(run.config, run.path.parent, run.name)
        self.tell(f"resumed {', '.join(run.name for run in going)}" if going else "no chosen run waits to be resumed")


def _looker(where: str | Path | Run | Sequence[Run]) -> Callable[[], list[Run]]:
    """What finds the runs, again and again."""
    if isinstance(where, Run):
        return lambda: [where]
    if isinstance(where, (str, Path)):
        return lambda: runs(where)
    given = list(where)
    if not all(isinstance(run, Run) for run in given):
        raise UsageError(f"LiveTraining takes a folder, a run or a list of runs, got {where!r}")
    return lambda: given

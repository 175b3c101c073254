"""Live training: the runs below a folder as they go, from any notebook, at any time, without holding the kernel up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as widgets

from workbench.config import RunConfig, UsageError
from workbench.data import DATASETS
from workbench.data.downloads import LAYOUTS
from workbench.explorers import parts
from workbench.explorers.base import Explorer
from workbench.explorers.progress import Progress, Watch, render, standing, table
from workbench.explorers.screen import Screen
from workbench.figures.replayed import replayed
from workbench.methods import METHODS
from workbench.runs import Run, launch, replay, runs

PERIOD = 1.0
"""Seconds between two looks at the run folders."""
REST = 3.0
"""Pause after a drawing that nobody asked for, in times that the drawing took: the kernel is there for others."""
STOPPED = ("running", "waiting")
"""States in which a run can be stopped."""
RESUMED = ("interrupted", "failed", "not begun")
"""States from which a run can go on, or begin."""
QUICK_SIDE = 64
"""Pixels of the side of pictures up to which an embedded data set is loaded in no time."""


class LiveTraining(Explorer):
    """Curves, speed, time left and the last mixed batch of runs, with buttons to stop them and to go on.

    where: a folder (all runs below it, new ones as they come), a run, or several runs. It reads run folders and nothing
    else, so it shows a training of another process, of another notebook, or of a page that was closed long ago.
    """

    name = "live"

    def __init__(self, where: str | Path | Run | Sequence[Run] = "out/runs", *, key: str = "") -> None:
        super().__init__(key)
        self._find = _finder(where)
        self._watch = Watch()
        self._seen: dict[str, Progress] = {}
        self._runs: dict[str, Run] = {}
        self._batch_of: tuple[Path, int, int] | None = None
        self._late = False
        self._rested_at = 0.0
        self.choice = self.watch(widgets.SelectMultiple(options=[]))
        self.stop = self.on_click(parts.button("Stop", "End the chosen trainings; they can be resumed"), self._stop)
        self.resume = self.on_click(
            parts.button("Resume", "Go on with the chosen runs, each in a process of its own"), self._resume
        )
        self.batch_now = self.on_click(parts.button("Batch of now", "Show the step that runs now"), self._show_batch)
        self.table = widgets.HTML(layout=widgets.Layout(overflow="auto", flex="1 1 640px"))
        self.curves = Screen()
        self.batch = Screen()
        buttons = parts.row(self.stop, self.resume, self.batch_now)
        text = "Runs (hold Ctrl or Shift to choose several)"
        chooser = parts.chooser(self.choice, text, buttons, height="130px")
        self.export = parts.Export(self, lambda venue, columns: render(self._readable(), venue, columns), "out/curves")
        self.lay_out(parts.row(chooser, self.table), self.curves.widget, self.batch.widget, self.export.row)
        self._read()
        self.settle()
        self.every(PERIOD, self._refresh)

    # ---------------------------------------------------------------------------------------- what it shows

    def draw(self) -> None:
        """Table, curves, and the last batch where it costs no net."""
        started, self._late = time.monotonic(), False
        self._show_standing()
        chosen = self._readable()
        if not chosen or self._batch_of is None or self._batch_of[0] != chosen[0].path:
            self._hide_batch()
        if any(self._seen[name].done >= 1 for name in self._names()):
            self.curves.show(render(chosen))
            if _is_quick(chosen[0].config):
                self._show_batch()
        else:
            self.curves.clear()
            self._hide_batch()
        ended = time.monotonic()
        self._rested_at = ended + REST * (ended - started)

    def png(self) -> bytes:
        """The curves of the chosen runs; before the first epoch is done, how they stand."""
        found = [self._seen[name] for name in self._names()]
        begun = any(p.done >= 1 for p in found)
        return parts.figure_png(render(self._readable()) if begun else standing(found))

    def free(self) -> None:
        self._runs, self._seen, self._watch = {}, {}, Watch()

    def _names(self) -> list[str]:
        """Of the chosen runs, or of all where none is chosen: then those that run come first."""
        if self.choice.value:
            return [name for name in self.choice.value if name in self._seen]
        return sorted(self._seen, key=lambda name: self._seen[name].state != "running")

    def _readable(self) -> list[Run]:
        return [self._runs[name] for name in self._names() if self._seen[name].state != "unreadable"]

    def _show_standing(self) -> None:
        """Table and buttons, which cost nothing."""
        found = [self._seen[name] for name in self._names()]
        self.table.value = table(found)
        self.stop.disabled = not any(p.state in STOPPED for p in found)
        self.resume.disabled = not any(p.state in RESUMED for p in found)
        self.batch_now.disabled = not self._readable()

    def _read(self) -> None:
        """Look at the folders."""
        self._runs, self._seen = self._watch.look(self._find())
        self.offer(self.choice, [(f"{p.state}  ·  {name}", name) for name, p in self._seen.items()])

    def _refresh(self) -> None:
        """Look again; draw where an epoch has ended or a state has changed, but leave the kernel time for others."""
        shown, before = self._names(), self._seen
        self._read()
        if self._seen == before and not self._late:
            return
        self._show_standing()
        now, then = ({n: (int(p.done), p.state) for n, p in seen.items()} for seen in (self._seen, before))
        self._late |= self._names() != shown or any(now.get(name) != then.get(name) for name in shown)
        if self._late and time.monotonic() >= self._rested_at:
            self.later()

    def _show_batch(self) -> None:
        """What the net saw last, of the first chosen run."""
        run = next(iter(self._readable()), None)
        if run is None:
            raise UsageError("there is no run to show; start one with launch(RunConfig(...)) or `workbench train`")
        status, done = run.status, len(run.history)
        inside = run.state == "running" and "step" in status
        epoch, step = (int(status["epoch"]), max(1, int(status["step"]))) if inside else (max(done, 1), 1)
        if self._batch_of == (run.path, epoch, step):
            return
        self.batch.show(replayed(replay(run, min(epoch, run.config.epochs), step, quick=True)))
        self._batch_of = run.path, epoch, step

    def _hide_batch(self) -> None:
        self.batch.clear()
        self._batch_of = None

    # ---------------------------------------------------------------------------------------- what it does

    def _asked_for(self, *states: str) -> list[Run]:
        """The chosen runs that are in one of these states; without a choice the only one that is, if it is the only
        one: no button acts on runs that nobody pointed at."""
        fitting = [name for name in self._names() if self._seen[name].state in states]
        if not fitting:
            raise UsageError(f"no {'chosen ' if self.choice.value else ''}run is {_either(states)}")
        if len(fitting) > 1 and not self.choice.value:
            raise UsageError(f"{len(fitting)} runs are {_either(states)}; choose those that are meant")
        return [self._runs[name] for name in fitting]

    def _stop(self) -> None:
        asked = self._asked_for(*STOPPED)
        for run in asked:
            run.stop()
        self.tell(f"stopping {_listed(asked)}; what is stopped can be resumed from its last finished epoch")

    def _resume(self) -> None:
        asked = self._asked_for(*RESUMED)
        for run in asked:
            launch(run.config, run.path.parent, run.name)
        self.tell(f"resumed {_listed(asked)}")


def _listed(found: Sequence[Run]) -> str:
    return ", ".join(run.name for run in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _either(states: Sequence[str]) -> str:
    return f"{', '.join(states[:-1])} or {states[-1]}"


def _is_quick(config: RunConfig) -> bool:
    """Whether a batch of such a run is there at once: no net looks into it, and the pictures need not be read."""
    known, data = config.method in METHODS, DATASETS.get(config.data)
    if not known or METHODS[config.method].needs_net or data is None:
        return False
    embedded = not data.takes_path and config.data not in LAYOUTS
    return embedded and (config.size or 0) <= QUICK_SIDE


def _finder(where: str | Path | Run | Sequence[Run]) -> Callable[[], list[Run]]:
    """What finds the runs, again and again."""
    if isinstance(where, Run):
        return lambda: [where]
    if isinstance(where, (str, Path)):
        return lambda: runs(where)
    given = list(where)
    if not all(isinstance(run, Run) for run in given):
        raise UsageError(f"LiveTraining takes a folder, a run or a list of runs, got {where!r}")
    return lambda: given

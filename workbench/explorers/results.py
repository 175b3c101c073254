"""Results: choose runs, choose a question, see figure and table, take both along."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import ipywidgets as widgets

from workbench.config import UsageError
from workbench.explorers import parts, views
from workbench.explorers.base import Explorer
from workbench.explorers.screen import Screen
from workbench.runs import Run, finished, labelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Results(Explorer):
    """Figures and analyses of finished runs, with their tables.

    where: a folder (all finished runs below it), or several folders. What takes a net is read where it is stored, and
    computed on request in a process of its own, so that the kernel stays free. Runs that can't be shown are named.
    """

    name = "results"

    def __init__(self, where: str | Path | Sequence[str | Path] = "out", *, key: str = "") -> None:
        super().__init__(key)
        self._where = [where] if isinstance(where, (str, Path)) else list(where)
        self._runs: dict[str, Run] = {}
        self._left_out: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.choice = self.watch(widgets.SelectMultiple(options=[]))
        self.view = self.watch(parts.dropdown("Show", list(views.views().items()), width="260px"))
        self.part = self.watch(parts.dropdown("Of run", [""], width="508px"))
        self.options = widgets.Text(
            placeholder="images=500 seed=1", description="Options", style=parts.WHOLE,
            layout=widgets.Layout(width="300px"),
        )  # fmt: skip
        self.compute = self.on_click(
            parts.button("Compute", "Run this analysis on the chosen runs, in a process of its own"), self._compute
        )
        self.again = self.on_click(parts.button("Look again", "Find new runs"), self._look_again)
        self.question = parts.line("", muted=True)
        self.screen = Screen()
        self.table = widgets.HTML(layout=widgets.Layout(width="calc(100% - 4px)", max_height="420px", overflow="auto"))
        self.table.add_class("wb-table")
        self.export = parts.Export(
            self,
            self._figure,
            _stem(self.view.value),
            lambda stem: views.write_table(list(self._chosen().values()), self.view.value, stem),
        )
        self._stem = self.export.file.value
        text = "Finished runs (hold Ctrl or Shift to choose several)"
        chooser = parts.chooser(self.choice, text, self.again, height="150px")
        asked = parts.column(
            self.view, self.question, self.part, parts.row(self.options, self.compute), width="510px", gap="8px"
        )
        self.lay_out(parts.row(chooser, asked), self.screen.widget, self.table, self.export.row)
        self._find()
        self.settle()
        self.every(1.0, self._poll)

    # ---------------------------------------------------------------------------------------- what it shows

    def draw(self) -> None:
        """Figure and table of the view, of the chosen runs."""
        view = self.view.value
        self.question.value = parts.line_text(views.about(view), muted=True)
        if self.export.file.value == self._stem:  # nobody typed a name of their own
            self.export.file.value = self._stem = _stem(view)
        self._offer_computing()
        try:
            self._draw_readable()
        except UsageError as error:
            self.screen.clear()
            self.table.value = ""
            ways = "" if views.computed_at_once(view) else "; or press Compute"
            raise UsageError(f"{error}{ways}") from None
        more = " ..." if len(self._left_out) > 3 else ""
        self.tell(f"left out {'; '.join(self._left_out[:3])}{more}" if self._left_out else "")

    def _draw_readable(self) -> None:
        """Draw; where that fails, leave out the runs whose files are damaged, and draw the others."""
        try:
            self._draw_chosen()
        except Exception:
            damaged = {label: why for label, run in self._chosen().items() if (why := views.damage(run))}
            if not damaged:
                raise
            self._runs = {label: run for label, run in self._runs.items() if label not in damaged}
            self._left_out += damaged.values()
            self.offer(self.choice, list(self._runs))
            self._draw_chosen()

    def _draw_chosen(self) -> None:
        self._offer_parts()
        runs = list(self._chosen().values())
        figure, table = self._figure(), views.frame(runs, self.view.value)
        self.screen.show(figure)
        self.table.value = "" if table is None else views.html(table)

    def png(self) -> bytes:
        """The figure of the view."""
        return parts.figure_png(self._figure())

    def _figure(self, venue: str = "cvpr", columns: int = 0) -> Figure:
        """The figure of the view; without `columns` over as many as suit it."""
        view, chosen = self.view.value, self._chosen()
        found = views.parts(chosen, view)
        part = found.index(self.part.value) if self.part.value in found else 0
        return views.draw(list(chosen.values()), view, part, venue, columns or views.columns_of(view))

    def free(self) -> None:
        self._runs.clear()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._end_process()

    def _chosen(self) -> dict[str, Run]:
        """The chosen runs by their labels, or all where none is chosen."""
        if not self._runs:
            reasons = f": {'; '.join(self._left_out[:3])}" if self._left_out else "; `workbench train` makes some"
            raise UsageError(f"no finished run below {', '.join(map(str, self._where))}{reasons}")
        return {label: self._runs[label] for label in self.choice.value or tuple(self._runs)}

    def _offer_parts(self) -> None:
        """A choice of the run or the method, for what shows one at a time."""
        found = views.parts(self._chosen(), self.view.value)
        self.part.description = "Of method" if self.view.value.startswith("figure:") else "Of run"
        self.part.layout.display = None if len(found) > 1 else "none"
        self.offer(self.part, found if len(found) > 1 else [""])

    def _offer_computing(self) -> None:
        """Something can be computed where it takes a net, and nothing is being computed."""
        at_once = views.computed_at_once(self.view.value)
        self.compute.disabled = at_once or self._process is not None
        self.options.disabled = at_once

    # ---------------------------------------------------------------------------------------- what it does

    def _find(self) -> None:
        found, self._left_out = finished(self._where)
        self._runs = labelled(found)
        self.offer(self.choice, list(self._runs))

    def _look_again(self) -> None:
        self._find()
        self.later()

    def _compute(self) -> None:
        """Start `workbench analyse` on the chosen runs; its results are kept in their folders."""
        if self._process is not None:
            raise UsageError("an analysis is being computed already; wait for it")
        name, chosen = self.view.value.partition(":")[2], self._chosen()
        command = [sys.executable, "-m", "workbench", "analyse", name, *(str(run.path) for run in chosen.values())]
        if self.options.value.strip():
            command += ["--options", *self.options.value.split()]
        self._log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - without a name: it goes with who holds it
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        self._offer_computing()
        self.tell(f"computing {name} of {len(chosen)} run{'s' if len(chosen) > 1 else ''} ...")

    def _poll(self) -> None:
        """Show how a computation goes, and its result when it is there."""
        if self._process is None or self._log is None:
            return
        code, lines = self._process.poll(), _lines(self._log)
        if code is None:
            self.tell(f"computing: {lines[-1]}" if lines else "computing ...")
            return
        self._end_process()
        self._offer_computing()
        if code:  # no drawing now: it would clear the line that says why
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            self.tell((errors or lines or [f"the analysis ended with code {code}"])[-1], mistake=True)
        else:
            self.later()

    def _end_process(self) -> None:
        if self._log is not None:
            self._log.close()
        self._process = self._log = None


def _lines(log: IO[bytes]) -> list[str]:
    """What was written, a line each, and each state of a progress bar; the child's place in the file is not moved."""
    text = os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace")
    return [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]


def _stem(view: str) -> str:
    """The file that an export of the view writes, unless another is named: views do not overwrite each other."""
    return f"out/{view.replace(':', '-')}"

"""Results: choose runs, choose a question, see figure and table, take both along."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets

from workbench.config import UsageError
from workbench.explorers import parts, views
from workbench.explorers.base import Explorer
from workbench.explorers.screen import Screen
from workbench.runs import Run, finished

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
        self._log: Path | None = None
        size = widgets.Layout(width="380px", height="150px")
        self.choice = self.watch(widgets.SelectMultiple(options=[], layout=size))
        self.view = self.watch(parts.dropdown("Show", list(views.views().items()), width="260px"))
        self.part = self.watch(parts.dropdown("Of run", [("", 0)], width="380px"))
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
        self.table = widgets.HTML(layout=widgets.Layout(width="100%", overflow="auto"))
        self.export = parts.Export(
            self,
            lambda venue, columns: views.draw(self._chosen(), self.view.value, self.part.value, venue, columns),
            "out/result",
            lambda stem: views.write_table(self._chosen(), self.view.value, stem),
        )
        chooser = parts.column(
            parts.heading("Finished runs (hold Ctrl or Shift to choose several)"), self.choice, self.again
        )
        asked = parts.column(
            self.view, self.question, self.part, parts.row(self.options, self.compute), width="480px", gap="8px"
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
        self.compute.disabled = self.options.disabled = views.computed_at_once(view) or self._process is not None
        self.screen.clear()
        self.table.value = ""
        runs = self._chosen()
        self._offer_parts(view, runs)
        try:
            self.screen.show(self._figure())
        except UsageError as error:
            ways = "" if views.computed_at_once(view) else "; or press Compute"
            raise UsageError(f"{error}{ways}") from None
        table = views.frame(runs, view)
        self.table.value = "" if table is None else views.html(table)
        if self._left_out:
            self.tell(f"left out {'; '.join(self._left_out[:3])}" + (" ..." if len(self._left_out) > 3 else ""))

    def png(self) -> bytes:
        """The figure of the view."""
        return parts.figure_png(self._figure())

    def _figure(self) -> Figure:
        view = self.view.value
        return views.draw(self._chosen(), view, self.part.value or 0, columns=views.columns_of(view))

    def free(self) -> None:
        self._runs.clear()

    def _chosen(self) -> list[Run]:
        """The chosen runs, or all where none is chosen."""
        if not self._runs:
            reasons = f": {'; '.join(self._left_out[:3])}" if self._left_out else "; `workbench train` makes some"
            raise UsageError(f"no finished run below {', '.join(map(str, self._where))}{reasons}")
        return [self._runs[label] for label in self.choice.value or tuple(self._runs)]

    def _offer_parts(self, view: str, runs: Sequence[Run]) -> None:
        """A choice of the run, for analyses that give one result a run."""
        name = view.partition(":")[2]
        single = view.startswith("analysis:") and not views.across(name) and len(runs) > 1
        options = [(run.name, i) for i, run in enumerate(runs)] if single else [("", 0)]
        self.part.layout.display = None if single else "none"
        if list(self.part.options) != options:
            self.part.options = options

    # ---------------------------------------------------------------------------------------- what it does

    def _find(self) -> None:
        found, self._left_out = finished(self._where)
        names = [run.name for run in found]
        self._runs = {run.name if names.count(run.name) == 1 else str(run.path): run for run in found}
        kept = tuple(label for label in self.choice.value if label in self._runs)
        self.choice.options = list(self._runs)
        self.choice.value = kept

    def _look_again(self) -> None:
        self._find()
        self.later()

    def _compute(self) -> None:
        """Start `workbench analyse` on the chosen runs; its results are kept in their folders."""
        if self._process is not None:
            raise UsageError("an analysis is being computed already; wait for it")
        name = self.view.value.partition(":")[2]
        command = [sys.executable, "-m", "workbench", "analyse", name, *(str(run.path) for run in self._chosen())]
        if self.options.value.strip():
            command += ["--options", *self.options.value.split()]
        with tempfile.NamedTemporaryFile(prefix="analyse-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.compute.disabled = True
        self.tell(f"computing {name} of {len(self._chosen())} runs ...")

    def _poll(self) -> None:
        """Show how a computation goes, and its result when it is there."""
        if self._process is None or self._log is None:
            return
        code, last = self._process.poll(), _last_line(self._log)
        if code is None:
            self.tell(f"computing: {last}" if last else "computing ...")
            return
        self._log.unlink(missing_ok=True)
        self._process = self._log = None
        self.tell("")
        self.later()
        if code:
            raise UsageError(last.removeprefix("error: ") or f"the analysis ended with code {code}")


def _last_line(log: Path) -> str:
    """The newest state of a progress bar, or the newest line."""
    lines = [line.strip() for line in log.read_text(errors="replace").replace("\r", "\n").splitlines()]
    return next((line for line in reversed(lines) if line), "")

"""The explorers as one page, and that page without Jupyter: served by voila, on this machine only."""

from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import RunFailed, UsageError

if TYPE_CHECKING:
    import ipywidgets as widgets

TITLES = ("Mixed samples", "Live training", "Results")


def page(root: str | Path = "out") -> widgets.Tab:
    """The three explorers behind tabs; `root`: the folder below which runs are looked for.

    An explorer is made when its tab is first opened: what nobody looks at costs nothing.
    """
    import ipywidgets as widgets

    places = [widgets.VBox() for _ in TITLES]
    tabs = widgets.Tab(children=places, layout=widgets.Layout(width="100%"))
    tabs.titles = TITLES
    tabs.add_class("wb-page")

    def fill(change: dict[str, Any]) -> None:
        place = places[change["new"]]
        if not place.children:
            place.children = (_explorer(change["new"], Path(root)).widget,)

    tabs.observe(fill, names="selected_index")
    tabs.selected_index = 0
    fill({"new": 0})
    return tabs


def _explorer(index: int, root: Path) -> Any:
    from workbench.explorers import LiveTraining, MixedSamples, Results
    from workbench.runs import finished

    if index == 0:
        return MixedSamples(runs=root if finished([root])[0] else (), key="page")
    return LiveTraining(root, key="page") if index == 1 else Results(root, key="page")


def serve(root: Path, port: int, browser: bool = True) -> None:
    """Serve the page on 127.0.0.1 behind a token until it is interrupted; the address is printed.

    UsageError where voila is not installed, RunFailed where the server ends by itself.
    """
    if importlib.util.find_spec("voila") is None:
        raise UsageError("explore needs voila, which is not installed: pip install -c constraints.txt voila")
    token = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="workbench-explore-") as folder:
        notebook = Path(folder) / "workbench.ipynb"
        notebook.write_text(_notebook(root.resolve(), Path.cwd()), encoding="utf-8")
        command = [sys.executable, "-m", "voila", str(notebook), f"--port={port}", "--Voila.ip=127.0.0.1"]
        command += [f"--token={token}", "--show_tracebacks=True", *([] if browser else ["--no-browser"])]
        print(f"explorers: http://127.0.0.1:{port}/?token={token}  (Ctrl-C ends them; trainings go on)", flush=True)
        code = subprocess.run(command, env={**os.environ, "MPLBACKEND": "agg"}, check=False).returncode
    if code:
        raise RunFailed(f"the page ended with code {code}; is port {port} taken? choose another with --port")


def _notebook(root: Path, cwd: Path) -> str:
    """A notebook of one cell that shows the page, with paths as seen from `cwd`."""
    from nbformat import v4, writes

    source = f"import os\nos.chdir({str(cwd)!r})\nfrom workbench.explorers.app import page\npage({str(root)!r})"
    metadata = {
        "title": "Workbench",
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    }
    return str(writes(v4.new_notebook(cells=[v4.new_code_cell(source)], metadata=metadata)))

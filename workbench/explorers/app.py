"""The explorers as one page, and that page without Jupyter: served by voila, on this machine only."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import RunFailed, UsageError

if TYPE_CHECKING:
    import ipywidgets as widgets

NOTEBOOK, KERNEL = "workbench.ipynb", "workbench"
TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block notebook_css -%}{{ super() | replace('href="https://', 'data-left-out="') }}{%- endblock notebook_css -%}
"""
"""Voila's own page without the style sheets that it would fetch from other machines."""
TITLES = ("Mixed samples", "Live training", "Results")


def page(root: str | Path = "out") -> widgets.Tab:
    """The three explorers behind tabs; `root`: the folder below which runs are looked for.

    An explorer is made when its tab is first opened: what nobody looks at costs nothing. A page made again closes the
    explorers of the older one.
    """
    import ipywidgets as widgets

    from workbench.explorers.base import close_all

    close_all("page")
    places = [widgets.VBox() for _ in TITLES]
    tabs = widgets.Tab(children=places, layout=widgets.Layout(width="auto"))
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
    """Serve the page on 127.0.0.1 behind a token until it is interrupted; the address is printed once it answers.

    UsageError where voila is not installed or there is no such port; RunFailed where the port is taken, or the server
    ends by itself.
    """
    if importlib.util.find_spec("voila") is None:
        raise UsageError("explore needs voila, which is not installed: pip install -c constraints.txt voila")
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is no folder; name the one below which runs lie, or leave it out for ./out")
    if not root.exists():
        print(f"there is no {root} yet: mixed samples need no runs, and others show up once there are some", flush=True)
    if not 1 <= port <= 65535:
        raise UsageError(f"a port is a whole number from 1 to 65535, got {port}; leave it out for 8866")
    if _answers(port):  # voila would look for another one
        raise RunFailed(f"port {port} is taken by another program; choose another with --port, e.g. {port % 65535 + 1}")
    token = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="workbench-explore-") as folder:
        _prepare(Path(folder), root, {"port": port, "token": token, "open_browser": browser})
        with _served(Path(folder)) as server:
            while server.poll() is None and not _answers(port):
                time.sleep(0.1)
            if server.poll() is None:
                address = f"http://127.0.0.1:{port}/?token={token}"
                print(f"explorers: {address}  (Ctrl-C ends them; trainings go on)", flush=True)
            if code := server.wait():
                raise RunFailed(f"the page ended by itself, with code {code}; what it said stands above")


def _prepare(folder: Path, root: Path, settings: Mapping[str, Any]) -> None:
    """Write what voila reads: its settings (a token on the command line could be read by every user of the machine), a
    template, a notebook, and a kernel that is this very Python, whatever others are installed."""
    own = {
        "ip": "127.0.0.1",
        "port_retries": 0,
        "log_level": "ERROR",
        # A page that is closed or loaded again ends its kernel with a request that lacks this check's argument.
        "tornado_settings": {"disable_check_xsrf": True},
        **settings,
    }
    kernels = {"cull_idle_timeout": 300, "cull_interval": 60}  # of pages that went without a word
    looks = {"show_tracebacks": True, "template": KERNEL}
    config = {"Voila": own, "VoilaConfiguration": looks, "AsyncMappingKernelManager": kernels}
    (folder / "voila.json").write_text(json.dumps(config))
    template = folder / "voila" / "templates" / KERNEL
    template.mkdir(parents=True)
    (template / "conf.json").write_text('{"base_template": "lab"}')
    (template / "index.html.j2").write_text(TEMPLATE)
    (folder / NOTEBOOK).write_text(_notebook(root.resolve(), Path.cwd()), encoding="utf-8")
    words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    words += ["--IPKernelApp.log_level=ERROR"]  # it warns of traffic that never leaves the machine
    kernel = folder / "kernels" / KERNEL / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": words, "display_name": "Workbench", "language": "python"}))


@contextmanager
def _served(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a process in a session of its own, so that Ctrl-C and the end of the terminal reach it through
    here alone: it is asked to end, and has the time to end its kernels."""
    before = {kind: signal.signal(kind, signal.default_int_handler) for kind in (signal.SIGTERM, signal.SIGHUP)}
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("JUPYTER_PATH")])])
    server = subprocess.Popen(
        [sys.executable, "-m", "voila", NOTEBOOK],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "agg", "JUPYTER_PATH": paths},
        start_new_session=True,
    )
    try:
        yield server
    except KeyboardInterrupt:
        print("\nexplorers ended", flush=True)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    """Whether a program listens on a port of this machine."""
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def _notebook(root: Path, cwd: Path) -> str:
    """A notebook of one cell that shows the page, with paths as seen from `cwd`."""
    from nbformat import v4, writes

    source = f"import os\nos.chdir({str(cwd)!r})\nfrom workbench.explorers.app import page\npage({str(root)!r})"
    metadata = {
        "title": "Workbench",
        "kernelspec": {"name": KERNEL, "display_name": "Workbench", "language": "python"},
    }
    return str(writes(v4.new_notebook(cells=[v4.new_code_cell(source)], metadata=metadata)))

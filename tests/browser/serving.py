"""Servers for the browser tests: started with everything that they write in a folder of their own, and always ended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from workbench.runs import runs

ROOT = Path(__file__).resolve().parent.parent.parent
LONG = 240
"""Seconds that a step may take before the test gives up; on an idle machine none takes ten, and some are ten or
twenty times slower."""

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], seconds: float = LONG) -> T:
    """The first true value of `look()`, asked again and again; fails with `what` when it doesn't come."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


@dataclass
class Server:
    """A server as a process that leads a group of its own, with what it says in a file."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def address(self, pattern: str) -> str:
        """The address that it prints, when it has: the first match of the pattern."""

        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, f"the server ended:\n{self.said()}"
            return re.search(pattern, self.said())

        return wait_for(f"an address in {self.log}", look)[0]


def _hear_interrupts() -> None:
    """A shell makes what it starts in the background deaf to Ctrl-C, and so would all be that the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def serving(command: Sequence[str], folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server, and at the end nothing of it left. `settings`: further variables of its environment."""
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=surroundings(folder) | dict(settings or {}), stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True, preexec_fn=_hear_interrupts,
        )  # fmt: skip
    try:
        yield Server(process, folder / "server.log")
    finally:
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for pid in (process.pid, *family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def surroundings(folder: Path) -> dict[str, str]:
    """This environment with all of Jupyter's folders below `folder`, and figures drawn as in a user's kernel."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONPATH", "JUPYTER_PATH", "JUPYTER_TOKEN")
    }
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    return kept | {name: str(folder / name.lower()) for name in own}


def descendants(pid: int) -> list[int]:
    """All processes that came of this one, whatever group they are in."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    children: dict[int, list[int]] = {}
    for child, parent in (map(int, line.split()) for line in lines):
        children.setdefault(parent, []).append(child)
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def end_trainings(root: Path) -> None:
    """Stop every training below a folder: they outlive the servers, as they should."""
    for run in runs(root):
        run.stop()
    wait_for(
        f"the trainings below {root} to end", lambda: not any(run.state in ("running", "waiting") for run in runs(root))
    )


@contextmanager
def lab(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """JupyterLab as `make lab` starts it, over a copy of the notebooks."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    own = f"--no-browser --port={free_port()} --ServerApp.root_dir={folder} --expose-app-in-browser"
    with serving(["make", "-o", "setup", "lab", f"VENV={sys.prefix}", f"ARGS={own}"], folder, settings) as server:
        yield server


@contextmanager
def explore(root: Path, folder: Path) -> Iterator[Server]:
    """`workbench explore` of the runs below `root`."""
    command = [sys.executable, "-m", "workbench", "explore", str(root), "--port", str(free_port()), "--no-browser"]
    with serving(command, folder) as server:
        yield server

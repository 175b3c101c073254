"""Signs of life of a training: what its status file says, which process stands behind it, how it is asked to end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.config import UsageError
from workbench.runs.folder import locked, read_json, write_json

STOP = signal.SIGUSR1
"""Ends a training, and not the process around it: a kernel, or a sweep's worker with other runs to train."""


def write_status(path: Path, state: str, **more: Any) -> None:
    """Leave a sign of life in the run folder."""
    sign = {
        "state": state,
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "stoppable": threading.current_thread() is threading.main_thread(),  # no other can be interrupted
        "updated": time.time(),
    }
    write_json(path / "status.json", sign | more)


def began(pid: object) -> str:
    """When a process of this machine began, in the system's own count, which tells it from a later one of the same
    number; empty where it has ended, or never was."""
    if not isinstance(pid, int):
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        return "some time" if not Path("/proc").is_dir() and _answers(pid) else ""


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


# ----------------------------------------------------------------------------------------------------------- waiting


def leave_word(path: Path, pid: int, log: Path | None = None) -> None:
    """Write down that a process has this run before it; `log`: where it writes to."""
    message = f"its process ended before it began; `workbench resume {path}` begins it"
    told = f"{message} (log: {log})" if log else message
    write_status(path, "waiting", pid=pid, began=began(pid), message=told)


def is_awaited(path: Path, status: Mapping[str, Any]) -> bool:
    """Whether a process has this run still before it, and nobody asked it to leave that."""
    return _stands(status) and not was_asked(path)


def _stands(status: Mapping[str, Any]) -> bool:
    """Whether this is the word of a process that lives."""
    if status.get("state") != "waiting" or "host" not in status:
        return False
    if status["host"] != os.uname().nodename:
        return True  # nobody can tell from here
    now = began(status.get("pid"))
    return bool(now) and status.get("began", now) == now


@contextmanager
def claimed(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Leave word that this process will see to these runs; gives those that no other trains or has before it. What
    still waits at the end, and was not handed to another process with `leave_word`, is as it was."""
    before = {path: status for path in paths if (status := _claim(path)) is not None}
    try:
        yield list(before)
    finally:
        for path, status in before.items():
            now = read_json(path / "status.json")
            if now.get("state") == "waiting" and now.get("pid") == os.getpid():
                write_json(path / "status.json", status)


def _claim(path: Path) -> dict[str, Any] | None:
    """The status that stood in the place of this process's word; None where the run is another's, or its own already.
    Under the lock, so that of two that come at the same moment one gets it."""
    try:
        with locked(path):
            status = read_json(path / "status.json")
            if _stands(status) and (status.get("pid") == os.getpid() or not was_asked(path)):
                return None
            forget(path)
            leave_word(path, os.getpid())
            return status
    except UsageError:  # it is being trained
        return None


# ---------------------------------------------------------------------------------------------------------- stopping


def ask_to_end(path: Path, running: bool) -> None:
    """Have a training end after its present step, or not begin where it still waits. UsageError where no process can
    be told so from here."""
    status = read_json(path / "status.json")
    if not running:
        if is_awaited(path, status):
            _asked(path).touch()
        return
    pid, host = status.get("pid"), status.get("host")
    if host != os.uname().nodename:
        raise UsageError(f"{path.name} trains on {host}, not on this machine; stop it there")
    if status.get("stoppable") is False:
        raise UsageError(
            f"{path.name} trains in a thread of process {pid}, which can't be interrupted; end that process"
        )
    _asked(path).touch()
    if status.get("state") == "running" and isinstance(pid, int):  # else it looks for the file when it begins
        try:
            os.kill(pid, STOP)
        except OSError as error:
            _asked(path).unlink(missing_ok=True)
            raise UsageError(f"process {pid}, which trains {path.name}, can't be told: {error.strerror}") from None


def was_asked(path: Path) -> bool:
    """Whether this run was asked to end, and has not done so yet."""
    return _asked(path).exists()


def forget(path: Path) -> None:
    """What was asked of an earlier process is not meant for the next one."""
    _asked(path).unlink(missing_ok=True)


class Stopped(KeyboardInterrupt):
    """One run was asked to end, and not the process that trains it."""


def heed(path: Path) -> None:
    """End as Ctrl-C would if this run was asked to: a process trains one run after another, and only one is meant."""
    if was_asked(path):
        forget(path)
        raise Stopped(f"{path.name} was stopped; `workbench resume {path}` goes on")


@contextmanager
def stoppable(path: Path) -> Iterator[None]:
    """Let `ask_to_end` end the training that goes on inside. Only the main thread of a process can be told so."""
    if not _stands(read_json(path / "status.json")):
        forget(path)  # it was asked of a process that ended before it came to that
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(STOP, lambda _signal, _frame: heed(path))
    try:
        yield
    finally:  # one that comes too late must not end the process, as it would by default
        signal.signal(STOP, signal.SIG_IGN if before in (None, signal.SIG_DFL) else before)
        forget(path)


def _asked(path: Path) -> Path:
    return path / "stop"

"""The run folder on disk: names that stay inside, writes that are whole or not there, one writer at a time."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from workbench.config import RunFailed, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


def folder(root: str | Path, name: str) -> Path:
    """The folder of a run below `root`; a name that could lead elsewhere is refused."""
    if not NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"run name {name!r} must begin with a letter or digit and go on with these, '.', '_' or '-'; no slash"
        )
    return Path(root) / name


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell a full disk or a read-only folder in one line."""
    try:
        yield
    except OSError as error:
        advice = "what was stored before is whole; make room or choose another folder, and run it again"
        raise RunFailed(f"can't write {path}: {error.strerror or error}; {advice}") from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where it is missing. UsageError where a file is in its place, RunFailed where
    it can't be made, each in one line."""
    file = next((place for place in (path, *path.parents) if place.is_file()), None)
    if file is not None:
        raise UsageError(f"{path} must be a folder, but {file} is a file; name another folder")
    with told(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that takes the place of `path` only when it is complete and on the disk."""
    with told(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically. NaN and infinity are refused: they are not JSON."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_bytes(path, "".join(json.dumps(r) + "\n" for r in records).encode())


def write_arrays(path: Path, /, **arrays: np.ndarray) -> None:
    """Write a compressed .npz atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        kind = type(error).__name__  # NumPy's own text advises to load it unsafely
        raise UsageError(
            f"{path} is damaged or no archive of plain arrays ({kind}); delete it and resume the run"
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or {} where there is no such file or it can't be read yet."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run folder for this process alone. The lock goes with the process, however it ends."""
    with told(path):
        file = open(path / "lock", "a+")  # noqa: SIM115 - closed below, whatever happens
    with file:
        try:
            _take(file)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UsageError(
                f"{path} is in use by {holder}; attach to it with Run({str(path)!r}) or wait for it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield


def _take(file: IO[str]) -> None:
    """Take the lock. Whoever only asks whether it is held (`is_locked`) has it for a moment: try again for a while."""
    for wait in (0.02, 0.05, 0.1, 0.3):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(wait)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether a process on this machine is working on the run now."""
    try:
        with open(path / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

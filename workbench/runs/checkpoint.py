"""Checkpoints: the last two are kept, each carries its own hash in its name, none can execute code."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from workbench.config import UsageError
from workbench.runs.folder import write_bytes

KEPT = 2
NAME = re.compile(r"epoch-(\d{6})-([0-9a-f]{16})\.pt")


def save(run: Path, epoch: int, state: dict[str, Any]) -> None:
    """Store the state after `epoch` epochs, then drop all but the newest checkpoints."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    place = run / "checkpoints"
    place.mkdir(exist_ok=True)
    write_bytes(place / f"epoch-{epoch:06d}-{hashlib.sha256(content).hexdigest()[:16]}.pt", content)
    for old in stored(run)[KEPT:]:
        old.unlink(missing_ok=True)


def stored(run: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    found = (run / "checkpoints").glob("*.pt")
    return sorted((p for p in found if NAME.fullmatch(p.name)), key=lambda p: p.name, reverse=True)


def latest(run: Path) -> tuple[int, dict[str, Any] | None, list[str]]:
    """(epochs done, state, warnings): the newest checkpoint that is whole; (0, None, ...) if there is none."""
    warnings: list[str] = []
    for path in stored(run):
        done, state = read(path)
        if state is not None:
            return done, state, warnings
        warnings.append(f"checkpoint {path.name} is damaged; it is left out")
    if warnings:
        warnings.append("no whole checkpoint is left; training begins again")
    return 0, None, warnings


def read(path: Path) -> tuple[int, dict[str, Any] | None]:
    """(epochs done, state) of one checkpoint; no state where the file is not what its name says."""
    name = NAME.fullmatch(path.name)
    assert name is not None
    content = path.read_bytes()
    whole = hashlib.sha256(content).hexdigest()[:16] == name[2]
    return int(name[1]), _read(path, content) if whole else None


def _read(path: Path, content: bytes) -> dict[str, Any]:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        raise UsageError(f"{path} holds more than tensors and plain values, or less; it is not loaded") from None

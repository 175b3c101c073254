"""Where a run was made: versions, machine, code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import workbench
from workbench.runs.folder import read_json

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn", "scikit-image")


def describe_environment() -> dict[str, Any]:
    """Versions, device, threads and the commit of the code, as plain values."""
    return {
        "workbench": workbench.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
    }


@contextmanager
def same_threads(path: Path) -> Iterator[None]:
    """As many threads as the run of this folder began with, where so many cores are granted: with others the last
    digits differ."""
    now, first = torch.get_num_threads(), read_json(path / "environment.json").get("threads")
    if isinstance(first, int) and 1 <= first <= cores():
        torch.set_num_threads(first)
    try:
        yield
    finally:
        torch.set_num_threads(now)


def cores() -> int:
    """The cores that this process may use: a container or a batch system can grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What decides a training's last digits and was other when a run began, e.g. `threads 1, now 2`."""
    found = {key: (before.get(key), now[key]) for key in ("cpu", "threads", "gpu", "processes")}
    packages = before.get("packages")
    found["torch"] = (packages.get("torch") if isinstance(packages, dict) else None, now["packages"]["torch"])
    return [f"{k} {_told(old)}, now {_told(new)}" for k, (old, new) in found.items() if old not in (None, new)]


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """The commit of the code with a plus where it was changed; None outside a checkout."""
    here = Path(workbench.__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None

"""Where a run was made: versions, machine, code."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import workbench

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


def changed(path: Path, now: dict[str, Any]) -> list[str]:
    """What decides a training's last digits and was other when this run began, e.g. `threads 1, now 2`."""
    try:
        before = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # cut off while it began
        return []
    if not isinstance(before, dict):
        return []
    found = {key: (before.get(key), now[key]) for key in ("cpu", "threads", "gpu", "processes")}
    packages = before.get("packages")
    found["torch"] = (packages.get("torch") if isinstance(packages, dict) else None, now["packages"]["torch"])
    return [f"{key} {_told(old)}, now {_told(new)}" for key, (old, new) in found.items() if old != new]


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

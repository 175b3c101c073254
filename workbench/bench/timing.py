"""What all benchmarks share: clocks, interleaved rounds, a warm heap, and tables with the machine's description."""

from __future__ import annotations

import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from workbench.config import whole
from workbench.runs.environment import describe_environment
from workbench.runs.folder import write_bytes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # the names of glibc's malloc.h


def check_counts(**counts: Any) -> None:
    """Refuse a count that is no whole number from 1."""
    for name, value in counts.items():
        whole(name, value, 1)


def clock(fn: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    fn()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def median_call(fn: Callable[[], object], device: torch.device, seconds: float, least: int = 3) -> float:
    """Median seconds of a call, repeated until so many seconds are over, and `least` times at any rate."""
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        times.append(clock(fn, device))
    return statistics.median(times)


def interleaved(
    names: Sequence[str], rounds: int, desc: str, measure: Callable[[str, int], float]
) -> dict[str, list[float]]:
    """A figure a round for every name; the order is turned round from round to round, so that drift evens out."""
    found: dict[str, list[float]] = {name: [] for name in names}
    with tqdm(total=rounds * len(names), desc=desc, unit="block") as bar:
        for index in range(1, rounds + 1):
            for name in names if index % 2 else reversed(names):
                found[name].append(measure(name, index))
                bar.update()
    return found


def warm_heap() -> str:
    """Keep freed memory in the process from now on; says what the heap is like.

    A fresh tensor above 32 MiB is by default mapped anew from the system by glibc, page by page, which takes longer
    than any mix: without this, page faults are all that a benchmark of large batches measures on a CPU.
    """
    if platform.libc_ver()[0] != "glibc":
        return "as the system has it"
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    return "warm"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of the rounds."""
    return {"ratio": statistics.median(values), "lowest": min(values), "highest": max(values)}


def write_table(table: pd.DataFrame, path: Path, device: torch.device, **facts: Any) -> None:
    """A tidy CSV: the rows of the table, each with the machine's description."""
    machine = describe_environment()
    described = {"torch": machine["packages"]["torch"], "cpu": machine["cpu"], "threads": machine["threads"]}
    described |= {"device": device.type, "gpu": "; ".join(machine["gpu"])}
    write_bytes(path, table.assign(**{**facts, **described}).to_csv(index=False).encode())


def headline(device: torch.device, **facts: Any) -> str:
    """What was measured on what, in a line."""
    told: Mapping[str, Any] = {**facts, "threads": torch.get_num_threads(), "torch": torch.__version__}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return ", ".join([name, *(f"{key} {value}" for key, value in told.items())])

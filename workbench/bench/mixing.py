"""What mixing alone costs, in copies of the batch, beside the public implementations that are installed."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from workbench.bench.given import Given, given
from workbench.bench.peers import peers
from workbench.bench.timing import check_counts, headline, interleaved, median_call, spread, warm_heap, write_table
from workbench.config import Range, UsageError, choose
from workbench.data.embedded import whole_photos
from workbench.draw import Draw
from workbench.figures import save
from workbench.figures.mixing_cost import mixing_cost
from workbench.methods import METHODS, Method, build
from workbench.runs.folder import make_folder
from workbench.train.memory import peak_of

CLASSES = 100
SIDES = Range(8, 1024)
OURS = "workbench"
NOISE = 0.03
"""Standard deviation of what is added to the photographs, so that no two images of a batch are equal."""


class Work(NamedTuple):
    """One thing that is timed."""

    method: str
    who: str
    call: Callable[[], Any]
    note: str


def bench_methods(
    sizes: Sequence[int] = (32, 224),
    batch_size: int | None = None,
    rounds: int = 5,
    out: str | Path = "out/bench",
    *,
    only: Sequence[str] = (),
    seconds: float = 0.2,
) -> str:
    """Each method's mix of a batch, draws included, over `x.clone()` of the same batch.

    Ours draw for every row; `who` says what the others do. Each block of calls takes `seconds` or a few calls, and the
    clone is timed just before and after it; the blocks are interleaved. Reported are medians and ranges over the
    rounds, and the peak of memory above the batch. Methods that look into a net have its part given. Returns a table
    as text; writes `methods.csv` and the figure `methods`.
    """
    check_counts(rounds=rounds, **({} if batch_size is None else {"batch_size": batch_size}))
    for key in only:
        choose(METHODS, key, "method")
    for size in sizes:
        if size not in SIDES:
            raise UsageError(f"size must be from {SIDES} pixels, got {size}")
    heap, out = warm_heap(), Path(out)
    make_folder(out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table = pd.concat([_measured(size, batch_size, rounds, seconds, only, device) for size in sizes])
    write_table(table, out / "methods.csv", device, heap=heap)
    save(mixing_cost(table), out / "methods")
    return _text(table, headline(device, heap=heap))


def _measured(
    size: int, batch_size: int | None, rounds: int, seconds: float, only: Sequence[str], device: torch.device
) -> pd.DataFrame:
    """One row a work, for batches of one size."""
    x, y = batch(size, batch_size or (128 if size < 128 else 64), device)
    works = {f"{w.method} {w.who} {w.note}": w for w in _works(x, y) if not only or w.method in only}
    if not works:
        names = ", ".join(only)
        raise UsageError(f"{names}: no mixing of its own to be timed apart from the net; see `workbench bench steps`")
    peaks = {name: peak_of(work.call, device) / x.nbytes for name, work in works.items()}
    clones: dict[str, list[float]] = {name: [] for name in works}

    def measure(name: str, _index: int) -> float:
        before = median_call(x.clone, device, seconds / 10)
        taken = median_call(works[name].call, device, seconds)
        clones[name].append((before + median_call(x.clone, device, seconds / 10)) / 2)
        return taken

    with torch.random.fork_rng():  # the others draw from PyTorch's numbers
        taken = interleaved(list(works), rounds, f"bench methods, {size} px", measure)
    rows = []
    for name, times in taken.items():
        work, middle = works[name], statistics.median(times)
        row = {"method": work.method, "who": work.who, "size": size, "batch": len(x), "note": work.note}
        row |= spread([time / clone for time, clone in zip(times, clones[name], strict=True)])
        row |= {"milliseconds": 1000 * middle, "images_per_second": len(x) / middle, "peak_batches": peaks[name]}
        rows.append(row | {"rounds": rounds})
    return pd.DataFrame(rows)


def batch(size: int, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Photographs with noise, (rows, 3, size, size) float32 in [0, 1], and class ids."""
    pictures, _ = whole_photos(size)
    numbers = torch.Generator().manual_seed(0)
    x = pictures[torch.arange(rows) % len(pictures)].float() / 255
    x = x.add_(torch.randn(x.shape, generator=numbers), alpha=NOISE).clamp_(0, 1)
    return x.to(device), torch.randint(CLASSES, (rows,), generator=numbers).to(device)


def _works(x: Tensor, y: Tensor) -> Iterator[Work]:
    """Ours, each call with a draw of its own, and the others'."""
    steps = itertools.count()
    for key in METHODS:
        method = build(key, num_classes=CLASSES)
        if not method.needs_net and method.family not in ("baseline", "loss"):
            yield Work(key, OURS, partial(_mix, method, x, y, steps), "")
    for way in given(x):
        yield Work(way.method, OURS, partial(_mix_given, way, steps), way.note)
    for peer in peers(x, y, CLASSES):
        yield Work(peer.method, peer.who, peer.call, peer.note)


def _mix(method: Method, x: Tensor, y: Tensor, steps: Iterator[int]) -> object:
    return method.mix(x, y, None, Draw(0, 0, next(steps)))


def _mix_given(way: Given, steps: Iterator[int]) -> object:
    return way.call(Draw(0, 0, next(steps)))


def _text(table: pd.DataFrame, head: str) -> str:
    lines = [head, "mixing alone, in copies of the batch (medians and ranges over the rounds; memory in batches)"]
    order = {key: place for place, key in enumerate(METHODS)}
    for (size, rows), part in table.groupby(["size", "batch"], sort=False):
        lines.append(f"{rows} x 3 x {size} x {size}")
        lines += map(_line, sorted(part.to_dict("records"), key=lambda row: order[row["method"]]))
    return "\n".join(lines)


def _line(row: dict[Hashable, Any]) -> str:
    ratio = f"{row['ratio']:8.1f} ({row['lowest']:.1f} to {row['highest']:.1f})"
    who = f"{row['who']}, {row['note']}" if row["note"] else row["who"]
    return f"  {row['method']:13s} {ratio:30s} {row['milliseconds']:9.2f} ms  memory {row['peak_batches']:5.1f}  {who}"

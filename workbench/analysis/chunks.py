"""How many images at a time: chunks that the free memory holds, and blocks whose random numbers are drawn together.

A chunk follows the memory that is free, and what one image costs; it changes speed and the last digits, no more.
A block follows the size of the images alone, so that what is drawn for it is the same on every machine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from workbench.analysis.inputs import Examples, device_of
from workbench.config import RunFailed
from workbench.models import Net
from workbench.train.memory import peak_of

T = TypeVar("T")
Probe = Callable[[Net, Tensor, Tensor], object]
"""What will be done with a chunk: of a net, images (B, C, H, W) and class ids (B,)."""

PIXELS = 2**20
"""Of the images of a block; of a chunk too where there is no GPU: more at a time is not faster there."""
SHARE = 0.5
"""Of the free memory that a chunk may fill: allocators leave gaps, and others are at work too."""
MESSAGES = ("out of memory", "can't allocate memory")
"""What PyTorch says where memory ends, on devices that have no error of their own for it."""


def block_of(data: Examples, most: int = 256) -> int:
    """Images that random numbers are drawn for at a time, whatever the machine: fewer where images are large."""
    return max(1, min(most, PIXELS // (data.images.shape[2] * data.images.shape[3])))


@dataclass
class Chunk:
    """A number of images that fits in memory, until it doesn't: then half of them."""

    size: int

    def fitting(self, left: int, work: Callable[[int], T]) -> tuple[int, T]:
        """(number, `work(number)`) of the next images, at most `left`: as many as memory has room for.

        `work` must be one that can be begun anew. RunFailed where there is no room for a single image.
        """
        while True:
            number = min(self.size, left)
            try:
                return number, work(number)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                if number == 1:
                    advice = "free some of it, or take smaller images or a smaller net"
                    raise RunFailed(f"there is not enough memory for a single image; {advice}") from error
            self.size = number // 2  # out here the error is gone, and with it the tensors that it held
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def over(self, total: int, work: Callable[[int, int], T]) -> list[T]:
        """`work(start, number)` on all of `total` images, a chunk after the other."""
        found: list[T] = []
        start = 0
        while start < total:
            number, part = self.fitting(total - start, partial(work, start))
            found.append(part)
            start += number
        return found


def ran_out(error: RuntimeError) -> bool:
    """Whether an error says that there was no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in MESSAGES)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Tells in one line that there was no memory left for `what`, which can't be had in parts."""
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise RunFailed(f"there is not enough memory for {what}") from error


def forward(net: Net, images: Tensor, _labels: Tensor) -> object:
    """A plain evaluation: what most analyses do with a chunk."""
    with torch.no_grad():
        return net(images)


def chunk_of(net: Net, data: Examples, most: int = 256, probe: Probe = forward) -> Chunk:
    """Images at a time that the free memory has room for, at most `most`, judged by a probe with two of them."""
    device = device_of(net)
    most = most if device.type == "cuda" else block_of(data, most)
    cost = bytes_of_image(net, data, probe)
    room = SHARE * free_memory(device) / max(cost, 1)
    return Chunk(max(1, int(min(most, len(data), room))))


def bytes_of_image(net: Net, data: Examples, probe: Probe = forward) -> float:
    """Bytes by which memory rises at its highest for one image more; 0 on devices that don't tell."""
    device = device_of(net)
    if device.type not in ("cpu", "cuda"):
        return 0.0
    images, labels = data.batch(0, 2, device)
    with net.probing():
        return peak_of(lambda: probe(net, images, labels), device) / len(images)


# ------------------------------------------------------------------------------------------------- what is free


def free_memory(device: torch.device) -> float:
    """Bytes that can be had on a device; infinite on one that doesn't tell."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(_of_system(), _of_group()) if device.type == "cpu" else math.inf


def _of_system() -> float:
    """Main memory that the system can give without swapping; where it doesn't say, half of what is built in."""
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    told = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    return told[0] if told else 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_group() -> float:
    """What the limit of a container or of a Slurm job leaves (Linux control groups, version 2 and 1)."""
    listed = Path("/proc/self/cgroup")
    rows = [line.split(":", 2) for line in listed.read_text().splitlines()] if listed.exists() else []
    root, left = Path("/sys/fs/cgroup"), [math.inf]
    for _, controllers, path in rows:
        if not controllers:
            left += _left(root, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            left += _left(
                root / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            )
    return min(left)


def _left(root: Path, path: str, limit: str, used: str, idle: str) -> list[float]:
    """Bytes below the limit in a group, files that only wait in memory not counted. Inside a container the group's
    own folder is the root."""
    for place in (root / path.lstrip("/"), root):
        if not (place / limit).is_file() or not (place / used).is_file():
            continue
        most, now = ((place / file).read_text().strip() for file in (limit, used))
        lines = (place / "memory.stat").read_text().splitlines() if (place / "memory.stat").is_file() else []
        waiting = sum(int(line.split()[1]) for line in lines if line.startswith(f"{idle} "))
        return [float(most) - float(now) + waiting] if most.isdigit() else []
    return []

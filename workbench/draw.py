"""Random numbers as a pure function of (seed, epoch, step): nothing global, anything can be drawn again."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from workbench.config import UsageError, shown

Mode = Literal["sample", "batch"]
"""One draw for every row of the batch, or one for the whole batch, as most papers' code has it."""


class Draw:
    """The random numbers of one step.

    A counter-based generator (Philox) is set to (seed, stream, rank) as its key and (epoch, step) as its counter,
    so the same arguments give the same numbers in any process, after any resume, whatever else was drawn before.

    `lam` and `partner` pin what is otherwise drawn: `Draw(lam=0.5, partner=[1, 0])` mixes two pictures half and half.
    seed: 0 to 2**64 - 1; epoch and step: 0 to 2**64 - 1; rank: 0 to 2**32 - 1.
    """

    def __init__(
        self,
        seed: int = 0,
        epoch: int = 0,
        step: int = 0,
        *,
        rank: int = 0,
        stream: str = "mix",
        lam: float | None = None,
        partner: Sequence[int] | None = None,
    ) -> None:
        numbers: dict[str, Any] = {"seed": seed, "epoch": epoch, "step": step, "rank": rank}
        for what, number in numbers.items():
            bits = 32 if what == "rank" else 64
            if not isinstance(number, Integral) or not 0 <= int(number) < 2**bits:
                raise UsageError(f"{what} must be a whole number from 0 to 2**{bits} - 1, got {shown(number)}")
        if lam is not None and not 0 <= lam <= 1:
            raise UsageError(f"lam must be from 0 to 1, got {lam!r}")
        key = [int(seed), zlib.crc32(stream.encode()) | int(rank) << 32]
        philox = np.random.Philox(key=np.array(key, np.uint64), counter=np.array([0, 0, step, epoch], np.uint64))
        self.rng = np.random.Generator(philox)
        self.pinned_lam = lam
        self.pinned_partner = partner

    def partner(self, n: int) -> np.ndarray:
        """(n,) int64: with which row of the batch each row is mixed; a uniformly random permutation."""
        if self.pinned_partner is None:
            return self.rng.permutation(n)
        partner = np.array(self.pinned_partner, np.int64)
        if partner.shape != (n,) or not ((partner >= 0) & (partner < n)).all():
            raise UsageError(f"partner must be {n} row numbers from 0 to {n - 1}, got {shown(partner.tolist())}")
        return partner

    def lam(self, alpha: float, n: int, mode: Mode = "sample", prob: float = 1.0) -> np.ndarray:
        """(n,) float32 from Beta(alpha, alpha), or 1 with probability 1 - prob: the wished weight of the row itself."""
        if self.pinned_lam is not None:
            return np.full(n, self.pinned_lam, np.float32)
        drawn = self.spread(self.rng.beta(alpha, alpha, n if mode == "sample" else 1).astype(np.float32), n)
        return drawn if prob >= 1 else np.where(self.happens(prob, n, mode), drawn, np.float32(1))

    def uniform(self, low: float, high: float, n: int, mode: Mode = "sample") -> np.ndarray:
        """(n,) float32, uniform between two numbers, in whichever order they come."""
        low, high = sorted((low, high))
        return self.spread(self.rng.uniform(low, high, n if mode == "sample" else 1).astype(np.float32), n)

    def integers(self, high: int, n: int, mode: Mode = "sample") -> np.ndarray:
        """(n,) int64 from {0, ..., high - 1}."""
        return self.spread(self.rng.integers(high, size=n if mode == "sample" else 1), n)

    def pixels(self, height: int, width: int, n: int, mode: Mode = "sample") -> np.ndarray:
        """(n, 2) int64 row and column, uniform over an image's pixels."""
        drawn = self.rng.random((n if mode == "sample" else 1, 2)) * (height, width)
        return self.spread(drawn.astype(np.int64), n)

    def happens(self, prob: float, n: int, mode: Mode = "sample") -> np.ndarray:
        """(n,) bool, each true with probability `prob`."""
        return self.spread(self.rng.random(n if mode == "sample" else 1) < prob, n)

    @staticmethod
    def spread(values: np.ndarray, n: int) -> np.ndarray:
        """(n, ...) from (n, ...) or, for one draw a batch, from (1, ...)."""
        return values if len(values) == n else np.repeat(values, n, 0)


def send(device: torch.device, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """NumPy arrays as tensors on the device, in one transfer that does not wait."""
    if device.type == "cpu":
        return tuple(torch.from_numpy(np.array(a)) for a in arrays)
    packed = pack(arrays)
    return unpack((packed.pin_memory() if device.type == "cuda" else packed).to(device, non_blocking=True), arrays)


def pack(arrays: Sequence[np.ndarray]) -> Tensor:
    """uint8 (bytes,) of all arrays, one after the other."""
    starts = _starts(arrays)
    packed = np.zeros(starts[-1], np.uint8)
    for start, a in zip(starts, arrays, strict=False):
        packed[start : start + a.nbytes] = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
    return torch.from_numpy(packed)


def unpack(packed: Tensor, arrays: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    """What `pack` put together, as views with the types and shapes of the arrays."""
    return tuple(
        packed[start : start + a.nbytes].view(torch.from_numpy(np.empty(0, a.dtype)).dtype).view(a.shape)
        for start, a in zip(_starts(arrays), arrays, strict=False)
    )


def _starts(arrays: Sequence[np.ndarray]) -> list[int]:
    """Where each array starts among the packed bytes, a multiple of the largest item (complex128), and the end."""
    sizes = [-(-a.nbytes // 16) * 16 for a in arrays]
    return [0, *np.cumsum(sizes, dtype=np.int64).tolist()]

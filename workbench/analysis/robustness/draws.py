"""Random tensors from an explicit generator. They are drawn where the generator is and then sent to the images, so
that a generator on the CPU gives the same numbers on every device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.draw import Draw


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A generator on the CPU whose numbers follow from (seed, stream, step)."""
    number = int(Draw(seed, step=step, stream=stream).rng.integers(2**63 - 1))
    return torch.Generator().manual_seed(number)


def normal(shape: Sequence[int], rng: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers with the type and device of `like`."""
    return torch.randn(tuple(shape), generator=rng, device=rng.device).to(like)


def uniform(shape: Sequence[int], rng: torch.Generator, like: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform numbers with the type and device of `like`."""
    return torch.rand(tuple(shape), generator=rng, device=rng.device).mul_(high - low).add_(low).to(like)


def integers(low: int, high: int, shape: Sequence[int], rng: torch.Generator, device: torch.device) -> Tensor:
    """int64 from {low, ..., high}, both included."""
    return torch.randint(low, high + 1, tuple(shape), generator=rng, device=rng.device).to(device)


def poisson(rate: Tensor, rng: torch.Generator) -> Tensor:
    """Poisson counts with these rates."""
    return torch.poisson(rate.to(rng.device), generator=rng).to(rate)

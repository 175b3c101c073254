"""Peak memory of one training step, on a CPU as on a GPU: what lives all the time, plus what one step adds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler reports on machines without a GPU that there is none


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of distinct tensors."""
    return sum({t.data_ptr(): t.nbytes for t in tensors}.values())


def peak_of(fn: Callable[[], object], device: torch.device) -> int:
    """Bytes by which memory rises at its highest while `fn` runs once."""
    return _cuda_peak(fn, device) if device.type == "cuda" else _cpu_peak(fn)


def _cuda_peak(fn: Callable[[], object], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    fn()
    return torch.cuda.max_memory_allocated(device) - before


def _cpu_peak(fn: Callable[[], object]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            fn()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return peak

"""Kernels recorded as one CUDA graph, for solvers of thousands of tiny steps: a GPU runs each of these faster than the
host can launch it."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST = 32
"""Recordings that are kept; the one that was used longest ago goes first."""


@dataclass
class Recording:
    """A recorded call. The graph reads from these inputs and writes to this output, always at the same place."""

    graph: torch.cuda.CUDAGraph
    inputs: Sequence[Tensor]
    output: Tensor

    def replay(self, tensors: Sequence[Tensor]) -> Tensor:
        """The output for other inputs of the same form, as a tensor of its own."""
        for place, tensor in zip(self.inputs, tensors, strict=True):
            place.copy_(tensor)
        self.graph.replay()
        return self.output.clone()


_LOCK = threading.Lock()
_RECORDED: OrderedDict[Hashable, Recording | None] = OrderedDict()


def replayed(function: Callable[..., Tensor], tensors: Sequence[Tensor], *settings: Hashable) -> Tensor:
    """`function(*tensors, *settings)`, without gradients.

    On a GPU the first call with tensors of such shapes is made as it stands, the second is recorded, and from then on
    the recording is replayed, kernel by kernel the same. So the function must launch the same kernels whatever the
    tensors hold: it must not wait for the device, fetch from the host, draw random numbers or change its inputs. All
    recordings of a GPU share one pool of memory.
    """
    if not tensors[0].is_cuda or torch.cuda.is_current_stream_capturing():
        with torch.no_grad():
            return function(*tensors, *settings)
    form = tuple((tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in tensors)
    stream = torch.cuda.current_stream(tensors[0].device)
    key = (function, settings, form, stream, torch.are_deterministic_algorithms_enabled())
    with _LOCK, torch.inference_mode(False), torch.no_grad():
        known = key in _RECORDED
        recording = _RECORDED.pop(key, None)
        if known and recording is None:
            recording = _record(function, tensors, settings)
        _RECORDED[key] = recording
        if len(_RECORDED) > MOST:
            _RECORDED.popitem(last=False)
        return function(*tensors, *settings) if recording is None else recording.replay(tensors)


def _record(function: Callable[..., Tensor], tensors: Sequence[Tensor], settings: Sequence[Hashable]) -> Recording:
    """Nothing is computed here: what the inputs hold is put in when the graph is replayed."""
    inputs, graph = [torch.empty_like(tensor) for tensor in tensors], torch.cuda.CUDAGraph()
    # Other threads, such as those of a data loader, may go on talking to the GPU meanwhile.
    with torch.cuda.graph(graph, pool=_pool(tensors[0].device), capture_error_mode="thread_local"):
        output = function(*inputs, *settings)
    return Recording(graph, inputs, output)


@functools.cache
def _pool(device: torch.device) -> Any:
    with torch.cuda.device(device):
        return torch.cuda.graph_pool_handle()

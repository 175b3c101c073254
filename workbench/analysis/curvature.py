"""Products with the Hessian of a net's mean loss, and PyHessian's eigenvalues and trace on top of them.

n weights of the net, in the order of `net.parameters()`; all of them count, frozen ones too.

PyHessian 0.1 takes its products through `loss.backward(create_graph=True)`, which ties gradients and weights into a
ring that is never freed; moves data by `.cuda()`; leaves gradients and evaluation mode behind; fails on weights that
the loss does not reach; and draws vectors in float32 alone. It is therefore given products of our own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from workbench.analysis.chunks import chunk_of, ran_out
from workbench.analysis.inputs import Examples, device_of, same_numbers
from workbench.models import Net

CHUNK = 128
"""Images of one graph of second derivatives, at most: it is several times as large as that of a training step."""
PRODUCTS = 100
"""Power iterations that one eigenvalue may take."""
TOLERANCE = 1e-3
"""Relative change of an eigenvalue between two power iterations at which PyHessian stops."""


class Curvature:
    """The Hessian of the mean cross-entropy over the examples, in evaluation mode; make it in `differentiable(net)`.

    The graph of the gradient is kept between products where all examples are one chunk, which saves a third.
    """

    def __init__(self, net: Net, data: Examples) -> None:
        self.net, self.data = net, data
        self.weights = list(net.parameters())
        self.chunk = chunk_of(net, data, CHUNK, _product)
        begun = time.perf_counter()
        number, first = self.chunk.fitting(len(data), partial(self._gradient, 0))
        seconds, whole = time.perf_counter() - begun, number == len(data)
        self._kept = first if whole else None
        self.seconds = seconds * (2 if whole else 3 * len(data) / number)
        """What a product will take, about: twice its gradient, and that too where it is not kept."""

    def __len__(self) -> int:
        return sum(p.numel() for p in self.weights)

    def _gradient(self, start: int, number: int) -> tuple[Tensor, ...]:
        """Of a chunk's part of the mean loss; can be differentiated again."""
        images, labels = self.data.batch(start, number, device_of(self.net))
        return _slopes(self.net, images, labels, self.weights, len(self.data))

    def times(self, vector: Sequence[Tensor]) -> list[Tensor]:
        """The product with a vector in the shapes of the weights: the sum of the chunks' products."""
        if self._kept is not None:
            try:
                return _second(self._kept, self.weights, vector, keep=True)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
            self._kept, self.chunk.size = None, max(1, len(self.data) // 2)
        total = [torch.zeros_like(p) for p in self.weights]

        def add(start: int, number: int) -> None:
            torch._foreach_add_(total, _second(self._gradient(start, number), self.weights, vector))

        self.chunk.over(len(self.data), add)
        return total

    def flat(self, vector: Tensor) -> Tensor:
        """The product with a vector (n,)."""
        parts = vector.split([p.numel() for p in self.weights])
        shaped = [part.view_as(p) for part, p in zip(parts, self.weights, strict=True)]
        return torch.cat([image.reshape(-1) for image in self.times(shaped)])


def _slopes(net: Net, images: Tensor, labels: Tensor, weights: Sequence[Tensor], number: int) -> tuple[Tensor, ...]:
    """Gradient of the images' losses, divided by `number`, by the weights; can be differentiated again."""
    loss = F.cross_entropy(net(images), labels, reduction="sum") / number
    return torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)


def _second(
    gradient: Sequence[Tensor], weights: Sequence[Tensor], vector: Sequence[Tensor], keep: bool = False
) -> list[Tensor]:
    """Derivative of the gradient along a vector; `keep` its graph for the next."""
    reached = [(g, v.to(g.dtype)) for g, v in zip(gradient, vector, strict=True) if g.requires_grad]
    if not reached:
        return [torch.zeros_like(p) for p in weights]
    slopes, directions = zip(*reached, strict=True)
    return list(torch.autograd.grad(slopes, weights, directions, retain_graph=keep, materialize_grads=True))


def _product(net: Net, images: Tensor, labels: Tensor) -> object:
    """What a chunk is used for, to see the memory that it takes."""
    with differentiable(net):
        weights = list(net.parameters())
        return _second(_slopes(net, images, labels, weights, len(labels)), weights, weights)


@contextmanager
def differentiable(net: Net) -> Iterator[None]:
    """Inside, the net is in evaluation mode and can be differentiated twice; afterwards it is as before.

    Fused attention has no second derivative: inside, attention takes its plain form.
    """
    with net.probing(), sdpa_kernel(SDPBackend.MATH):
        net.requires_grad_(True)
        yield


@dataclass
class PyHessian:
    """PyHessian on products of ours; `seed` fixes its random vectors. `tick` is called after every product."""

    curvature: Curvature
    seed: int
    tick: Callable[[], object]
    quotients: list[float] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)
    _scale: float = 0.0

    def eigenvalues(self, top: int) -> tuple[np.ndarray, np.ndarray]:
        """(top,) eigenvalues of the largest magnitude, by power iteration; (top,) |Hv - eigenvalue v| of each, which
        bounds how far the nearest true eigenvalue can be."""
        if not top:
            return np.zeros(0), np.zeros(0)
        with same_numbers(self.seed):
            found, _ = self._engine(self._scaled).eigenvalues(maxIter=PRODUCTS, tol=TOLERANCE, top_n=top)
        residuals = [self.residuals[self.quotients.index(value)] for value in found]
        order = np.argsort(-np.abs(found), kind="stable")
        return np.array(found)[order] * self._scale, np.array(residuals)[order] * self._scale

    def trace_samples(self, probes: int) -> np.ndarray:
        """(probes,) v'Hv of random vectors of plus and minus one, whose mean estimates the trace.

        PyHessian's own test for enough of them compares running means that follow one another, which can agree by
        chance, and always do where the trace is negative; no difference is below minus infinity.
        """
        with same_numbers(self.seed):
            return np.array(self._engine(self._plain).trace(maxIter=probes, tol=-np.inf), np.float64)

    def _engine(self, product: Callable[[Sequence[Tensor]], tuple[float, list[Tensor]]]):  # type: ignore[no-untyped-def]
        from pyhessian import hessian

        engine = hessian(self.curvature.net, None, dataloader=[], cuda=False)
        engine.device, engine.dataloader_hv_product = device_of(self.curvature.net), product
        return engine

    def _plain(self, vector: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        image = self.curvature.times(vector)
        self.tick()
        return _dot(vector, image), image

    def _scaled(self, vector: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        """The product with H / |Hv| of the first v: PyHessian adds 1e-6 to what it divides by and compares, so that it
        would take the tiny curvature of a net that fits its data for a result at once."""
        quotient, image = self._plain(vector)
        length = _dot(image, image) ** 0.5
        self._scale = self._scale or length or 1.0
        self.quotients.append(quotient / self._scale)
        self.residuals.append(max(0.0, length**2 - quotient**2) ** 0.5 / self._scale)
        return self.quotients[-1], [part / self._scale for part in image]


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return float(sum((x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)))

"""Attacks in pixel units: images in [0, 1], eps a distance there (8/255, say), the normalisation inside the net.

Both are untargeted and in the maximum norm. Sources: FGSM, Goodfellow et al., arXiv:1412.6572; PGD, Madry et al.,
arXiv:1706.06083.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.analysis.inputs import check_floating
from workbench.analysis.robustness.measure import check_numbers
from workbench.config import whole

Classifier = Callable[[Tensor], Tensor]
MOST_STEPS = 10_000


def gradient(net: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """(B, C, H, W) of each image's own cross-entropy."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(net(x), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


def _check(x: Tensor, eps: float) -> None:
    check_floating(x)
    check_numbers("eps", [eps], 0, 1)


def fgsm(net: Classifier, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """One step of `eps` along the sign of the gradient. UsageError for values outside [0, 1], of images or eps."""
    _check(x, eps)
    return (x + eps * gradient(net, x, y).sign()).clamp(0, 1)


def pgd(
    net: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    steps: int = 10,
    step_size: float | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Steps along the sign of the gradient, each brought back into the ball of `eps` around the ORIGINAL images, and
    into [0, 1].

    `step_size`: 2.5 eps / steps if left out. `start`: images to begin with, brought into the ball; the original ones
    without. UsageError for values outside [0, 1], of images, eps or step_size.
    """
    _check(x, eps)
    steps = whole("steps", steps, 1, MOST_STEPS)
    check_numbers("step_size", [0.0 if step_size is None else step_size], 0, 1)
    size = 2.5 * eps / steps if step_size is None else step_size
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    found = x if start is None else start.clamp(low, high)
    for _ in range(steps):
        found = (found + size * gradient(net, found, y).sign()).clamp(low, high)
    return found

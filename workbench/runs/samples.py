"""What a method makes of a few fixed test pictures at lambda 0.5, stored with the run so that figures need no net."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from workbench.draw import Draw
from workbench.train import Training

PICTURES = 6


def sample_arrays(training: Training) -> dict[str, np.ndarray]:
    """sources and mixed (P, C, H, W) uint8, partner (P,), weight (P, 2), mask (P, 1, H, W) if there is one, note.

    Every picture's partner is the next one; the same seed for all methods makes their boxes comparable.
    """
    x, y = _pictures(training)
    draw = Draw(0, stream="samples", lam=0.5, partner=np.roll(np.arange(len(x)), -1).tolist())
    net = training.final_net
    with torch.no_grad(), net.probing():
        mixed, note = training.method.eval().picture(x, y, net, draw)
    weight = torch.nn.functional.pad(mixed.weight, (0, 2 - mixed.weight.shape[1]))
    arrays = {
        "sources": _bytes(x),
        "mixed": _bytes(mixed.x),
        "partner": mixed.source[:, -1].cpu().numpy(),
        "weight": weight.float().cpu().numpy(),
        "note": np.array(note),
    }
    if mixed.mask is not None and mixed.source.shape[1] == 2:
        arrays["mask"] = mixed.shares()[:, :1].cpu().numpy()
    return arrays


def _pictures(training: Training) -> tuple[Tensor, Tensor]:
    """The first test picture of each of the first few classes."""
    images, device = training.test.dataset, training.accelerator.device
    rows = images.showcase(PICTURES)
    return (images.pictures(rows).float() / 255).to(device), images.labels[rows].to(device)


def _bytes(images: Tensor) -> np.ndarray:
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()

"""What a method makes of a few fixed pictures, as arrays: stored with a run, so that figures need no net."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from workbench.draw import Draw
from workbench.methods import Method, Mixed
from workbench.models import Net
from workbench.train import Training

PICTURES = 6


def sample_arrays(training: Training) -> dict[str, np.ndarray]:
    """What the method of a training makes of its first test pictures; see `mixed_arrays`."""
    x, y = _pictures(training)
    return mixed_arrays(training.method, training.final_net, x, y)


def mixed_arrays(method: Method, net: Net | None, x: Tensor, y: Tensor, lam: float = 0.5) -> dict[str, np.ndarray]:
    """sources and mixed (P, C, H, W) uint8; partner (P,); weight (P, 3): the label's share of the picture itself, of
    its partner and of all others; mask (P, 1, H, W), where the picture itself shows, if pixels are mixed; note.

    x: (P, C, H, W) in [0, 1]. Every picture's partner is the next one; the same seed for all methods makes their boxes
    comparable.
    """
    partner = np.roll(np.arange(len(x)), -1)
    draw = Draw(0, stream="samples", lam=lam, partner=partner.tolist())
    with torch.no_grad(), net.probing() if net is not None else nullcontext():
        mixed, note = method.eval().picture(x, y, net, draw)
    arrays = {
        "sources": as_bytes(x),
        "mixed": as_bytes(mixed.x),
        "partner": partner,
        "weight": _shares(mixed, torch.from_numpy(partner)),
        "note": np.array(note),
    }
    if mixed.mask is not None:
        arrays["mask"] = mixed.shares()[:, :1].cpu().numpy()
    return arrays


def _shares(mixed: Mixed, partner: Tensor) -> np.ndarray:
    """(P, 3) float32 label shares of each picture, of its partner, and of the rest."""
    rows = len(partner)
    label = mixed.soft_labels(torch.arange(rows, device=mixed.x.device), rows).cpu()[:rows]  # a column a picture
    shares = torch.stack([label.diagonal(), label.gather(1, partner[:, None])[:, 0]], 1)
    return torch.cat([shares, 1 - shares.sum(1, keepdim=True)], 1).numpy()


def _pictures(training: Training) -> tuple[Tensor, Tensor]:
    """The first test picture of each of the first few classes."""
    images, device = training.test.dataset, training.accelerator.device
    rows = images.showcase(PICTURES)
    return (images.pictures(rows).float() / 255).to(device), images.labels[rows].to(device)


def as_bytes(images: Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8 levels, on the host."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()

"""FMix: masks of any shape, cut from smooth random fields; labels by area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net

FAINTEST = 200
"""Frequencies whose amplitude is more than this many times below that of the lowest are left out."""
SAMPLES = 64
"""Largest side of the grid of pixels on which the threshold is found."""


@dataclass(eq=False)
class FMix(Method):
    """The row itself shows where a smooth random field is highest, on a share lambda of the pixels, lambda from
    Beta(alpha, alpha). The field is white noise whose amplitude falls with frequency as 1 / f^decay.

    Where we differ from the reference code (ecs-vlc/FMix): it pairs real and imaginary parts along the wrong axis, so
    that all its masks have at most one period across the width, and the benchmark's code copies that; here the noise
    is alike in all directions. The label has the mask's mean, where that code has the lambda that was drawn: they
    differ by less than a pixel on images of up to 64 pixels, and on larger ones, whose threshold is found on a grid
    of 64 by 64 of their pixels, by a few thousandths. We draw a mask a row; `mode="batch"` gives one a batch, as
    published.
    """

    paper = Paper(
        "FMix: Enhancing Mixed Sample Data Augmentation",
        "Harris, Marcu, Painter, Niranjan, Prugel-Bennett, Hare",
        "arXiv 2020",
        "2002.12047",
    )

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution of the mask's area."""
    decay: Annotated[float, Range(1.5, 8)] = 3.0
    """How fast the amplitude falls with frequency: 3 gives a few large blobs, less gives ragged ones."""
    mode: Mode = "sample"
    """One mask a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        lam, up = draw.lam(self.alpha, n, self.mode), draw.happens(0.5, n, self.mode)
        lines, basis = draw_field(draw, n, height, width, self.decay, self.mode)
        parts = send(x.device, pairs(draw.partner(n)), lines, basis, thresholds(lines, basis, lam, up))
        source, down, across, level = parts
        with torch.autocast(x.device.type, enabled=False):
            mask = (down @ across >= level[:, None, None])[:, None].to(x.dtype)
        weight = pair_weights(mask.mean((1, 2, 3), dtype=torch.float32))
        return Mixed(blend(x, source[:, 1], mask), source, weight, mask)


def draw_field(
    draw: Draw, n: int, height: int, width: int, decay: float, mode: Mode = "sample"
) -> tuple[np.ndarray, np.ndarray]:
    """(B, H, F) and (F, W) float32, whose matrix product is a random field (B, H, W) with amplitudes f^-decay.

    The field is Re sum_k c_k exp(2 pi i (ky i / H + kx j / W)) over the half plane kx >= 0, c complex white noise
    times the amplitude. Few frequencies matter, so two small products take the place of a Fourier transform.
    """
    longest = max(height, width)
    down, across = frequencies(height, longest, decay), frequencies(width, longest, decay)
    across = across[across >= 0]
    squared = (down[:, None] / height) ** 2 + (across / width) ** 2
    amplitude = np.maximum(squared, 1 / longest**2) ** (-decay / 2) * float(longest) ** -decay
    amplitude[squared == 0] = 0  # a constant has no say in which pixels are highest
    amplitude[:, 0] /= np.sqrt(2)  # this column holds both signs of ky, the others one of two opposite waves
    noise = draw.rng.standard_normal((n if mode == "sample" else 1, *amplitude.shape, 2), np.float32)
    waves = (noise * amplitude[..., None].astype(np.float32)).view(np.complex64)[..., 0]
    lines = product(waves.transpose(0, 2, 1), _waves(down, height).T)  # (B, kx, H)
    basis = _waves(across, width)
    lines = np.concatenate([lines.real, lines.imag], 1).transpose(0, 2, 1)
    return draw.spread(np.ascontiguousarray(lines), n), np.concatenate([basis.real, -basis.imag], 1).T


def product(many: np.ndarray, one: np.ndarray) -> np.ndarray:
    """(B, M, P) many @ one, for (B, M, N) and (N, P), as one product and by PyTorch: NumPy's has threads of its own,
    which wait for PyTorch's, longer than the product takes."""
    flat = torch.from_numpy(np.ascontiguousarray(many).reshape(-1, many.shape[2]))
    with torch.autocast("cpu", enabled=False):
        return (flat @ torch.from_numpy(np.ascontiguousarray(one))).numpy().reshape(*many.shape[:2], -1)


def frequencies(side: int, longest: int, decay: float) -> np.ndarray:
    """Whole periods over a side, negative ones too, whose amplitude is not too faint and that the pixels can show."""
    most = min(int(FAINTEST ** (1 / decay) * side / longest), (side - 1) // 2)
    return np.arange(-most, most + 1)


def _waves(periods: np.ndarray, side: int) -> np.ndarray:
    """(side, periods) complex64 exp(2 pi i k x / side)."""
    return np.exp(2j * np.pi / side * np.arange(side)[:, None] * periods).astype(np.complex64)


def thresholds(lines: np.ndarray, basis: np.ndarray, lam: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(B,) float32: above which value a share lam of a field's pixels lies, rounded up or down to whole pixels.

    Found on the host, whose sort of many short rows is several times faster than PyTorch's, and needs no wait.
    """
    step = [-(-side // SAMPLES) for side in (lines.shape[1], basis.shape[1])]
    few, across = lines[:, :: step[0]], basis[:, :: step[1]]
    seen = np.sort(product(few, across).reshape(len(few), -1), 1)
    pixels = seen.shape[1]
    shown = lam.astype(np.float64) * pixels
    shown = np.where(up, np.ceil(shown), np.floor(shown)).astype(np.int64)
    # Half way to the next lower value, so that the device's rounding can't move a pixel across.
    near = np.stack([pixels - shown, pixels - shown - 1], 1).clip(0, pixels - 1)
    found = np.take_along_axis(seen, near, 1).mean(1, dtype=np.float32)
    return np.where(shown == 0, np.float32(np.inf), np.where(shown == pixels, np.float32(-np.inf), found))

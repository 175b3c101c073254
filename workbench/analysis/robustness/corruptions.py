"""The fifteen common corruptions at five severities, for whole batches of images of any size.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
2019, arXiv:1903.12261. These are "C-style": made here, and so NOT the published files, whose numbers only the files
give (`official`). What differs on purpose: frost is made and no photograph; glass swaps in another order; where the
published tables don't move further from the clean image with each severity (elastic transform, frost, glass blur;
motion blur at 32 pixels; fog at 224), ours do.

Sizes: the parameters were published for images of 32 and of 224 pixels. Between them their logarithms are interpolated
linearly in the logarithm of the shorter side; below 32 they are those of 32; above 224 they are those of 224, lengths
growing with the side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.analysis.inputs import check_floating
from workbench.analysis.robustness import blur, digital, jpeg, noise, weather
from workbench.config import UsageError, choose, is_whole, shown

SEVERITIES = (1, 2, 3, 4, 5)
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Corruption:
    """A function (images, generator, *parameters) and its parameters, a row for each severity."""

    apply: Callable[..., Tensor]
    small: Rows
    """For images of 32 pixels."""
    large: Rows
    """For images of 224 pixels."""
    lengths: tuple[int, ...] = ()
    """Which parameters are in pixels."""
    family: str = "noise"


def _column(*values: float) -> Rows:
    return tuple((value,) for value in values)


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(
        noise.gaussian_noise, _column(0.04, 0.06, 0.08, 0.09, 0.10), _column(0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot_noise": Corruption(noise.shot_noise, _column(500, 250, 100, 75, 50), _column(60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(
        noise.impulse_noise, _column(0.01, 0.02, 0.03, 0.05, 0.07), _column(0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "defocus_blur": Corruption(
        blur.defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        lengths=(0, 1),
        family="blur",
    ),
    "glass_blur": Corruption(
        blur.glass_blur,
        ((0.4, 1, 1), (0.4, 1, 1.25), (0.4, 1, 1.5), (0.4, 1, 1.75), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 2.5), (1.1, 3, 2.5), (1.5, 4, 2.5)),
        lengths=(0, 1),
        family="blur",
    ),
    "motion_blur": Corruption(
        blur.motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2.25), (9, 2.5)),
        ((20, 3), (30, 5), (30, 8), (30, 12), (40, 15)),
        lengths=(0, 1),
        family="blur",
    ),
    "zoom_blur": Corruption(
        blur.zoom_blur,
        ((1.05, 0.01), (1.10, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01)),
        ((1.10, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03)),
        family="blur",
    ),
    "snow": Corruption(
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        lengths=(2, 4, 5),
        family="weather",
    ),
    "frost": Corruption(
        weather.frost,
        ((1, 0.2), (1, 0.3), (1, 0.4), (0.95, 0.5), (0.9, 0.6)),
        ((0.95, 0.5), (0.9, 0.6), (0.85, 0.7), (0.8, 0.8), (0.75, 0.9)),
        family="weather",
    ),
    "fog": Corruption(
        weather.fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.9, 1.5), (3.5, 1.4)),
        family="weather",
    ),
    "brightness": Corruption(
        weather.brightness,
        _column(0.05, 0.1, 0.15, 0.2, 0.3),
        _column(0.1, 0.2, 0.3, 0.4, 0.5),
        family="weather",
    ),
    "contrast": Corruption(
        digital.contrast,
        _column(0.75, 0.5, 0.4, 0.3, 0.15),
        _column(0.4, 0.3, 0.2, 0.1, 0.05),
        family="digital",
    ),
    "elastic_transform": Corruption(
        digital.elastic_transform,
        ((0.03, 0.004, 0.03), (0.035, 0.007, 0.03), (0.04, 0.01, 0.03), (0.045, 0.014, 0.03), (0.05, 0.018, 0.03)),
        ((0.02, 0.003, 0.02), (0.025, 0.005, 0.02), (0.03, 0.0075, 0.02), (0.035, 0.01, 0.02), (0.04, 0.015, 0.02)),
        family="digital",
    ),
    "pixelate": Corruption(
        digital.pixelate,
        _column(0.95, 0.9, 0.85, 0.75, 0.65),
        _column(0.6, 0.5, 0.4, 0.3, 0.25),
        family="digital",
    ),
    "jpeg_compression": Corruption(
        jpeg.jpeg_compression, _column(80, 65, 58, 50, 40), _column(25, 18, 15, 10, 7), family="digital"
    ),
}


def corrupt(x: Tensor, kind: str, severity: int, rng: torch.Generator) -> Tensor:
    """(B, C, H, W) images in [0, 1], corrupted, in [0, 1]; the input stays as it is.

    `kind`: a name of CORRUPTIONS. `severity`: 1 to 5. Each image has draws of its own.
    """
    entry = choose(CORRUPTIONS, kind, "corruption")
    check_floating(x)
    return entry.apply(x, rng, *parameters(kind, severity, min(x.shape[2:]))).clamp(0, 1)


def parameters(kind: str, severity: int, side: int) -> tuple[float, ...]:
    """Those of a corruption for images whose shorter side has `side` pixels."""
    check_severity(severity)
    entry = choose(CORRUPTIONS, kind, "corruption")
    small, large = entry.small[severity - 1], entry.large[severity - 1]
    share = min(max(math.log(side / 32) / math.log(224 / 32), 0), 1)
    grown = max(side / 224, 1)
    mixed = [a ** (1 - share) * b**share for a, b in zip(small, large, strict=True)]
    return tuple(value * grown if i in entry.lengths else value for i, value in enumerate(mixed))


def check_severity(severity: object) -> None:
    if not is_whole(severity) or severity not in SEVERITIES:
        raise UsageError(f"a severity is a whole number from 1 to 5, got {shown(severity)}")

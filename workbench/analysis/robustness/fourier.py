"""Which frequencies is a net sensitive to? Its error when noise of one single frequency is added, over all of them.

Source: Yin et al., "A Fourier Perspective on Model Robustness in Computer Vision", 2019, arXiv:1906.08988.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import block_of, chunk_of
from workbench.analysis.inputs import Data, check_fit, device_of, examples
from workbench.analysis.pace import paced
from workbench.analysis.robustness import draws
from workbench.analysis.robustness.measure import check_numbers, clean_hits, hits
from workbench.analysis.run_names import run_name
from workbench.config import UsageError, whole
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

PUBLISHED = 4 / 32
"""Root mean square of the published noise at 32 pixels: a norm of 4."""


# P Q frequencies from top to bottom and from left to right
@dataclass(frozen=True)
class Fourier(Result):
    """Error under noise of each frequency. Fractions, not percent."""

    name: str
    down: np.ndarray
    """(P,) frequencies in periods an image, from top to bottom, 0 in the middle."""
    right: np.ndarray
    """(Q,) from left to right."""
    error: np.ndarray
    """(P, Q) share of wrong answers under noise of frequency (down, right); the same at the opposite point."""
    clean_error: float
    norm: float
    """Euclidean norm of the noise in each channel."""
    images: int

    def to_frame(self) -> pd.DataFrame:
        """One row a frequency: name, down, right, error, clean_error, norm, images."""
        import pandas as pd

        down, right = (part.ravel() for part in np.meshgrid(self.down, self.right, indexing="ij"))
        columns = {"down": down, "right": right, "error": self.error.ravel()}
        constants = {"clean_error": self.clean_error, "norm": self.norm, "images": self.images}
        return pd.DataFrame({"name": self.name, **columns, **constants})

    def summary(self) -> pd.DataFrame:
        """One row: mean error over the lower and the higher half of the frequencies (by distance from the middle)."""
        import pandas as pd

        radius = np.hypot(self.down[:, None] / abs(self.down).max(), self.right / abs(self.right).max())
        low, high = self.error[radius <= 0.5].mean(), self.error[radius > 0.5].mean()
        numbers = {"clean_error": self.clean_error, "low": low, "high": high, "worst": self.error.max()}
        return pd.DataFrame([{"name": self.name, "images": self.images, "norm": self.norm, **numbers}])

    @property
    def height(self) -> float:
        return 0.85

    def draw(self, ax: Axes) -> None:
        """The map, low frequencies in the middle, with the scale beside it, a line on it where the clean error is."""
        picture = ax.imshow(self.error, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        for place, values in ((ax.set_xticks, self.right), (ax.set_yticks, self.down)):
            shown = np.unique(np.linspace(0, len(values) - 1, 5).round().astype(int))
            place(shown, [f"{values[i]:g}".replace("-", "\N{MINUS SIGN}") for i in shown])
        ax.set(xlabel="horizontal periods", ylabel="vertical periods")
        scale = ax.inset_axes((1.04, 0, 0.05, 1))
        style.page(ax).colorbar(picture, cax=scale, label="error (line: clean)")
        scale.axhline(self.clean_error, color="white", linewidth=1.2)
        ax.set_title(run_name(self.name), fontsize="small")


def fourier(
    net: Net,
    data: Data,
    *,
    images: int | None = 200,
    points: int = 11,
    norm: float | None = None,
    seed: int = 0,
    name: str = "",
) -> Fourier:
    """Error of a net under noise of single frequencies, from one end of the spectrum to the other.

    `images`: how many (None: all). `points`: frequencies along each axis (an odd number: 0 is one of them); as many
    as there are, where fewer fit between 0 and the highest. `norm`: Euclidean norm of the noise in each
    channel; when left out 4 at 32 pixels, as published, and the same mean square at other sizes.
    Half of the map is computed: noise of opposite frequencies is the same. Signs are drawn for each image and channel.
    """
    data = examples(data, images, seed)
    check_fit(net, data)
    height, width = data.images.shape[2:]
    points = whole("points", points, 3, 10_001)
    if points % 2 == 0:
        raise UsageError(f"points must be odd, so that 0 is one of the frequencies, got {points}")
    strength = PUBLISHED * (height * width) ** 0.5 if norm is None else check_numbers("norm", [norm], 0, 1e6)[0]
    down, right = frequencies(height, points), frequencies(width, points)
    size, chunk, wrong = block_of(data), chunk_of(net, data), np.zeros((len(down), len(right)))

    def work(cell: int) -> None:
        noise = strength * wave(down[cell // len(right)], right[cell % len(right)], height, width)
        for start in range(0, len(data), size):
            x, y = data.batch(start, size, device_of(net))
            signs = draws.uniform((*x.shape[:2], 1, 1), draws.generator(seed, "fourier", start), x, -1, 1).sign()
            noisy = (x + signs * noise.to(x)).clamp(0, 1)
            wrong.flat[cell] += len(y) - hits(net, noisy, y, chunk)

    with net.probing():
        paced(range(wrong.size // 2 + 1), work, "frequencies")
    wrong.flat[wrong.size // 2 + 1 :] = wrong.ravel()[: wrong.size // 2][::-1]
    clean_error = 1 - clean_hits(net, data) / len(data)
    return Fourier(name, down, right, wrong / len(data), clean_error, float(strength), len(data))


# ------------------------------------------------------------------------------------------------------------- parts


def frequencies(side: int, points: int) -> np.ndarray:
    """(points,) whole numbers of periods, evenly spread from the most negative frequency to the most positive."""
    most = side // 2
    half = np.unique(np.round(np.linspace(0, most, points // 2 + 1)))
    return np.concatenate([-half[:0:-1], half])


def wave(down: float, right: float, height: int, width: int) -> Tensor:
    """(H, W) float64 cosine of so many periods, of norm 1."""
    rows = torch.arange(height, dtype=torch.float64)[:, None] * down / height
    columns = torch.arange(width, dtype=torch.float64) * right / width
    pattern = torch.cos(2 * torch.pi * (rows + columns))
    return pattern / pattern.norm()

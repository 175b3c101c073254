"""How much of an image does a net need, and does it need the parts in their places? Hidden and shuffled patches.

Sources: random patch drop and patch shuffle, Naseer et al., "Intriguing Properties of Vision Transformers", 2021,
arXiv:2105.10497.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import block_of, chunk_of
from workbench.analysis.inputs import Data, check_fit, device_of, examples
from workbench.analysis.options import plain
from workbench.analysis.pace import paced
from workbench.analysis.robustness import draws
from workbench.analysis.robustness.measure import check_numbers, clean_hits, hits
from workbench.analysis.robustness.patches import hidden_cells, hide, shuffle
from workbench.analysis.run_names import run_name
from workbench.config import UsageError, choose, shown, whole
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

HIDDEN, SHUFFLED = style.PALETTE["mixup"], style.PALETTE["automix"]


# S shares, G grids
@dataclass(frozen=True)
class Occlusion(Result):
    """Accuracy with parts hidden and with parts shuffled. Fractions, not percent."""

    name: str
    shares: np.ndarray
    """(S,) share of the image that is hidden."""
    hidden: np.ndarray
    """(S,) accuracy with it hidden."""
    grids: np.ndarray
    """(G,) squares along a side, which change places."""
    shuffled: np.ndarray
    """(G,) accuracy with them shuffled."""
    clean: float
    """Accuracy on the images as they are."""
    images: int

    def to_frame(self) -> pd.DataFrame:
        """One row a setting: name, change (hidden or shuffled), level (share or grid), accuracy, clean, images."""
        import pandas as pd

        changes = ["hidden"] * len(self.shares) + ["shuffled"] * len(self.grids)
        levels, accuracy = np.concatenate([self.shares, self.grids]), np.concatenate([self.hidden, self.shuffled])
        columns = {"change": changes, "level": levels, "accuracy": accuracy}
        return pd.DataFrame({"name": self.name, **columns, "clean": self.clean, "images": self.images})

    def draw(self, ax: Axes) -> None:
        """Accuracy by the share that is hidden, and by the squares that are shuffled. Dashed: clean."""
        order, ranks = np.argsort(self.shares), np.argsort(self.grids)
        left, right = np.arange(len(order)), len(order) + 0.5 + np.arange(len(ranks))
        ax.plot(left, self.hidden[order], "o-", color=HIDDEN, label="pixels hidden")
        ax.plot(right, self.shuffled[ranks], "s-", color=SHUFFLED, label="squares shuffled")
        ax.axhline(self.clean, color=style.MUTED, linewidth=0.7, linestyle=(0, (4, 2)), label="clean")
        times = "\N{MULTIPLICATION SIGN}"
        texts = [f"{100 * s:.0f} %" for s in self.shares[order]] + [f"{g}{times}{g}" for g in self.grids[ranks]]
        ax.set_xticks(np.concatenate([left, right]), texts)
        ax.set(ylabel="accuracy", ylim=(0, 1))
        ax.set_title(run_name(self.name), fontsize="small")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)


def occlusion(
    net: Net,
    data: Data,
    *,
    images: int | None = 500,
    shares: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
    cells: int = 8,
    fill: Literal["mean", "black", "noise"] = "mean",
    grids: Sequence[int] = (2, 4, 8),
    seed: int = 0,
    name: str = "",
) -> Occlusion:
    """Accuracy of a net on images of which parts are hidden, or whose parts have changed places; drawn per image.

    `images`: how many (None: all). `shares`: of the `cells` x `cells` patches, hidden behind `fill` (the mean colour
    of the training images, black, or noise). `grids`: squares along a side that are shuffled; 1 shuffles nothing.
    """
    data = examples(data, images, seed)
    check_fit(net, data)
    hiding, side = check_numbers("shares", shares, 0, 1), min(data.images.shape[2:])
    cells = whole("cells", cells, 1, side)
    choose({"mean": 0, "black": 0, "noise": 0}, fill, "fill")
    listed: object = plain(grids)
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise UsageError(f"grids must be a list of whole numbers from 1 to {side}, got {shown(grids)}")
    grids = [whole("a grid", grid, 1, side) for grid in listed]
    size, chunk, counts = block_of(data), chunk_of(net, data), np.zeros(len(hiding) + len(grids))

    def work(start: int) -> None:
        x, y = data.batch(start, size, device_of(net))
        behind = _behind(net, x, fill, draws.generator(seed, "fill", start))
        for i, share in enumerate(hiding):
            rng = draws.generator(seed, "hidden patches", start)
            counts[i] += hits(net, hide(x, share, cells, behind, rng), y, chunk)
        for i, grid in enumerate(grids, len(hiding)):
            counts[i] += hits(net, shuffle(x, grid, draws.generator(seed, f"shuffle {grid}", start)), y, chunk)

    with net.probing():
        paced(range(0, len(data), size), work, "occlusion")
    accuracy = counts / len(data)
    return Occlusion(
        name, np.array([hidden_cells(share, cells) / cells**2 for share in hiding]), accuracy[: len(hiding)],
        np.array(grids), accuracy[len(hiding) :], clean_hits(net, data) / len(data), len(data),
    )  # fmt: skip


def _behind(net: Net, x: Tensor, fill: str, rng: torch.Generator) -> Tensor:
    """What hidden pixels show."""
    if fill == "noise":
        return draws.uniform(x.shape, rng, x)
    return net.mean[0].clamp(0, 1) if fill == "mean" else torch.zeros_like(net.mean[0])

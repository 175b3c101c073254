"""How much of the image itself methods leave: the distribution of the realised lambda over many draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench import style
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, Method, build

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 64
"""Pixels of the images that are mixed; most lambdas hardly depend on it."""


def realised(method: Method, draws: int = 1000, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """(draws,) label weights of the image itself, sorted. The method must mix without a net."""
    x, y = torch.rand(draws, 1, side, side, generator=torch.Generator().manual_seed(seed)), torch.zeros(draws).long()
    return method.mix(x, y, None, Draw(seed)).weight[:, 0].sort().values.numpy()


def lambdas(keys: Sequence[str] = (), draws: int = 1000, *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """Cumulative distributions at the methods' defaults: of how many draws the weight is below a value.

    keys: of methods that mix without a net; all such methods when left out.
    """
    free = [key for key in METHODS if not METHODS[key].needs_net and METHODS[key].family not in ("baseline", "loss")]
    needing = [key for key in keys if key not in free]
    if needing:
        raise UsageError(f"{', '.join(needing)}: lambda alone can be drawn without a net of {', '.join(free)}")
    with style.paper(venue, columns) as width:
        figure = style.new_figure(width, 0.75 * width)
        ax = figure.subplots()
        for key in keys or free:
            weight = realised(build(key), draws)
            ax.plot(weight, (np.arange(draws) + 0.5) / draws, color=style.PALETTE[key], label=style.LABELS[key])
        ax.set(xlabel="label weight of the image itself", ylabel="share of draws below it", xlim=(0, 1), ylim=(0, 1))
        figure.legend(loc="outside lower center", ncols=3)
        return figure

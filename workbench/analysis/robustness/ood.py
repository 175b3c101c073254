"""Does a net notice images of a kind it was not trained on? Out-of-distribution detection by its own logits.

Scores, higher for what it knows: the maximum softmax probability (Hendrycks and Gimpel, arXiv:1610.02136) and the
negative energy, the log-sum-exp of the logits (Liu et al., arXiv:2010.03759).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import chunk_of
from workbench.analysis.inputs import Data, Examples, check_fit, device_of, examples
from workbench.analysis.run_names import run_name
from workbench.config import UsageError
from workbench.data import ImageSet, load
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SCORES = ("msp", "energy")
FEWEST = 20
"""Images of each kind from which 95 % of them are fewer than all."""
LOOKS = {"msp": (style.PALETTE["mixup"], "maximum probability"), "energy": (style.PALETTE["automix"], "energy")}


# N known images, M others
@dataclass(frozen=True)
class Ood(Result):
    """The scores of every image; what is quoted comes from them."""

    name: str
    other: str
    """The data set of the images that the net should not know."""
    known: np.ndarray
    """(2, N) maximum probability and negative energy of the known images."""
    unknown: np.ndarray
    """(2, M) of the others."""

    def auroc(self, score: str) -> float:
        """Chance that a known image scores above another one, ties counting half; 0.5 is guessing. "msp", "energy"."""
        row = SCORES.index(score)
        return auroc(self.known[row], self.unknown[row])

    def fpr95(self, score: str) -> float:
        """Share of the others that pass where at least 95 % of the known images do; less is better."""
        row = SCORES.index(score)
        return fpr_at(self.known[row], self.unknown[row], 0.95)

    def to_frame(self) -> pd.DataFrame:
        """One row a score: name, other, score, auroc, fpr95, known and unknown (numbers of images)."""
        import pandas as pd

        counts = {"known": self.known.shape[1], "unknown": self.unknown.shape[1]}
        rows = [{"score": s, "auroc": self.auroc(s), "fpr95": self.fpr95(s), **counts} for s in SCORES]
        return pd.DataFrame([{"name": self.name, "other": self.other, **row} for row in rows])

    @property
    def height(self) -> float:
        return 1.0

    def draw(self, ax: Axes) -> None:
        """ROC curves: share of known images that pass, over the share of others."""
        ax.plot((0, 1), (0, 1), color=style.FAINT, linewidth=0.7, linestyle=(0, (4, 2)))
        for row, score in enumerate(SCORES):
            color, text = LOOKS[score]
            false, true = roc(self.known[row], self.unknown[row])
            numbers = f"AUROC {self.auroc(score):.2f}, FPR95 {self.fpr95(score):.2f}"
            ax.plot(false, true, color=color, label=f"{text}: {numbers}")
        ticks, texts = (0, 0.5, 1), ("0", "0.5", "1")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set(xticks=ticks, xticklabels=texts, yticks=ticks, yticklabels=texts)
        ax.set(xlabel=f"{self.other} taken for known", ylabel="known images kept")
        ax.set_title(run_name(self.name), fontsize="small")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))


def ood(net: Net, data: Data, *, images: int | None = 1000, other: str = "", seed: int = 0, name: str = "") -> Ood:
    """How well the net's logits tell its own test images from those of another data set.

    `images`: how many of each (None: all), at least 20. `other`: name of a data set, brought to the size and the
    channels of the data; when left out the embedded photographs, or shapes for a net of photographs. Whether the two
    sets share classes is not known here: choose one that has none in common.
    """
    own = data.name if isinstance(data, ImageSet) else ""
    data = examples(data, images, seed)
    check_fit(net, data)
    other = other or ("shapes" if own == "photos" else "photos")
    if other == own:
        raise UsageError(f"{other} is what the net is tested on; name another data set to tell it from")
    height, width = data.images.shape[2:]
    if height != width:
        raise UsageError(f"other data sets come as squares, these images are {height} x {width}; crop them first")
    strangers = examples(load(other, "test", size=height), images, seed)
    if (fewest := min(len(data), len(strangers))) < FEWEST:
        raise UsageError(f"ood needs at least {FEWEST} images of each data set, got {fewest}; take more")
    fitting = Examples(_channels(strangers.images, net.channels), strangers.labels)
    return Ood(name, other, _scores(net, data), _scores(net, fitting))


def _channels(images: Tensor, channels: int) -> Tensor:
    """uint8 images with so many channels: grey ones repeated, others averaged."""
    if images.shape[1] == channels:
        return images
    grey = images.float().mean(1, keepdim=True).round().to(images.dtype)
    return grey.expand(-1, channels, -1, -1).contiguous()


def _scores(net: Net, data: Examples) -> np.ndarray:
    """(2, N) float64 maximum probability and negative energy."""
    chunk, device = chunk_of(net, data), device_of(net)
    with net.probing(), torch.no_grad():
        found = chunk.over(len(data), lambda start, number: net(data.batch(start, number, device)[0]).cpu())
    logits = torch.cat(found).double()
    return torch.stack([logits.softmax(1).amax(1), logits.logsumexp(1)]).numpy()


# ------------------------------------------------------------------------------------------------------- the numbers


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counting half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([known, unknown]))[: len(known)]
    return float((ranks.sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def fpr_at(known: np.ndarray, unknown: np.ndarray, kept: float) -> float:
    """Share of the unknown at or above the highest threshold that at least `kept` of the known reach."""
    threshold = np.sort(known)[::-1][max(int(np.ceil(kept * len(known) - 1e-9)), 1) - 1]
    return float((unknown >= threshold).mean())


def roc(known: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the unknown and of the known that reach each threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    shares = [1 - np.searchsorted(np.sort(part), thresholds, side="left") / len(part) for part in (unknown, known)]
    return np.concatenate([[0], shares[0]]), np.concatenate([[0], shares[1]])

"""How much of its accuracy does a net keep when the images get worse? Fifteen common corruptions, five severities.

Beside it: `adversarial` (FGSM and PGD), `occlusion` (hidden and shuffled patches), `fourier` (noise of one frequency),
`ood` (does it notice images of another kind).

Scores. The corruption error of a kind is its mean error over the severities; their mean over the kinds is the mean
corruption error, here in plain fractions ("unnormalised mCE"). `Robustness.against(baseline)` divides by a baseline's
errors, as Hendrycks and Dietterich (arXiv:1903.12261) divide by AlexNet's; the relative one counts only what is lost
beyond the clean error, on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import block_of, chunk_of
from workbench.analysis.inputs import Data, Examples, check_fit, device_of, examples
from workbench.analysis.options import plain
from workbench.analysis.pace import paced
from workbench.analysis.robustness import draws
from workbench.analysis.robustness.corruptions import CORRUPTIONS, check_severity, corrupt
from workbench.analysis.robustness.measure import clean_hits, hits
from workbench.analysis.robustness.official import files_of
from workbench.analysis.run_names import run_name
from workbench.config import UsageError, choose
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLORS = {
    "noise": style.PALETTE["mixup"],
    "blur": style.PALETTE["manifoldmix"],
    "weather": style.PALETTE["cutmix"],
    "digital": style.PALETTE["automix"],
}
"""One a family of corruptions."""


# K kinds of corruption, S severities
@dataclass(frozen=True)
class Robustness(Result):
    """Accuracy under each corruption at each severity. Fractions, not percent."""

    name: str
    kinds: tuple[str, ...]
    severities: np.ndarray
    """(S,) from 1 to 5."""
    accuracy: np.ndarray
    """(K, S) share of right answers."""
    clean: float
    """Accuracy on the images as they are."""
    images: int
    """Images of each corruption and severity."""
    source: str
    """"C-style" where the corruptions were made here, otherwise where the published files lay."""

    @property
    def errors(self) -> np.ndarray:
        """(K,) mean error over the severities: the corruption error of each kind."""
        return 1 - self.accuracy.mean(1)

    @property
    def mean_corruption_error(self) -> float:
        """Mean of `errors` over the kinds, not divided by a baseline's."""
        return float(self.errors.mean())

    def against(self, baseline: Robustness) -> pd.DataFrame:
        """One row a kind, and their mean: `ce`, the errors divided by the baseline's, and `relative_ce`, the same of
        what is lost beyond the clean error; nan where the baseline loses nothing. Both as fractions: 1 is the baseline.

        UsageError unless the baseline knows the same kinds and severities, from the same source.
        """
        import pandas as pd

        same = self.kinds == baseline.kinds and np.array_equal(self.severities, baseline.severities)
        if not same or self.source != baseline.source:
            raise UsageError("a baseline needs the same corruptions, severities and source; compute both with one call")
        lost, theirs = self.errors - (1 - self.clean), baseline.errors - (1 - baseline.clean)
        columns = {"ce": _ratio(self.errors, baseline.errors), "relative_ce": _ratio(lost, theirs)}
        frame = pd.DataFrame({"name": self.name, "corruption": self.kinds, **columns})
        mean = {"name": self.name, "corruption": "mean", **{k: float(np.mean(v)) for k, v in columns.items()}}
        return pd.concat([frame, pd.DataFrame([mean])], ignore_index=True)

    def to_frame(self) -> pd.DataFrame:
        """One row a corruption and severity (0 is the clean images): name, corruption, severity, accuracy, images."""
        import pandas as pd

        kinds, severities = np.repeat(self.kinds, len(self.severities)), np.tile(self.severities, len(self.kinds))
        return pd.DataFrame(
            {
                "name": self.name,
                "corruption": ["clean", *kinds],
                "severity": np.concatenate([[0], severities]),
                "accuracy": np.concatenate([[self.clean], self.accuracy.ravel()]),
                "images": self.images,
            }
        )

    def summary(self) -> pd.DataFrame:
        """One row: clean accuracy, its mean under corruption, what is lost between them, and the worst kind."""
        import pandas as pd

        kept, worst = 1 - self.mean_corruption_error, int(self.errors.argmax())
        numbers = {
            "clean": self.clean,
            "corrupted": kept,
            "lost": self.clean - kept,
            "mean_corruption_error": self.mean_corruption_error,
            "worst": self.kinds[worst],
            "worst_accuracy": 1 - self.errors[worst],
            "source": self.source,
        }
        return pd.DataFrame([{"name": self.name, "images": self.images, **numbers}])

    @property
    def height(self) -> float:
        return 0.25 + 0.055 * len(self.kinds)

    def draw(self, ax: Axes) -> None:
        """A bar a corruption, mean over the severities, with a dot for each severity; the line is the clean images."""
        rows = np.arange(len(self.kinds))
        colors = [COLORS[CORRUPTIONS[kind].family] for kind in self.kinds]
        ax.barh(rows, self.accuracy.mean(1), color=colors, height=0.72, alpha=0.8)
        for column in self.accuracy.T:
            ax.plot(column, rows, "o", color=style.INK, markersize=1.6, zorder=3, linestyle="none")
        ax.axvline(self.clean, color=style.INK, linewidth=0.8, linestyle=(0, (4, 2)))
        ax.set_yticks(rows, [kind.replace("_", " ") for kind in self.kinds])
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1), xlabel=f"accuracy ({self.source})")
        ax.annotate(
            f"clean {self.clean:.2f}", (self.clean, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="right" if self.clean > 0.5 else "left", fontsize=style.SMALLEST,
        )  # fmt: skip
        ax.set_title(run_name(self.name), pad=12, fontsize="small")


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


# ------------------------------------------------------------------------------------------------------- the numbers


def robustness(
    net: Net,
    data: Data,
    *,
    images: int | None = 500,
    kinds: Sequence[str] = (),
    severities: Sequence[int] = (1, 3, 5),
    official: str = "",
    seed: int = 0,
    name: str = "",
) -> Robustness:
    """Accuracy of a net on corrupted images.

    `images`: how many, the same for every corruption (None: all). `kinds`: names of CORRUPTIONS; all fifteen when
    empty. `severities`: from 1 to 5; published scores are means over all five. `official`: a folder with the published
    files, CIFAR-10-C or CIFAR-100-C (`.npy`) or ImageNet-C (folders); when empty the corruptions are made here,
    "C-style".

    Each corruption draws from the seed, and the same for every severity. UsageError for whatever does not fit.
    """
    data = examples(data, images, seed)
    check_fit(net, data)
    chosen = (kinds,) if isinstance(kinds, str) else tuple(kinds) or tuple(CORRUPTIONS)
    given = plain(severities)
    levels = tuple(given) if isinstance(given, Sequence) else (given,)
    for kind in chosen:
        choose(CORRUPTIONS, kind, "corruption")
    for level in levels:
        check_severity(level)
    if not levels:
        raise UsageError("robustness needs at least one severity from 1 to 5, got none")
    if official:
        counts, shown_images = _of_files(net, data, chosen, levels, official, images, seed)
    else:
        counts, shown_images = _made(net, data, chosen, levels, seed), len(data)
    return Robustness(
        name=name,
        kinds=chosen,
        severities=np.array(levels),
        accuracy=counts / shown_images,
        clean=clean_hits(net, data) / len(data),
        images=shown_images,
        source=f"official: {official}" if official else "C-style",
    )


def _made(net: Net, data: Examples, kinds: tuple[str, ...], levels: tuple[int, ...], seed: int) -> np.ndarray:
    """(K, S) right answers on images that are corrupted here."""
    counts, size, chunk = np.zeros((len(kinds), len(levels))), block_of(data), chunk_of(net, data)

    def work(step: tuple[int, int]) -> None:
        start, column = step
        x, y = data.batch(start, size, device_of(net))
        for row, kind in enumerate(kinds):
            rng = draws.generator(seed, f"corruption {kind}", start)
            counts[row, column] += hits(net, corrupt(x, kind, levels[column], rng), y, chunk)

    with net.probing():
        paced([(s, c) for s in range(0, len(data), size) for c in range(len(levels))], work, "corruptions")
    return counts


def _of_files(
    net: Net,
    data: Examples,
    kinds: tuple[str, ...],
    levels: tuple[int, ...],
    official: str,
    images: int | None,
    seed: int,
) -> tuple[np.ndarray, int]:
    """(K, S) right answers on published files, and how many images each of them counts."""
    files = files_of(official, data, net.num_classes, images, seed)
    files.check(kinds, levels)
    counts = np.zeros((len(kinds), len(levels)))

    def work(step: tuple[int, int]) -> None:
        row, column = step
        counts[row, column] = clean_hits(net, files.examples(kinds[row], levels[column]))

    paced([(r, c) for r in range(len(kinds)) for c in range(len(levels))], work, "corruptions")
    return counts, len(files)

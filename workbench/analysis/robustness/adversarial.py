"""Does a net keep its answers when each pixel may be moved a little, in the worst direction? FGSM and PGD.

Both are weak attacks, which show that a net is NOT robust; to claim that it is, use AutoAttack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import block_of, chunk_of
from workbench.analysis.inputs import Data, check_fit, device_of, examples
from workbench.analysis.pace import paced
from workbench.analysis.robustness import draws
from workbench.analysis.robustness.attacks import MOST_STEPS, fgsm, gradient, pgd
from workbench.analysis.robustness.measure import check_numbers, clean_hits, hits
from workbench.analysis.run_names import run_name
from workbench.config import whole
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LOOKS = {"fgsm": (style.PALETTE["cutmix"], "^"), "pgd": (style.PALETTE["automix"], "o")}


# A attacks, E budgets
@dataclass(frozen=True)
class Adversarial(Result):
    """Accuracy under attack. Fractions, not percent."""

    name: str
    attacks: tuple[str, ...]
    """fgsm and pgd."""
    eps: np.ndarray
    """(E,) largest change of a pixel, in units of [0, 1]."""
    accuracy: np.ndarray
    """(A, E) share of right answers."""
    clean: float
    """Accuracy on the images as they are."""
    steps: int
    """Steps of PGD."""
    images: int

    def to_frame(self) -> pd.DataFrame:
        """One row an attack and eps: name, attack, eps, eps_255 (in grey levels), accuracy, clean, images."""
        import pandas as pd

        eps = np.tile(self.eps, len(self.attacks))
        return pd.DataFrame(
            {
                "name": self.name,
                "attack": np.repeat([self._label(attack) for attack in self.attacks], len(self.eps)),
                "eps": eps,
                "eps_255": 255 * eps,
                "accuracy": self.accuracy.ravel(),
                "clean": self.clean,
                "images": self.images,
            }
        )

    def _label(self, attack: str) -> str:
        return "FGSM" if attack == "fgsm" else f"PGD-{self.steps}"

    def draw(self, ax: Axes) -> None:
        """Accuracy over eps, a line an attack, from the clean accuracy on."""
        order = np.argsort(self.eps)
        eps = np.concatenate([[0], 255 * self.eps[order]])
        for attack, values in zip(self.attacks, self.accuracy, strict=True):
            color, marker = LOOKS[attack]
            line = np.concatenate([[self.clean], values[order]])
            ax.plot(eps, line, marker=marker, color=color, label=self._label(attack), clip_on=False)
        ax.set(xlabel="largest change of a pixel (of 255)", ylabel="accuracy", ylim=(0, 1))
        ax.set_xlim(left=0)
        ax.set_title(run_name(self.name), fontsize="small")
        ax.legend()


def adversarial(
    net: Net,
    data: Data,
    *,
    images: int | None = 200,
    eps: Sequence[float] = (1 / 255, 2 / 255, 4 / 255, 8 / 255),
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    seed: int = 0,
    name: str = "",
) -> Adversarial:
    """Accuracy of a net under FGSM and PGD, untargeted, in the maximum norm.

    `images`: how many (None: all). `eps`: largest changes of a pixel, in units of [0, 1]; 0 is the clean accuracy.
    `steps`, `step_size` (2.5 eps / steps if left out) and `random_start` are PGD's.
    """
    data = examples(data, images, seed)
    check_fit(net, data)
    budgets = check_numbers("eps", eps, 0, 1)
    steps = whole("steps", steps, 1, MOST_STEPS)
    if step_size is not None:
        check_numbers("step_size", [step_size], 0, 1)
    size, chunk = block_of(data, most=128), chunk_of(net, data, most=128, probe=gradient)
    counts = np.zeros((2, len(budgets)))

    def work(step: tuple[int, int]) -> None:
        start, column = step
        x, y = data.batch(start, size, device_of(net))
        away = draws.uniform(x.shape, draws.generator(seed, "pgd", start), x, -1, 1) if random_start else None

        def attacked(first: int, number: int) -> tuple[int, int]:
            rows = slice(first, first + number)
            begin = None if away is None else x[rows] + budgets[column] * away[rows]
            plain = fgsm(net, x[rows], y[rows], budgets[column])
            found = pgd(net, x[rows], y[rows], budgets[column], steps=steps, step_size=step_size, start=begin)
            return hits(net, plain, y[rows], chunk), hits(net, found, y[rows], chunk)

        counts[:, column] += np.sum(chunk.over(len(y), attacked), axis=0)

    with net.probing():
        paced([(s, c) for s in range(0, len(data), size) for c in range(len(budgets))], work, "attacks")
    clean = clean_hits(net, data) / len(data)
    return Adversarial(name, ("fgsm", "pgd"), np.array(budgets), counts / len(data), clean, steps, len(data))

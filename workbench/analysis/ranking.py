"""Which methods are better, and is that more than the luck of seeds and test images?

Every method is looked at on the same seeds and the same test images, with the final weights, so that what a seed or a
hard image does to all cancels out. Nothing here takes a maximum over epochs or picks among settings.

Sources: critical differences, Demsar, JMLR 7, 2006; Friedman and Nemenyi as there; Holm's step-down procedure, 1979;
probability of improvement, Agarwal et al., arXiv:2108.13264; two-way bootstrap, Owen, Annals of Applied Statistics
1(2), 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from workbench.analysis.base import Result
from workbench.analysis.groups import group, one_setting, settings_tried
from workbench.analysis.pace import paced
from workbench.config import RunConfig, UsageError, whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LEVEL = 0.95
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
"""Quantiles at which an interval begins and ends."""
CHUNK = 1 << 24
"""Counts of test images drawn at a time, so that the bootstrap needs little memory."""
MOST_SEEDS = 1000
MOST_DRAWS = 100_000
"""With so many the ends of an interval are off by a hundredth of its length; more would only fill the memory."""
BOOTSTRAP = 1979
"""Makes the resamples a stream of their own, lest they be in step with what a seed did elsewhere."""


@dataclass(frozen=True)
class Outcome:
    """What one finished run got right."""

    config: RunConfig
    right: np.ndarray
    """(N,) bool, test image by test image."""
    beside: tuple[RunConfig, ...] = ()
    """Settings of all runs, finished or not, in the folders that the ranked runs lie in."""


# R methods, S seeds that all of them have
@dataclass(frozen=True)
class Ranking(Result):
    """Methods by falling accuracy, and all pairs of them. Accuracies and differences are fractions."""

    label: tuple[str, ...]
    method: tuple[str, ...]
    setting: str
    seeds: np.ndarray
    """(S,) the seeds that count: those that every method has."""
    images: int
    tried: np.ndarray
    """(R,) settings of the method on these data and this model that lie in the runs' folders, whatever became of them:
    a method that was tuned more has had more luck."""
    accuracy: np.ndarray
    """(R,) mean over seeds."""
    accuracy_low: np.ndarray
    accuracy_high: np.ndarray
    """(R,) 95 % bootstrap interval over seeds and test images."""
    mean_rank: np.ndarray
    """(R,) mean over seeds of the rank; 1 is best, ties share theirs."""
    friedman: float
    """p-value of Friedman's test that all ranks are alike; nan for fewer than three methods or two seeds."""
    critical_difference: float
    """Nemenyi: mean ranks that differ by less are not told apart at 5 %; nan for fewer than two seeds."""
    difference: np.ndarray
    """(R, R) accuracy of the row minus that of the column."""
    difference_low: np.ndarray
    difference_high: np.ndarray
    """(R, R) 95 % bootstrap interval of the difference, over seeds and test images."""
    holm: np.ndarray
    """(R, R) p-value of the paired difference (Student's t over seeds), adjusted by Holm for the number of pairs."""
    improvement: np.ndarray
    """(R, R) probability that a run of the row beats one of the column, over all pairs of seeds; ties count half."""
    seeds_needed: np.ndarray
    """(R, R) seeds from which the paired test of `holm` would see a difference of this size and spread, if they stay as
    they are: about an even chance, no promise. nan where more than 1000 would be needed, or where a single seed tells
    no spread."""
    name: str = ""

    @property
    def separated(self) -> np.ndarray:
        """(R, R) bool: the bootstrap interval of the difference holds no zero, and the paired test agrees."""
        clear = (self.difference_low > 0) | (self.difference_high < 0)
        return clear & (self.holm < 1 - LEVEL)

    @property
    def winner(self) -> str | None:
        """The method that is separated from all others, if there is one."""
        clear = self.separated[0, 1:]
        return self.label[0] if len(clear) and clear.all() else None

    def to_frame(self) -> pd.DataFrame:
        """One row a pair of methods; `name` is the setting where the result has no name."""
        import pandas as pd

        first, second = np.triu_indices(len(self.label), 1) if len(self.label) > 1 else (np.array([0]), np.array([0]))
        columns = (
            "difference",
            "difference_low",
            "difference_high",
            "holm",
            "improvement",
            "seeds_needed",
            "separated",
        )
        return pd.DataFrame(
            {
                "name": self.name or self.setting,
                "method": [self.label[i] for i in first],
                "against": [self.label[i] for i in second],
                **{key: getattr(self, key)[first, second] for key in [*columns, "separated"]},
            }
        )

    def summary(self) -> pd.DataFrame:
        """One row a method, best first; `more_seeds` is what it would take to separate it from the one above it. The
        last four columns are the whole ranking's."""
        import pandas as pd

        above = np.maximum(np.arange(len(self.label)) - 1, 0)
        rows = np.arange(len(self.label))
        needed = np.maximum(self.seeds_needed[above, rows] - len(self.seeds), 0)
        # What the seeds would tell apart, but the bootstrap does not: it is the test images that are too few.
        needed[(needed == 0) & ~self.separated[above, rows]] = np.nan
        needed[0] = np.nan
        return pd.DataFrame(
            {
                "name": list(self.label),
                "accuracy": self.accuracy,
                "low": self.accuracy_low,
                "high": self.accuracy_high,
                "mean_rank": self.mean_rank,
                "p_to_one_above": np.where(rows > 0, self.holm[above, rows], np.nan),
                "more_seeds": needed,
                "settings_tried": self.tried,
                "settings_shown": [self.method.count(method) for method in self.method],
                "seeds": len(self.seeds),
                "images": self.images,
                "friedman_p": self.friedman,
                "critical_difference": self.critical_difference,
            }
        )

    @property
    def height(self) -> float:
        return 0.27 + 0.046 * len(self.label)

    def draw(self, ax: Axes) -> None:
        """Critical-difference diagram: mean ranks, 1 (best) on the right; bars join what is not told apart."""
        from workbench.analysis.critical import critical_differences

        critical_differences(ax, self)


def ranking(outcomes: Sequence[Outcome], *, draws: int = 2000, seed: int = 0, name: str = "") -> Ranking:
    """Rank methods of one setting by what their runs got right on the same test images.

    draws: resamples of seeds and images together, at most 100,000; with fewer than about five seeds their share of the
    uncertainty is underestimated, and the paired test is the stricter judge. UsageError for runs of different settings
    or test images, and where no seed is common to all methods.
    """
    draws, seed = whole("draws", draws, 1, MOST_DRAWS), whole("seed", seed, 0)
    groups = group(outcomes)
    setting = one_setting(groups, "ranking").setting
    seeds = sorted(set.intersection(*(set(g.seeds) for g in groups)))
    if not seeds:
        raise UsageError("ranking needs a seed that every method has; train the same seeds for all")
    right = _matrix([[next(o for o in g.items if o.config.seed == s).right for s in seeds] for g in groups])
    accuracy = right.mean(2)
    order = np.argsort(-accuracy.mean(1), kind="stable")
    groups, right, accuracy = [groups[i] for i in order], right[order], accuracy[order]
    means = bootstrap(right, draws, seed)
    low, high = np.quantile(means, ENDS, axis=0)
    # a row at a time: all pairs of all draws would not fit everywhere
    between = [np.quantile(means[:, [row]] - means, ENDS, axis=0) for row in range(len(groups))]
    difference_low, difference_high = np.stack(between, 1)
    here = [o.config for o in outcomes]
    beside = [*here, *{id(c): c for o in outcomes for c in o.beside}.values()]
    mean_rank, friedman, critical = ranks(accuracy)
    return Ranking(
        label=tuple(g.label for g in groups),
        method=tuple(g.method for g in groups),
        setting=setting,
        seeds=np.array(seeds),
        images=right.shape[2],
        tried=np.array([settings_tried(g, beside) for g in groups]),
        accuracy=accuracy.mean(1),
        accuracy_low=low,
        accuracy_high=high,
        mean_rank=mean_rank,
        friedman=friedman,
        critical_difference=critical,
        difference=accuracy.mean(1)[:, None] - accuracy.mean(1),
        difference_low=difference_low,
        difference_high=difference_high,
        holm=holm(paired_p(accuracy, right.shape[2])),
        improvement=improvement(accuracy),
        seeds_needed=seeds_needed(accuracy),
        name=name,
    )


def _matrix(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(R, S, N) bool, or a UsageError where the runs were tested on different numbers of images."""
    sizes = {len(right) for row in rows for right in row}
    if len(sizes) > 1:
        raise UsageError(f"ranking needs runs that were tested on the same images, got {sorted(sizes)} of them")
    if sizes == {0}:
        raise UsageError("ranking needs at least one test image, got none")
    return np.array(rows, bool)


def bootstrap(right: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """(draws, R) mean accuracies over resampled seeds and, at the same time, resampled test images; the same for all
    methods. right: (R, S, N) bool."""
    methods, seeds, images = right.shape
    rng = np.random.default_rng([seed, BOOTSTRAP])
    flat, found = right.reshape(-1, images).astype(np.float32), []
    step = max(1, CHUNK // images)

    def resample(start: int) -> None:
        number = min(step, draws - start)
        counts = rng.multinomial(images, np.full(images, 1 / images), number).astype(np.float32)
        chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), number)
        of_runs = (flat @ counts.T).reshape(methods, seeds, number) / images
        found.append(np.einsum("rsb,bs->br", of_runs, chosen) / seeds)

    paced(range(0, draws, step), resample, "bootstrap", unit="part")
    return np.concatenate(found)


def ranks(accuracy: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(R,) mean ranks, Friedman's p-value, and Nemenyi's critical difference, of accuracies (R, S)."""
    methods, seeds = accuracy.shape
    mean = stats.rankdata(-accuracy, axis=0).mean(1)
    if seeds < 2:
        return mean, np.nan, np.nan
    alike = bool((accuracy == accuracy[:1]).all())
    p = 1.0 if alike else float(stats.friedmanchisquare(*accuracy).pvalue) if methods > 2 else np.nan
    if methods < 2:
        return mean, p, np.nan
    q = stats.studentized_range.ppf(LEVEL, methods, np.inf) / np.sqrt(2)
    return mean, p, float(q * np.sqrt(methods * (methods + 1) / (6 * seeds)))


def paired_p(accuracy: np.ndarray, images: int) -> np.ndarray:
    """(R, R) two-sided p-values of Student's paired t-test over seeds; nan for fewer than two seeds.

    Accuracies are whole numbers of `images`, so two differences can be equal by chance: the spread is not taken for
    less than that of the rounding.
    """
    methods, seeds = accuracy.shape
    if seeds < 2:
        return np.full((methods, methods), np.nan)
    paired = accuracy[:, None] - accuracy
    mean = paired.mean(2)
    error = np.maximum(paired.std(2, ddof=1), 1 / (images * np.sqrt(12))) / np.sqrt(seeds)
    return 2 * stats.t.sf(np.abs(mean) / error, seeds - 1)


def holm(p: np.ndarray) -> np.ndarray:
    """(R, R) p-values adjusted by Holm's step-down procedure over the pairs above the diagonal."""
    rows, columns = np.triu_indices(len(p), 1)
    raw = p[rows, columns]
    order = np.argsort(raw)
    scaled = np.maximum.accumulate(raw[order] * (len(raw) - np.arange(len(raw))))
    adjusted = np.ones_like(p)
    adjusted[rows[order], columns[order]] = adjusted[columns[order], rows[order]] = np.minimum(scaled, 1)
    return adjusted


def improvement(accuracy: np.ndarray) -> np.ndarray:
    """(R, R) share of all pairs of seeds in which the row's run beats the column's; ties count half."""
    one, other = accuracy[:, None, :, None], accuracy[None, :, None, :]
    return ((one > other) + 0.5 * (one == other)).mean((2, 3))


def seeds_needed(accuracy: np.ndarray) -> np.ndarray:
    """(R, R) smallest number of seeds at which the mean paired difference, with its spread as seen, would pass the
    strictest step of Holm's procedure over all pairs."""
    methods, seeds = accuracy.shape
    pairs = max(methods * (methods - 1) // 2, 1)
    if seeds < 2:
        return np.full((methods, methods), np.nan)
    paired = accuracy[:, None] - accuracy
    n = np.arange(2, MOST_SEEDS + 1)
    reach = stats.t.ppf(1 - (1 - LEVEL) / (2 * pairs), n - 1) / np.sqrt(n)
    enough = np.abs(paired.mean(2))[..., None] > reach * paired.std(2, ddof=1)[..., None]
    return np.where(enough.any(2), n[enough.argmax(2)], np.nan)

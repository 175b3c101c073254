"""Which method is better, by how much, at what cost, and how sure can one be?

A row is a method over its seeds, with everything else the same. Means come with the sample standard deviation over
seeds (n - 1) and with the 95 % interval of the mean by Student's t, which for two seeds is 12.7 standard errors wide,
as it should be. The difference to vanilla is taken seed by seed and then averaged, so that what a seed does to both
cancels out. What no number of seeds takes away is the sampling error of the test set, given as one standard error of
a share. The accuracy of a run is the one of its protocol; nothing here takes a maximum over epochs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.groups import Group, differing, group, same_setting, settings_tried
from workbench.config import RunConfig, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COSTLY = {"batch_size", "precision", "channels_last", "compile", "device", "ema_decay", "augment", "optimizer"}
"""Settings that change what a step costs whatever the method: times are only compared where these agree."""


@dataclass(frozen=True)
class Score:
    """What one finished run came to. Fractions, seconds and bytes; nan where it was not measured."""

    config: RunConfig
    accuracy: float
    ece: float
    seconds_per_step: float
    memory_bytes: float
    test_images: int
    hardware: str = ""
    """What the times and bytes were measured on; empty if that is not known."""
    beside: tuple[RunConfig, ...] = ()
    """Settings of all runs, finished or not, in the folders that the compared runs lie in."""


# R rows (methods), S runs
@dataclass(frozen=True)
class Comparison(Result):
    """A row a method. Accuracies, errors and differences are fractions; costs are multiples of vanilla's."""

    label: tuple[str, ...]
    method: tuple[str, ...]
    setting: tuple[str, ...]
    """What was trained, in words; rows of different settings must not be ranked against each other."""
    protocol: tuple[str, ...]
    """Which epoch's accuracy counts, in words."""
    seeds: np.ndarray
    """(R,) number of seeds."""
    accuracy: np.ndarray
    """(R,) mean over seeds, and likewise for the others."""
    accuracy_sd: np.ndarray
    """(R,) sample standard deviation over seeds; nan for one seed, and likewise for the others."""
    accuracy_low: np.ndarray
    accuracy_high: np.ndarray
    """(R,) 95 % interval of the mean over seeds; nan for one seed."""
    sampling_error: np.ndarray
    """(R,) standard error of the accuracy for the size of the test set."""
    test_images: np.ndarray
    ece: np.ndarray
    ece_sd: np.ndarray
    ece_low: np.ndarray
    ece_high: np.ndarray
    seconds: np.ndarray
    """(R,) seconds a step; nan without a vanilla run of the same setting."""
    seconds_sd: np.ndarray
    missing_cost: tuple[str, ...]
    """Why there is no cost, where there is none."""
    memory: np.ndarray
    """(R,) peak bytes of a step."""
    memory_sd: np.ndarray
    difference: np.ndarray
    """(R,) accuracy minus vanilla's, mean over the seeds that both have; nan for vanilla itself and without one."""
    difference_low: np.ndarray
    difference_high: np.ndarray
    """(R,) 95 % interval of the paired difference; nan for fewer than two pairs."""
    pairs: np.ndarray
    """(R,) seeds that the row and vanilla both have."""
    tried: np.ndarray
    """(R,) settings of the method on these data and this model that lie in the runs' folders, whatever became of them:
    a method that was tuned more has had more luck."""
    shown: np.ndarray
    """(R,) how many of these settings have a row here."""
    run_row: np.ndarray
    """(S,) which row each run belongs to."""
    run_seed: np.ndarray
    run_accuracy: np.ndarray

    @property
    def note(self) -> str:
        """What could not be compared, and why; empty if everything could."""
        rows = range(len(self.label))
        known = [(self.setting[r], why) for r in rows for why in self.costs_missing([r])]
        return "; ".join(f"no cost for {setting}: {why}" for setting, why in dict.fromkeys(known))

    def remarks(self) -> list[str]:
        """What to know beside the numbers, a sentence a line: missing costs, settings tried, where to read on."""
        first = [f"{self.note[0].upper()}{self.note[1:]}."] if self.note else []
        return [*first, *self.ledger(range(len(self.label))), *self.further()]

    def costs_missing(self, rows: Iterable[int]) -> list[str]:
        """Why some of these rows have no cost."""
        lost = [r for r in rows if np.isnan(self.seconds[r]) and np.isnan(self.memory[r])]
        return list(dict.fromkeys(self.missing_cost[r] for r in lost if self.missing_cost[r]))

    def ledger(self, rows: Iterable[int]) -> list[str]:
        """Of which methods of these rows more settings were tried than are shown, a sentence each."""
        counts = dict.fromkeys((self.method[r], int(self.tried[r]), int(self.shown[r])) for r in rows)
        return [f"{style.label(m)}: {many} settings tried, {few} shown." for m, many, few in counts if many > few]

    def further(self) -> list[str]:
        """Where to read on, a sentence, if there is something to tell apart."""
        ranked = "Which of these differences are more than luck: `workbench analyse ranking`."
        return [ranked] if len(self.label) > 1 else []

    def to_frame(self) -> pd.DataFrame:
        """One row a method; `name` is its label, the other columns are the fields of this class."""
        import pandas as pd

        apart = ("label", "missing_cost", "run_row", "run_seed", "run_accuracy")
        columns = [f.name for f in fields(self) if f.name not in apart]
        return pd.DataFrame({"name": list(self.label), **{c: list(getattr(self, c)) for c in columns}})

    @property
    def height(self) -> float:
        return 0.25 + 0.055 * len(self.label)

    def draw(self, ax: Axes) -> None:
        """Accuracy by method: mean (upright bar), 95 % interval over seeds, every seed as a ring. One setting only."""
        if len(set(zip(self.setting, self.protocol, strict=True))) > 1:
            raise UsageError(f"expected one setting a plot, got {'; '.join(sorted(set(self.setting)))}; choose runs")
        for row, method in enumerate(self.method):
            self._draw_row(ax, row, style.look(method).color)
        ax.set(yticks=range(len(self.label)), yticklabels=self.label, xlabel="test accuracy (%)")
        ax.set_ylim(len(self.label) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        ax.set_title(f"rings: {count_of_seeds(self.seeds)}, lines: 95 % interval of their mean", fontsize="small")

    def _draw_row(self, ax: Axes, row: int, color: str) -> None:
        own = 100 * self.run_accuracy[self.run_row == row]
        low, high = 100 * self.accuracy_low[row], 100 * self.accuracy_high[row]
        ax.plot((low, high), (row, row), color=color)
        ax.plot(own, np.full(len(own), row), "o", markersize=3.5, markerfacecolor="white", markeredgecolor=color)
        ax.plot(100 * self.accuracy[row], row, "|", color=color, markersize=9, markeredgewidth=1.6)


def compare(scores: Sequence[Score]) -> Comparison:
    """Gather the scores of runs into a row a method (and its settings, where a method was run in several ways).

    Rows are ordered by setting, then as `style.LABELS` orders the methods. UsageError without scores, or where a
    row would hold one seed twice.
    """
    groups = group(scores)
    here = [s.config for s in scores]
    beside = [*here, *{id(c): c for s in scores for c in s.beside}.values()]
    rows = [_row(g, _vanilla(g, groups)) for g in groups]
    of_runs = [(row, s.config.seed, s.accuracy) for row, g in enumerate(groups) for s in g.items]
    run_row, run_seed, run_accuracy = (np.array(column) for column in zip(*of_runs, strict=True))
    return Comparison(
        label=tuple(g.label for g in groups),
        method=tuple(g.method for g in groups),
        setting=tuple(g.setting for g in groups),
        protocol=tuple(g.protocol for g in groups),
        tried=np.array([settings_tried(g, beside) for g in groups]),
        shown=np.array([settings_tried(g, here) for g in groups]),
        missing_cost=tuple(_missing_cost(g, _vanilla(g, groups)) for g in groups),
        **{key: np.array([row[key] for row in rows]) for key in rows[0]},
        run_row=run_row,
        run_seed=run_seed,
        run_accuracy=run_accuracy,
    )


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    """(mean, sample standard deviation, low, high) of (n,) values: Student's interval of the mean.

    For n = 1 the last three are nan, for n = 0 all.
    """
    n = len(values)
    if n == 0:
        return np.nan, np.nan, np.nan, np.nan
    mean = float(values.mean())
    if n == 1:
        return mean, np.nan, np.nan, np.nan
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / np.sqrt(n)
    return mean, sd, mean - half, mean + half


def separated(low: np.ndarray, high: np.ndarray, *, lowest: bool = False) -> int | None:
    """Index of the row whose interval lies above (`lowest`: below) all others; None if there is none, if there is
    nothing to compare it with, or if an interval is unknown (nan)."""
    if len(low) < 2 or np.isnan(low).any() or np.isnan(high).any():
        return None
    if lowest:
        low, high = -high, -low
    best = int(np.argmax(low))
    return best if low[best] > np.delete(high, best).max() else None


def count_of_seeds(seeds: np.ndarray) -> str:
    """`2 seeds`, `1 to 3 seeds`."""
    few, many = int(seeds.min()), int(seeds.max())
    return (f"{few}" if few == many else f"{few} to {many}") + (" seed" if many == 1 else " seeds")


def _vanilla(g: Group[Score], groups: Sequence[Group[Score]]) -> Group[Score] | None:
    """The vanilla runs to hold a group against: of the same setting, and the nearest in everything else."""
    candidates = [v for v in groups if v.method == "vanilla" and same_setting(v.config, g.config)]
    return min(candidates, key=lambda v: len(differing([v.config, g.config])), default=None)


def _row(g: Group[Score], vanilla: Group[Score] | None) -> dict[str, float]:
    """The numbers of one row, by field of Comparison."""
    accuracy = mean_interval(_values(g, "accuracy"))
    ece = mean_interval(_values(g, "ece"))
    images = min(s.test_images for s in g.items)
    row: dict[str, float] = {"seeds": len(g.items), "test_images": images}
    row |= dict(zip(("accuracy", "accuracy_sd", "accuracy_low", "accuracy_high"), accuracy, strict=True))
    row |= {"sampling_error": float(np.sqrt(accuracy[0] * (1 - accuracy[0]) / images))}
    row |= dict(zip(("ece", "ece_sd", "ece_low", "ece_high"), ece, strict=True))
    row |= dict(zip(("seconds", "seconds_sd"), _multiple(g, vanilla, "seconds_per_step"), strict=True))
    row |= dict(zip(("memory", "memory_sd"), _multiple(g, vanilla, "memory_bytes"), strict=True))
    return row | _difference(g, vanilla)


def _values(g: Group[Score], key: str) -> np.ndarray:
    return np.array([getattr(s, key) for s in g.items], np.float64)


def _multiple(g: Group[Score], vanilla: Group[Score] | None, key: str) -> tuple[float, float]:
    """(mean, standard deviation over seeds) of a cost, in means of vanilla on the same hardware; nan where there is
    nothing to divide by."""
    if vanilla is None or _missing_cost(g, vanilla):
        return np.nan, np.nan
    measured: dict[str, list[float]] = defaultdict(list)
    for s in vanilla.items:
        measured[s.hardware].append(getattr(s, key))
    units = {hardware: float(np.mean(values)) for hardware, values in measured.items()}
    found = [getattr(s, key) / units[s.hardware] for s in g.items if units.get(s.hardware, 0) > 0]
    return mean_interval(np.array(found or [np.nan], np.float64))[:2]


def _missing_cost(g: Group[Score], vanilla: Group[Score] | None) -> str:
    """Why a cost can't be given in units of vanilla's; empty where it can."""
    if vanilla is None or COSTLY & set(differing([g.config, vanilla.config])):
        return "no vanilla run of the same batch size and device"
    own, theirs = ({s.hardware for s in side.items} for side in (g, vanilla))
    if own & theirs:
        return ""
    named = [" and ".join(sorted(side - {""})) or "hardware that is not known" for side in (own, theirs)]
    return f"{g.label} was measured on {named[0]}, vanilla on {named[1]}"


def _difference(g: Group[Score], vanilla: Group[Score] | None) -> dict[str, float]:
    base = {} if vanilla is None or vanilla is g else {s.config.seed: s.accuracy for s in vanilla.items}
    paired = np.array([s.accuracy - base[s.config.seed] for s in g.items if s.config.seed in base])
    mean, _, low, high = mean_interval(paired)
    return {"difference": mean, "difference_low": low, "difference_high": high, "pairs": len(paired)}

"""Do the probabilities mean what they say? Calibration of a classifier, from its logits.

Conventions: the confidence of a sample is the largest softmax probability. Bins are (low, high]; the first also holds
0, so a probability of exactly 1 lies in the last. Empty bins stay, with count 0 and nan. One table of bins serves the
diagram and the numbers. A gap is confidence minus accuracy: NEGATIVE IS UNDER-CONFIDENT, which is what mixup makes.

Sources: expected and maximum calibration error, Naeini et al., AAAI 2015; reliability diagram and temperature
scaling, Guo et al., arXiv:1706.04599; multi-class Brier score, Brier 1950.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.analysis.base import Result
from workbench.analysis.probabilities import class_errors, fit_temperature, scores_of
from workbench.analysis.run_names import run_name
from workbench.config import UsageError, shown, whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_PROBABILITIES = 20_000_000
"""Above so many (images times classes) the class-wise error is left out: it would take longer than all else."""
MOST_BINS = 10_000
"""Finer bins hold single samples, and say nothing."""
ENOUGH = 10_000
"""Samples that fit one temperature: more would not change it by a hundredth."""


# N samples, K classes, M bins
@dataclass(frozen=True)
class Calibration(Result):
    """The table of bins, and the scores that don't come from it. Fractions, not percent."""

    name: str
    edges: np.ndarray
    """(M + 1,) from 0 to 1."""
    count: np.ndarray
    """(M,) samples in each bin."""
    bin_confidence: np.ndarray
    """(M,) mean confidence; nan where empty."""
    bin_accuracy: np.ndarray
    """(M,) share of right predictions; nan where empty."""
    brier: float
    """Mean over samples of the squared error SUMMED over classes, 0 to 2 (for two classes twice the binary score)."""
    nll: float
    """Mean negative log-likelihood, in nats."""
    temperature: float
    """What the logits are to be divided by, fitted on one half; nan where there is no finite one."""
    ece_before: float
    """Expected calibration error of the other half at temperature 1, ..."""
    ece_after: float
    """... and at the fitted temperature."""
    nll_before: float
    nll_after: float
    adaptive_ece: float = np.nan
    """The same error with bins of equal mass: as many samples in each, so that no bin rests on a few."""
    classwise_ece: float = np.nan
    """Mean over classes of the error of each class's probability, not of the largest alone; nan where there are more
    than 20 million probabilities."""
    unfitted: str = ""
    """Why there is no temperature, if there is none."""

    @property
    def gap(self) -> np.ndarray:
        """(M,) confidence minus accuracy of each bin; negative = under-confident; nan where empty."""
        return self.bin_confidence - self.bin_accuracy

    @property
    def share(self) -> np.ndarray:
        """(M,) share of the samples."""
        return self.count / self.count.sum()

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean over samples of their bin's absolute gap."""
        return float(np.nansum(self.share * np.abs(self.gap)))

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest absolute gap of a bin that is not empty."""
        return float(np.nanmax(np.abs(self.gap)))

    @property
    def signed_gap(self) -> float:
        """Mean confidence minus accuracy over all samples; negative = under-confident."""
        return float(np.nansum(self.share * self.gap))

    @property
    def leaning(self) -> str:
        """`under-confident` or `over-confident`, by the signed gap; `neither` where that is 0.0 %."""
        if abs(self.signed_gap) < 5e-4:
            return "neither"
        return "under-confident" if self.signed_gap < 0 else "over-confident"

    @property
    def accuracy(self) -> float:
        return float(np.nansum(self.share * self.bin_accuracy))

    @property
    def confidence(self) -> float:
        return float(np.nansum(self.share * self.bin_confidence))

    def to_frame(self) -> pd.DataFrame:
        """One row a bin: name, bin, low, high, count, confidence, accuracy, gap."""
        import pandas as pd

        return pd.DataFrame(
            {
                "name": self.name,
                "bin": np.arange(len(self.count)),
                "low": self.edges[:-1],
                "high": self.edges[1:],
                "count": self.count,
                "confidence": self.bin_confidence,
                "accuracy": self.bin_accuracy,
                "gap": self.gap,
            }
        )

    def summary(self) -> pd.DataFrame:
        """One row: the numbers to quote."""
        import pandas as pd

        derived = ("accuracy", "confidence", "ece", "mce", "signed_gap", "adaptive_ece", "classwise_ece")
        stored = ("brier", "nll", "temperature", "ece_before", "ece_after", "nll_before", "nll_after")
        numbers = {key: getattr(self, key) for key in derived + stored}
        first = {"name": self.name, "leaning": self.leaning, "samples": int(self.count.sum()), "bins": len(self.count)}
        return pd.DataFrame([first | numbers])

    @property
    def height(self) -> float:
        return 0.9

    def draw(self, ax: Axes) -> None:
        """Reliability diagram with its ECE and signed gap, and under it where the predictions lie."""
        from workbench.analysis.diagram import counts_strip, gap_legend, name_sides, reliability_diagram, signed

        reliability_diagram(ax, self)
        leaning = "" if self.leaning == "neither" else f" ({self.leaning})"
        numbers = f"ECE {100 * self.ece:.1f} %, gap {signed(100 * self.signed_gap)} %{leaning}"
        ax.set_title("\n".join(part for part in (run_name(self.name), numbers) if part), pad=6, fontsize="small")
        strip = counts_strip(ax, self)
        strip.set_xlabel("confidence (%)")
        name_sides(ax, strip)
        gap_legend(strip, below=True)


# ------------------------------------------------------------------------------------------------------- the numbers


def calibration(logits: Any, labels: Any, *, bins: int = 15, name: str = "") -> Calibration:
    """Calibration of predictions on labelled samples.

    `logits` (N, K): LOGITS, finite, any float type, NumPy or torch; not probabilities (see `logits_of`).
    `labels` (N,): whole numbers from 0 to K - 1. `bins`: of equal width, 1 to 10,000.

    The temperature minimises the NLL of a fixed random half (of 10,000 samples at most); the scores before and after
    come from the other half.
    One sample or one class work, without a temperature. UsageError for NaN, empty data, wrong shapes or labels.
    """
    z, y = _checked(logits, labels)
    bins = whole("bins", bins, 1, MOST_BINS)
    scores = scores_of(z, y)
    _refuse_odd(scores, z)
    edges = np.linspace(0, 1, bins + 1)
    table = bin_table(scores["confidence"], scores["right"], edges)
    fitted, held_out = _halves(len(y))
    temperature, unfitted = fit_temperature(z, y, scores, fitted)
    after = scores_of(z, y, held_out, 1 / temperature) if not unfitted else None
    before = {key: values[held_out] for key, values in scores.items()}
    return Calibration(
        name=name,
        edges=edges,
        count=table[0],
        bin_confidence=table[1],
        bin_accuracy=table[2],
        brier=float(scores["brier"].mean()),
        nll=float(scores["nll"].mean()),
        temperature=temperature,
        ece_before=_ece(before, edges),
        ece_after=_ece(after, edges) if after else np.nan,
        nll_before=float(before["nll"].mean()) if len(held_out) else np.nan,
        nll_after=float(after["nll"].mean()) if after else np.nan,
        adaptive_ece=equal_mass_ece(scores["confidence"], scores["right"], bins),
        classwise_ece=float(class_errors(z, y, edges).mean()) if z.size <= MOST_PROBABILITIES else np.nan,
        unfitted=unfitted,
    )


def logits_of(probabilities: Any) -> np.ndarray:
    """(N, K) probabilities, each row summing to 1 -> logits whose softmax they are; zeros become 2e-308."""
    p = np.asarray(_array(probabilities), np.float64)
    if p.ndim != 2 or not np.isfinite(p).all() or (p < 0).any() or not np.allclose(p.sum(-1), 1, atol=1e-3):
        raise UsageError("expected probabilities of shape (N, K) from 0 to 1, rows summing to 1; logits go in directly")
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))


def bin_table(
    confidence: np.ndarray, right: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) confidences in [0, 1], (N,) right or not, (M + 1,) edges -> count, mean confidence, accuracy, (M,) each.

    Bins are (low, high], the first holds its lower edge too. Empty bins: 0, nan, nan.
    """
    bins = len(edges) - 1
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    total = np.where(count > 0, count, np.nan)
    return count, np.bincount(index, confidence, bins) / total, np.bincount(index, right, bins) / total


def equal_mass_ece(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """ECE over bins that hold equally many samples (to one) in order of confidence; equal confidences stay together."""
    order = np.argsort(confidence, kind="stable")
    value, hit = confidence[order], right[order].astype(np.float64)
    start = np.searchsorted(value, value[np.arange(bins) * len(value) // bins])  # to the first of equal ones
    start = np.unique(start)
    return float(np.abs(np.add.reduceat(value - hit, start)).sum() / len(value))


def pool(results: Sequence[Calibration], name: str = "") -> Calibration:
    """The bins of several results (seeds of one method) in one table; scores and temperatures averaged.

    Its `ece` is that of the pooled samples, which can be smaller than the mean of the results' own.
    """
    first = results[0]
    if any(len(r.edges) != len(first.edges) for r in results):
        raise UsageError("expected results with the same bins, got different numbers of them")
    count = np.sum([r.count for r in results], axis=0)
    total = np.where(count > 0, count, np.nan)

    def merged(key: str) -> np.ndarray:
        return np.nansum([r.count * getattr(r, key) for r in results], axis=0) / total

    averaged = ["brier", "nll", "temperature", "ece_before", "ece_after", "nll_before", "nll_after"]
    averaged += ["adaptive_ece", "classwise_ece"]
    means: dict[str, Any] = {key: float(np.mean([getattr(r, key) for r in results])) for key in averaged}
    unfitted = "; ".join(dict.fromkeys(r.unfitted for r in results if r.unfitted))
    return Calibration(
        name, first.edges, count, merged("bin_confidence"), merged("bin_accuracy"), **means, unfitted=unfitted
    )


def _ece(scores: dict[str, np.ndarray], edges: np.ndarray) -> float:
    if not len(scores["right"]):
        return np.nan
    count, confidence, accuracy = bin_table(scores["confidence"], scores["right"], edges)
    return float(np.nansum(count * np.abs(confidence - accuracy)) / count.sum())


def _array(values: Any) -> np.ndarray:
    """NumPy array of an array, a list or a tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.element_size() < 4 else values
    try:
        return np.asarray(values)
    except ValueError:  # rows of uneven lengths
        raise UsageError(f"expected an array, or a list of rows that are equally long, got {shown(values)}") from None


def _checked(logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) as float32 or float64 and labels (N,) int64, or a UsageError."""
    z, y = _array(logits), _array(labels)
    if z.ndim != 2 or 0 in z.shape or y.shape != z.shape[:1]:
        raise UsageError(f"expected logits (N, K) and labels (N,) with N, K > 0, got {z.shape} and {y.shape}")
    if z.dtype.kind not in "fiu" or y.dtype.kind not in "iu":
        raise UsageError(f"expected real logits and whole-number labels, got {z.dtype} and {y.dtype}")
    if y.min() < 0 or y.max() >= z.shape[1]:
        raise UsageError(f"labels must lie from 0 to {z.shape[1] - 1}, got {y.min()} to {y.max()}")
    return z if z.dtype in (np.float32, np.float64) else z.astype(np.float64), y.astype(np.int64)


def _refuse_odd(scores: dict[str, np.ndarray], z: np.ndarray) -> None:
    """UsageError for logits that aren't finite, or that look like probabilities."""
    bad = np.flatnonzero(~np.isfinite(scores["sum"]))
    if len(bad):
        raise UsageError(f"expected finite logits, got NaN or infinity in {len(bad)} rows, the first is row {bad[0]}")
    if z.shape[1] > 1 and np.allclose(scores["sum"], 1, atol=1e-3) and z.min() >= 0:
        raise UsageError("expected logits, got what looks like probabilities; pass logits_of(probabilities)")


def _halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of the half that fits the temperature (ENOUGH of it) and of the other; n fixes both."""
    order = np.random.default_rng(0).permutation(n)
    return np.sort(order[: n // 2][:ENOUGH]), np.sort(order[n // 2 :])

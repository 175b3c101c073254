"""Do the probabilities mean what they say? Calibration of a classifier, from its logits.

Conventions: the confidence of a sample is the largest softmax probability. Bins are (low, high]; the first also holds
0, so a probability of exactly 1 lies in the last. Empty bins stay, with count 0 and nan. One table of bins serves the
diagram and the numbers. A gap is confidence minus accuracy: NEGATIVE IS UNDER-CONFIDENT, which is what mixup makes.

Sources: expected and maximum calibration error, Naeini et al., AAAI 2015; reliability diagram and temperature
scaling, Guo et al., arXiv:1706.04599; multi-class Brier score, Brier 1950.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.analysis.base import Result
from workbench.config import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CHUNK = 1 << 18
"""Logits worked on at a time: 1 MiB in float32, so that the passes over them stay in the cache."""
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

        derived = ("accuracy", "confidence", "ece", "mce", "signed_gap")
        stored = ("brier", "nll", "temperature", "ece_before", "ece_after", "nll_before", "nll_after")
        numbers = {key: getattr(self, key) for key in derived + stored}
        return pd.DataFrame([{"name": self.name, "samples": int(self.count.sum()), "bins": len(self.count), **numbers}])

    @property
    def height(self) -> float:
        return 0.9

    def draw(self, ax: Axes) -> None:
        """Reliability diagram with its ECE and signed gap, and under it where the predictions lie."""
        from workbench.analysis.diagram import counts_strip, name_sides, reliability_diagram, signed

        reliability_diagram(ax, self)
        ax.set_title(self.name, pad=6, fontsize="small")
        ax.text(0.04, 0.96, f"ECE {100 * self.ece:.1f} %\ngap {signed(100 * self.signed_gap)} %", va="top")
        strip = counts_strip(ax, self)
        strip.set_xlabel("confidence")
        name_sides(ax, strip)


# ------------------------------------------------------------------------------------------------------- the numbers


def calibration(logits: Any, labels: Any, *, bins: int = 15, name: str = "") -> Calibration:
    """Calibration of predictions on labelled samples.

    `logits` (N, K): LOGITS, finite, any float type, NumPy or torch; not probabilities (see `logits_of`).
    `labels` (N,): whole numbers from 0 to K - 1. `bins`: of equal width.

    The temperature minimises the NLL of a fixed random half (of 10,000 samples at most); the scores before and after
    come from the other half.
    One sample or one class work, without a temperature. UsageError for NaN, empty data, wrong shapes or labels.
    """
    z, y = _checked(logits, labels)
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise UsageError(f"bins must be a whole number from 1, got {bins!r}")
    scores = _scores(z, y)
    _refuse_odd(scores, z)
    edges = np.linspace(0, 1, bins + 1)
    table = bin_table(scores["confidence"], scores["right"], edges)
    fitted, held_out = _halves(len(y))
    temperature, unfitted = _temperature(z, y, scores, fitted)
    after = _scores(z, y, held_out, 1 / temperature) if not unfitted else None
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

    averaged = ("brier", "nll", "temperature", "ece_before", "ece_after", "nll_before", "nll_after")
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
    return np.asarray(values)


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


# ----------------------------------------------------------------------------------------- passes over the logits


def _by_chunks(z: np.ndarray, rows: np.ndarray | None, step: Callable[..., tuple]) -> list[np.ndarray]:
    """`step(source, part, work, spare)` over all rows or over some, its arrays joined.

    `source`: the logits of the rows `part`, not to be written into unless it is `work`; `work` and `spare`: memory of
    the same shape, made once a thread, since fresh memory for every chunk costs more than the arithmetic. Threads,
    because NumPy lets go of the lock.
    """
    size = max(1, CHUNK // z.shape[1])
    n = len(z) if rows is None else len(rows)
    workers = max(1, min(8, os.cpu_count() or 1, n // size))
    bounds = np.linspace(0, n, workers + 1).astype(int)

    def span(first: int, last: int) -> list[tuple]:
        memory = np.empty((2, min(size, last - first), z.shape[1]), z.dtype)
        found = []
        for i in range(first, last, size):
            j = min(i + size, last)
            work, spare = memory[:, : j - i]
            if rows is None:
                found.append(step(z[i:j], slice(i, j), work, spare))
            else:
                source = np.take(z, rows[i:j], axis=0, out=work, mode="clip")  # other modes buffer the output
                found.append(step(source, rows[i:j], work, spare))
        return found

    if workers == 1:
        found = span(0, n)
    else:
        with ThreadPoolExecutor(workers) as threads:
            found = [arrays for spanned in threads.map(span, bounds[:-1], bounds[1:]) for arrays in spanned]
    return [np.concatenate(arrays) for arrays in zip(*found, strict=True)]


def _scores(z: np.ndarray, y: np.ndarray, rows: np.ndarray | None = None, beta: float = 1.0) -> dict[str, np.ndarray]:
    """Per sample, float64: confidence, right, nll, brier of softmax(beta z); and the sum of the logits."""

    def step(source: np.ndarray, part: slice | np.ndarray, work: np.ndarray, spare: np.ndarray) -> tuple:
        total = np.einsum("nk->n", source)
        predicted = source.argmax(1)
        np.subtract(source, np.take_along_axis(source, predicted[:, None], 1), out=work)
        if beta != 1:
            work *= work.dtype.type(beta)
        own = np.take_along_axis(work, y[part][:, None], 1)[:, 0].astype(np.float64)
        e = np.exp(work, out=work)
        norm = e.sum(1).astype(np.float64)
        squares = np.einsum("nk,nk->n", e, e) / norm**2
        nll = np.log(norm) - own
        return 1 / norm, predicted == y[part], nll, squares - 2 * np.exp(-nll) + 1, total

    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are reported by the caller, in one line
        arrays = _by_chunks(z, rows, step)
    return dict(zip(("confidence", "right", "nll", "brier", "sum"), arrays, strict=True))


# ------------------------------------------------------------------------------------------------- temperature


def _temperature(z: np.ndarray, y: np.ndarray, scores: dict[str, np.ndarray], rows: np.ndarray) -> tuple[float, str]:
    """(temperature, "") that minimises the NLL of these rows, or (nan, why there is none)."""
    if not len(rows):
        return np.nan, "one sample can't be split into halves"
    if scores["right"][rows].all():
        return np.nan, "every prediction of the fitted half is right: any smaller temperature fits better"
    own = z[rows, y[rows]].astype(np.float64)
    if (scores["sum"][rows] / z.shape[1]).mean() >= own.mean():
        return np.nan, "the logits say nothing about the labels: any larger temperature fits better"
    few = rows[:: -(-len(rows) // 1000)]
    beta, found = 1.0, False
    for part in [few, rows] if len(few) < len(rows) else [rows]:  # the few save passes over all of them
        beta, found = _newton(z, y, part, beta)
    return (1 / beta, "") if found else (np.nan, "the fit of the temperature did not converge")


def _newton(z: np.ndarray, y: np.ndarray, rows: np.ndarray, beta: float) -> tuple[float, bool]:
    """(inverse temperature, converged) at the minimum of the NLL, which is convex in it: Newton's steps, kept inside
    the bounds that the signs of the slopes have shown."""
    low, high = 0.0, np.inf
    for _ in range(100):
        slope, curvature = _slope(z, y, rows, beta)
        low, high = (beta, high) if slope < 0 else (low, beta)
        wished = beta - slope / curvature if curvature > 0 else np.inf
        new = float(np.clip(wished, (low + beta) / 2, min(2 * beta, (beta + high) / 2)))
        if abs(new - beta) < 1e-3 * beta:  # the error that is left is of the order of its square
            return new, True
        beta = new
    return beta, False


def _slope(z: np.ndarray, y: np.ndarray, rows: np.ndarray, beta: float) -> tuple[float, float]:
    """First and second derivative of the mean NLL of softmax(beta z) by beta: E[z] - z_y, and the variance of z,
    both under the softmax."""

    def step(source: np.ndarray, part: np.ndarray, work: np.ndarray, spare: np.ndarray) -> tuple:
        shifted = np.subtract(source, source.max(1, keepdims=True), out=work)
        own = np.take_along_axis(shifted, y[part][:, None], 1)[:, 0]
        e = np.multiply(shifted, shifted.dtype.type(beta), out=spare)
        np.exp(e, out=e)
        norm = e.sum(1)
        mean = np.einsum("nk,nk->n", e, shifted) / norm
        e *= shifted
        square = np.einsum("nk,nk->n", e, shifted) / norm
        return mean - own, square - mean**2

    first, second = _by_chunks(z, rows, step)
    return float(first.mean(dtype=np.float64)), float(second.mean(dtype=np.float64))

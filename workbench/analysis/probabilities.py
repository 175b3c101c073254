"""Passes over many logits, chunk by chunk and thread by thread; and the temperature that fits them.

N samples, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

CHUNK = 1 << 19
"""Logits worked on at a time, 2 MiB in float32: fewer leave a cache, more cost calls."""


def by_chunks(z: np.ndarray, rows: np.ndarray | None, step: Callable[..., tuple]) -> list[np.ndarray]:
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


def scores_of(z: np.ndarray, y: np.ndarray, rows: np.ndarray | None = None, beta: float = 1.0) -> dict[str, np.ndarray]:
    """Per sample, float64: confidence, right, nll, brier of softmax(beta z); and the sum of the logits."""

    ones = np.ones(z.shape[1], z.dtype)

    def step(source: np.ndarray, part: slice | np.ndarray, work: np.ndarray, spare: np.ndarray) -> tuple:
        total = np.vecdot(source, ones)
        predicted = source.argmax(1)
        np.subtract(source, np.take_along_axis(source, predicted[:, None], 1), out=work)
        if beta != 1:
            work *= work.dtype.type(beta)
        own = np.take_along_axis(work, y[part][:, None], 1)[:, 0].astype(np.float64)
        e = np.exp(work, out=work)
        norm = np.vecdot(e, ones).astype(np.float64)  # a third of the time of e.sum(1) and of einsum
        squares = np.vecdot(e, e) / norm**2
        nll = np.log(norm) - own
        return 1 / norm, predicted == y[part], nll, squares - 2 * np.exp(-nll) + 1, total

    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are reported by the caller, in one line
        arrays = by_chunks(z, rows, step)
    return dict(zip(("confidence", "right", "nll", "brier", "sum"), arrays, strict=True))


def class_errors(z: np.ndarray, y: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(K,) calibration error of each class's probability: over its bins, the mean absolute difference between the mean
    probability and the share of samples that are of the class."""
    bins, classes = len(edges) - 1, z.shape[1]
    total, hits = np.zeros((classes, bins)), np.zeros((classes, bins))
    columns = np.arange(classes) * bins
    for start in range(0, len(z), step := max(1, CHUNK // classes)):
        part = z[start : start + step].astype(np.float64)
        p = np.exp(part - part.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        place = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, bins - 1) + columns
        own = np.take_along_axis(place, y[start : start + step][:, None], 1)
        total += np.bincount(place.ravel(), p.ravel(), total.size).reshape(total.shape)
        hits += np.bincount(own.ravel(), minlength=hits.size).reshape(hits.shape)
    return np.abs(total - hits).sum(1) / len(z)


def fit_temperature(z: np.ndarray, y: np.ndarray, scores: dict[str, np.ndarray], rows: np.ndarray) -> tuple[float, str]:
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

    first, second = by_chunks(z, rows, step)
    return float(first.mean(dtype=np.float64)), float(second.mean(dtype=np.float64))

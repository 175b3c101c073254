"""Pure mathematics of feature clouds: similarity of two, spread and rank of one, many in one frame.

N samples, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.config import UsageError

ENOUGH = 4
"""Samples from which the unbiased HSIC is defined."""


def gram(features: np.ndarray) -> np.ndarray:
    """(N, N) float64 products of the rows of (N, D), which are centred first."""
    x = np.asarray(features, np.float64).reshape(len(features), -1)
    x = x - x.mean(0)
    return x @ x.T


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion from two Gram matrices (N, N), N at least 4.

    Source: Song et al., Feature selection via dependence maximization, JMLR 2012, eq. 4.
    """
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    ends = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float(((k * m).sum() + ends) / (n * (n - 3)))


def cka(grams: Sequence[np.ndarray]) -> np.ndarray:
    """(L, L) linear centred kernel alignment between L clouds of the same N samples, given by their Gram matrices.

    Debiased, by the unbiased HSIC: 0 in expectation for unrelated features, however many there are, where the plain
    form tends to 1 when there are more features than samples; so it can be a little below 0. 1 for features that are
    equal up to rotation, shift and scale. nan for clouds without spread, and below 4 samples.
    Source: Kornblith et al., arXiv:1905.00414; debiased as Nguyen et al., arXiv:2010.15327.
    """
    if len(grams[0]) < ENOUGH:
        return np.full((len(grams), len(grams)), np.nan)
    own = np.array([hsic(k, k) for k in grams])
    spread = np.array([np.trace(k) for k in grams]) > 0
    norm = np.sqrt(np.where(spread & (own > 0), own, np.nan))
    products = np.array([[hsic(k, m) if j >= i else 0.0 for j, m in enumerate(grams)] for i, k in enumerate(grams)])
    both = products + np.triu(products, 1).T
    return both / norm[:, None] / norm


def unit(features: np.ndarray) -> np.ndarray:
    """(N, D) float64 rows divided by their lengths; rows of zeros stay."""
    x = np.asarray(features, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def alignment(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance of two images of one class on the unit sphere, over all such pairs: 0 (each class is one
    point) to 4; nan without a pair. Low is good.

    Source: Wang and Isola, arXiv:2005.10242, eq. 4.1 with exponent 2; their positive pairs are two views of one image,
    these are two images of one class.
    """
    x, total, pairs = unit(features), 0.0, 0
    for label in np.unique(labels):
        of_class = x[labels == label]
        n = len(of_class)
        # the sum over ordered pairs of |a - b|^2 is 2 n sum |a|^2 - 2 |sum a|^2
        total += 2 * n * np.square(of_class).sum() - 2 * np.square(of_class.sum(0)).sum()
        pairs += n * (n - 1)
    return float(max(total, 0.0) / pairs) if pairs else np.nan


def uniformity(features: np.ndarray) -> float:
    """Log of the mean over all pairs of exp(-2 distance^2) on the unit sphere: -8 (every pair opposite) to 0 (all in
    one point); nan for one sample. Low is good.

    Source: Wang and Isola, arXiv:2005.10242, eq. 4.2 with t = 2.
    """
    x, n = unit(features), len(features)
    if n < 2:
        return np.nan
    lengths = np.square(x).sum(1)
    distance = np.maximum(lengths[:, None] + lengths - 2 * x @ x.T, 0)
    return float(np.log(np.exp(-2 * distance)[~np.eye(n, dtype=bool)].mean()))


def effective_rank(features: np.ndarray) -> float:
    """Exponential of the entropy of the singular values, as shares of their sum, of the centred features (N, D): from
    1 to min(N - 1, D); nan where the features don't vary.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007.
    """
    x = np.asarray(features, np.float64)
    centred = x - x.mean(0)
    values = np.linalg.svd(centred, compute_uv=False)
    # what rounding leaves of features that are all the same is no spread
    if values.sum() <= 1e-12 * max(np.abs(x).max(), 1e-300) * np.sqrt(x.size):
        return np.nan
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def shared_frame(clouds: Sequence[np.ndarray], dimensions: int = 50) -> list[np.ndarray]:
    """Clouds (N, D_r) of the same N samples, each with features of its own, as (N, dimensions) in one frame.

    Each is centred, brought to its first principal components (filled up with zeros), divided by its root mean squared
    length, and rotated (reflections included) onto the first cloud by orthogonal Procrustes. None of this changes
    distances within a cloud, apart from their common scale and the components left out.
    """
    reduced = [_components(cloud, dimensions) for cloud in clouds]
    return [reduced[0], *(_rotated(cloud, reduced[0]) for cloud in reduced[1:])]


def _components(cloud: np.ndarray, dimensions: int) -> np.ndarray:
    x = np.asarray(cloud, np.float64)
    if not np.isfinite(x).all():
        raise UsageError("expected finite features, got nan or infinity; the net's weights are broken")
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    kept = (u * s)[:, :dimensions]
    scale = np.sqrt(np.square(kept).sum(1).mean())
    return np.pad(kept / (scale if scale > 0 else 1.0), ((0, 0), (0, dimensions - kept.shape[1])))


def _rotated(cloud: np.ndarray, onto: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(cloud.T @ onto)
    return cloud @ (u @ vt)

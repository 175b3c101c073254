"""Stochastic Lanczos quadrature: how the eigenvalues of a symmetric matrix are spread, from products with it alone.

n side of the matrix, S steps, V starting vectors.

Source: Golub and Meurant, "Matrices, Moments and Quadrature", 1994; for nets, Ghorbani et al., arXiv:1901.10159.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

PASSES = 2
"""Gram-Schmidt passes: twice is enough for a basis that is orthogonal to rounding (Giraud et al., 2005)."""


def quadrature(times: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights, (S,) float64 each, of Gauss's quadrature for the spectrum as `start` sees it.

    `times(v)` is the product with the matrix, `start` (n,) any vector but zero. With u = start / |start|, the sum of
    weight * f(node) is u' f(matrix) u, exactly for polynomials of degree up to 2 S - 1. Every new vector is made
    orthogonal to all before it, which are kept: S * n numbers. Where the start lies in fewer than S dimensions that
    the matrix maps into themselves, the rest of the nodes repeat the last one with weight 0.
    """
    diagonal, beside = _tridiagonal(times, start, steps)
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    nodes, vectors = np.linalg.eigh(matrix)
    spare = steps - len(nodes)
    return np.pad(nodes, (0, spare), mode="edge"), np.pad(vectors[0] ** 2, (0, spare))


def _tridiagonal(times: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[list[float], list[float]]:
    """Diagonal and off-diagonal of the matrix in Lanczos's basis."""
    basis = start.new_empty((min(steps, len(start)), len(start)))
    vector, diagonal, beside = start / start.norm(), list[float](), list[float]()
    for step in range(len(basis)):
        basis[step] = vector
        image = times(vector)
        diagonal.append(float(vector @ image))
        size = float(image.norm())
        for _ in range(PASSES):
            image = image - basis[: step + 1].T @ (basis[: step + 1] @ image)
        left = float(image.norm())
        if step == len(basis) - 1 or left <= 10 * torch.finfo(start.dtype).eps * size:
            break
        beside.append(left)
        vector = image / left
    return diagonal, beside


def smoothed(grid: np.ndarray, nodes: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """(G,) density at the points of the grid: nodes and weights (V, S) as Gaussians of standard deviation `width`,
    averaged over the starting vectors."""
    distance = (grid[:, None] - nodes.reshape(1, -1)) / width
    bells = np.exp(-0.5 * distance**2) / (width * np.sqrt(2 * np.pi))
    return bells @ weights.reshape(-1) / len(weights)

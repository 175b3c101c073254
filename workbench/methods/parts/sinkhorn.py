"""Entropic optimal transport between uniform marginals, batched, by Sinkhorn's iterations on logarithms."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(B, N, M) float32 |a_i - b_j|^2 of vectors (B, N, C) and (B, M, C), as |a|^2 + |b|^2 - 2 a.b, not below 0."""
    a, b = a.float(), b.float()
    own, other = (torch.linalg.vector_norm(each, dim=2).square_() for each in (a, b))
    return torch.baddbmm(own[:, :, None] + other[:, None], a, b.mT, alpha=-2).clamp_(min=0)


def sinkhorn(cost: Tensor, eps: float, iterations: int) -> Tensor:
    """(B, N, M) the plan that minimises <plan, cost> - eps entropy(plan), after a fixed number of iterations.

    cost: (B, N, M) float32; eps: above 0; iterations: 1 or more. Rows are to sum to 1 / N and columns to 1 / M: the
    columns do, since they come last, and the rows as far as the iterations have come. Over the first three quarters of
    them eps falls from the highest cost to what was asked for. That is the same plan in the end, mostly sooner: on
    independent random features, whose costs are thousands of times eps, 30 iterations bring the rows nearer to their
    sums than 100 at constant eps do.

    Sources: Cuturi, Sinkhorn Distances, NeurIPS 2013; for the falling eps Schmitzer, Stabilized Sparse Scaling
    Algorithms for Entropy Regularized Transport Problems, SIAM J. Sci. Comput. 41(3), 2019.
    """
    cost = cost.permute(1, 2, 0)  # sums over leading axes run along the batch, which comes last
    cost = (cost - cost.amin(1, keepdim=True)).contiguous()  # the same plan, from smaller numbers
    rows, columns = -math.log(cost.shape[0]), -math.log(cost.shape[1])
    highest = cost.amax((0, 1)).clamp_(min=eps)
    u, v, now = cost.new_zeros(cost.shape[0], 1, 1), torch.zeros_like(cost[0]), highest
    falling = max(3 * iterations // 4, 1)
    for k in range(iterations):
        now = highest * (eps / highest) ** min((k + 1) / falling, 1)
        u = now * (rows - ((v - cost) / now).logsumexp(1, keepdim=True))
        v = now * (columns - ((u - cost) / now).logsumexp(0))
    return ((u - cost) / now).softmax(0).div_(cost.shape[1]).permute(2, 0, 1)

"""Transport: the plan against deferred acceptance as published, the moves against the plan as a matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.methods.parts import transport
from workbench.methods.parts.transport import matched, moved


def random_case(rows: int, side: int, sharpness: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Saliency that sums to 1, and what a mask shows."""
    generator = torch.Generator().manual_seed(seed)
    saliency = torch.rand(rows, side, side, generator=generator) ** sharpness
    return saliency / saliency.sum((1, 2), keepdim=True), torch.rand(rows, side, side, generator=generator) < 0.5


def squared_distances(side: int) -> Tensor:
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
    return (place[:, None] - place).square().sum(2)


def as_published(saliency: Tensor, seen: Tensor, t_eps: float) -> Tensor:
    """(N,) the plan of one image with matrices (N, N), as the reference has it, in float64."""
    side = saliency.shape[0]
    patches = range(side**2)
    value = saliency.flatten().double()[:, None] * seen.flatten()
    cost = t_eps * squared_distances(side) / max(side - 1, 1) ** 2 - value
    kept: dict[int, int] = {}
    for _ in range(side):
        wish = cost.argmin(1).tolist()
        kept = {}
        for i in patches:  # only what gains something is kept; of equal ones the first
            j, price = wish[i], cost[i, wish[i]]
            if price < 0 and (j not in kept or price < cost[kept[j], j]):
                kept[j] = i
        for i in patches:
            if kept.get(wish[i]) != i:
                cost[i, wish[i]] += 1
    return torch.tensor([kept.get(j, j) for j in patches])


@pytest.mark.parametrize("t_eps", [0.8, 0.1])
@pytest.mark.parametrize("sharpness", [1, 6, 20])
@pytest.mark.parametrize("side", [2, 3, 4, 8])
def test_plan_is_the_published_one(side: int, sharpness: float, t_eps: float) -> None:
    saliency, seen = random_case(6, side, sharpness, seed=side)
    plan = matched(saliency, seen, t_eps)
    for b in range(6):
        shown = seen[b].flatten()
        assert torch.equal(plan[b][shown], as_published(saliency[b], seen[b], t_eps)[shown])


def test_plan_is_the_published_one_on_the_largest_grid() -> None:
    saliency, seen = random_case(1, 16, 4)
    shown = seen[0].flatten()
    plan = matched(saliency, seen, 0.3)[0][shown]
    assert torch.equal(plan, as_published(saliency[0], seen[0], 0.3)[shown])
    assert (plan != torch.arange(256)[shown]).sum() > 10


@pytest.mark.parametrize("t_eps", [0.0, 0.05, 0.8])
@pytest.mark.parametrize("side", [2, 5, 8, 16])
def test_no_patch_twice_and_no_hole(side: int, t_eps: float) -> None:
    saliency, seen = random_case(9, side, 5, seed=1)
    plan = matched(saliency, seen, t_eps)
    for b in range(9):
        shown = seen[b].flatten()
        sources = plan[b][shown]
        assert len(sources.unique()) == len(sources)
        # What a place that is seen gets is worth more, the way paid, than what it had.
        paid = t_eps * squared_distances(side)[sources, torch.arange(side**2)[shown]] / max(side - 1, 1) ** 2
        value = saliency[b].flatten()
        assert (value[sources] - paid >= value[shown] - 1e-6).all()


def test_dear_ways_and_uniform_saliency_move_nothing() -> None:
    saliency, seen = random_case(4, 8, 5)
    stay = torch.arange(64).expand(4, 64)
    assert torch.equal(matched(saliency, seen, 100.0), stay)
    assert torch.equal(matched(torch.full((4, 8, 8), 1 / 64), torch.ones(4, 8, 8, dtype=torch.bool), 0.1), stay)
    assert torch.equal(matched(torch.zeros(4, 8, 8), seen, 0.8), stay)


def test_hidden_saliency_moves_to_the_nearest_place_that_is_seen() -> None:
    saliency, seen = torch.full((1, 4, 4), 0.01), torch.zeros(1, 4, 4, dtype=torch.bool)
    saliency[0, 1, 1] = 0.8
    seen[0, 1, 3] = seen[0, 3, 3] = True
    plan = matched(saliency, seen, 0.8)[0]
    assert plan[7] == 5 and plan[15] == 15


def test_rows_are_matched_alike_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    saliency, seen = random_case(7, 8, 5)
    whole = matched(saliency, seen, 0.1)
    monkeypatch.setattr(transport, "TABLE", 3 * 8**4)
    assert torch.equal(whole, matched(saliency, seen, 0.1))


# ---------------------------------------------------------------------------------------------------------------- moves


@pytest.mark.parametrize("channels_last", [False, True])
def test_moves_are_the_plan_as_a_matrix(channels_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 2, 8, 12, generator=generator)
    plan = torch.randint(16, (3, 16), generator=generator)
    patches = x.unfold(2, 2, 2).unfold(3, 3, 3).flatten(2, 3)  # (B, C, N, 2, 3)
    matrix = torch.nn.functional.one_hot(plan, 16).float()  # (B, target, source)
    dense = torch.einsum("bji,bcihw->bcjhw", matrix, patches).unflatten(2, (4, 4))
    dense = dense.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    result = moved(x, plan)
    assert torch.equal(result, dense)
    assert result.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@pytest.mark.parametrize("side", [2, 3, 5, 8])
def test_patches_of_unequal_size(side: int) -> None:
    height, width = 17, 23
    x = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    plan = torch.randperm(side**2, generator=torch.Generator().manual_seed(1))[None]
    result = moved(x, plan)[0, 0]
    starts = [[min(p for p in range(length) if p * side // length == k) for k in range(side)] for length in (17, 23)]
    ends = [[*first[1:], length] for first, length in zip(starts, (17, 23), strict=True)]
    for j in range(side**2):
        target, origin = divmod(j, side), divmod(int(plan[0, j]), side)
        rooms = [ends[a][target[a]] - starts[a][target[a]] for a in (0, 1)]
        top, left = (min(starts[a][origin[a]], (17, 23)[a] - rooms[a]) for a in (0, 1))
        place = result[starts[0][target[0]] : ends[0][target[0]], starts[1][target[1]] : ends[1][target[1]]]
        assert torch.equal(place, x[0, 0, top : top + rooms[0], left : left + rooms[1]])


@pytest.mark.parametrize("side", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("size", [(32, 32), (17, 23), (40, 33)])
def test_what_stays_is_untouched(side: int, size: tuple[int, int]) -> None:
    x = torch.rand(3, 3, *size)
    assert torch.equal(moved(x, torch.arange(side**2).expand(3, -1)), x)

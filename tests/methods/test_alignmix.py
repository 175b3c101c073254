"""AlignMix: the transport plan against other solvers, the features' mix against loops, in every layout of features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from tests.methods.settings import CLASSES, noise_batch, residual_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import Mixup, build
from workbench.methods.alignmix import AlignMix, MixedAligned, _layout, align
from workbench.methods.parts.sinkhorn import sinkhorn, squared_distances
from workbench.models import Net

PARTNER = torch.tensor([2, 0, 1])
LAM = torch.tensor([0.3, 0.6, 0.9])
MOVES = torch.tensor([True, False, True])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return residual_net(3, 32, 32).eval()


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inside(**more: Any) -> AlignMix:
    return AlignMix(prob_features=1.0, **more)


# ------------------------------------------------------------------------------------------------------- transport


def test_distances_by_hand() -> None:
    a, b = features(2, 5, 7), features(2, 4, 7, seed=1)
    expected = (a.double()[:, :, None] - b.double()[:, None]).square().sum(3)
    torch.testing.assert_close(squared_distances(a, b).double(), expected, atol=1e-5, rtol=1e-5)
    assert squared_distances(a, a).min() >= 0


def test_plan_by_a_plain_loop() -> None:
    cost = squared_distances(features(3, 6, 8), features(3, 6, 8, seed=1))
    for one, plan in zip(cost.double().numpy(), sinkhorn(cost, 5.0, 200), strict=True):
        kernel, v = np.exp(-one / 5.0), np.ones(6)
        for _ in range(2000):
            u = 1 / 6 / (kernel @ v)
            v = 1 / 6 / (u @ kernel)
        np.testing.assert_allclose(plan.numpy(), u[:, None] * kernel * v, atol=2e-6)


def test_plan_with_little_entropy_is_the_best_assignment() -> None:
    """Between uniform marginals of as many places, linear programming ends at a permutation."""
    cost = squared_distances(features(4, 9, 16), features(4, 9, 16, seed=1))
    for one, plan in zip(cost.numpy(), sinkhorn(cost, 0.01, 2000), strict=True):
        rows, columns = optimize.linear_sum_assignment(one)
        assert (plan.numpy() * one).sum() == pytest.approx(one[rows, columns].mean(), rel=1e-3)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_marginals(scale: float) -> None:
    """Columns sum to 1 / r whatever the cost; rows come near, far sooner than with a constant eps."""
    cost = scale * squared_distances(features(4, 16, 64).relu(), features(4, 16, 64, seed=1).relu())
    plan = sinkhorn(cost, 0.1, 30)
    torch.testing.assert_close(plan.sum(1), torch.full((4, 16), 1 / 16), atol=1e-7, rtol=0)
    assert (16 * plan.sum(2) - 1).abs().mean() < 0.1
    assert plan.min() >= 0


def test_falling_eps_brings_the_rows_nearer_than_a_constant_one() -> None:
    cost = squared_distances(features(4, 16, 256), features(4, 16, 256, seed=1))
    score = (cost / -0.1).double()
    v = torch.zeros(4, 1, 16, dtype=torch.float64)
    for _ in range(100):
        u = -math.log(16) - (score + v).logsumexp(2, keepdim=True)
        v = -math.log(16) - (score + u).logsumexp(1, keepdim=True)
    constant = (16 * (score + u + v).exp().sum(2) - 1).abs().mean()
    assert (16 * sinkhorn(cost, 0.1, 30).sum(2) - 1).abs().mean() < constant / 2


def test_features_on_themselves_stay() -> None:
    a = features(2, 9, 32)
    plan = 9 * sinkhorn(squared_distances(a, a), 0.01, 30)
    torch.testing.assert_close(plan, torch.eye(9).expand(2, 9, 9), atol=1e-5, rtol=0)


def test_a_permutation_of_the_places_is_undone() -> None:
    """The partner is the row with its places shuffled: moved onto the row it is the row again."""
    a = features(1, 9, 32)
    h = torch.cat([a, a[:, torch.randperm(9, generator=torch.Generator().manual_seed(1))]])
    for moves in (torch.tensor([True, True]), torch.tensor([False, False])):
        mixed = align(h, torch.tensor([1, 0]), torch.full((2,), 0.4), moves, 0.01, 50, channels_last=True)
        torch.testing.assert_close(mixed, h if moves[0] else h.flip(0), atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------------------------- the mix


def by_loop(tokens: Tensor, partner: Tensor, lam: Tensor, moves: Tensor, eps: float, iterations: int) -> Tensor:
    """(B, r, C) place by place, as the formulas of the paper stand there."""
    plan = tokens.shape[1] * sinkhorn(squared_distances(tokens, tokens[partner]), eps, iterations)
    mixed = torch.zeros_like(tokens)
    for row, other in enumerate(partner.tolist()):
        for i in range(tokens.shape[1]):
            if moves[row]:
                own, moved = tokens[row, i], plan[row, i] @ tokens[other]
            else:
                own, moved = plan[row, :, i] @ tokens[row], tokens[other, i]
            mixed[row, i] = lam[row] * own + (1 - lam[row]) * moved
    return mixed


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_maps_by_hand(memory: torch.memory_format) -> None:
    h = features(3, 5, 2, 3).contiguous(memory_format=memory)
    tokens = h.flatten(2).mT
    expected = by_loop(tokens, PARTNER, LAM, MOVES, 1.0, 10).mT.unflatten(2, (2, 3))
    before = h.clone()
    mixed = align(h, PARTNER, LAM, MOVES, 1.0, 10)
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    assert mixed.is_contiguous(memory_format=memory) and torch.equal(h, before)
    assert not torch.allclose(mixed, align(h, PARTNER, LAM, ~MOVES, 1.0, 10), atol=1e-2)


def test_maps_with_channels_last_and_tokens_by_hand() -> None:
    h = features(3, 2, 3, 5)
    expected = by_loop(h.flatten(1, 2), PARTNER, LAM, MOVES, 1.0, 10)
    mixed = align(h, PARTNER, LAM, MOVES, 1.0, 10, channels_last=True)
    torch.testing.assert_close(mixed, expected.view(3, 2, 3, 5), atol=1e-5, rtol=1e-5)
    front = features(3, 2, 5, seed=4)
    tokens = torch.cat([front, h.flatten(1, 2)], 1)
    mixed = align(tokens, PARTNER, LAM, MOVES, 1.0, 10, channels_last=True, prefix=2)
    torch.testing.assert_close(mixed[:, 2:], expected, atol=1e-5, rtol=1e-5)
    plain = LAM[:, None, None] * front + (1 - LAM[:, None, None]) * front[PARTNER]
    torch.testing.assert_close(mixed[:, :2], plain)


def test_one_place_is_a_plain_mix() -> None:
    h = features(3, 5, 1, 1)
    wide = LAM[:, None, None, None]
    torch.testing.assert_close(align(h, PARTNER, LAM, MOVES), wide * h + (1 - wide) * h[PARTNER])


def test_lambda_of_one_leaves_the_row_to_which_its_partner_moves() -> None:
    h = features(3, 5, 4, 4)
    assert torch.equal(align(h, PARTNER, torch.ones(3), torch.ones(3, dtype=torch.bool)), h)


def test_no_gradient_goes_through_the_plan() -> None:
    h = features(3, 5, 2, 2).requires_grad_()
    (slope,) = torch.autograd.grad((align(h, PARTNER, LAM, MOVES, 1.0) * features(3, 5, 2, 2, seed=2)).sum(), h)
    tokens = h.detach().flatten(2).mT.requires_grad_()
    expected = by_loop(tokens, PARTNER, LAM, MOVES, 1.0, 30)
    plan = 4 * sinkhorn(squared_distances(tokens, tokens[PARTNER]).detach(), 1.0, 30)
    own = torch.where(MOVES[:, None, None], torch.eye(4), plan.mT) * LAM[:, None, None]
    other = torch.where(MOVES[:, None, None], plan, torch.eye(4)) * (1 - LAM[:, None, None])
    again = own @ tokens + other @ tokens[PARTNER]
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)
    weights = features(3, 5, 2, 2, seed=2).flatten(2).mT
    (wanted,) = torch.autograd.grad((again * weights).sum(), tokens)
    torch.testing.assert_close(slope.flatten(2).mT, wanted, atol=1e-5, rtol=1e-5)


def test_half_precision_plans_in_full() -> None:
    h = features(3, 64, 4, 4)
    exact = align(h, PARTNER, LAM, MOVES, 10.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(align(h, PARTNER, LAM, MOVES, 10.0), exact)
        halved = align(h.bfloat16(), PARTNER, LAM, MOVES, 10.0)
    assert halved.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), exact, atol=0.05, rtol=0.05)


# ------------------------------------------------------------------------------------------------------ in a net


def test_under_global_pooling_alignment_has_no_effect(net: Net) -> None:
    """The trap: after the last stage only means over places count, and alignment keeps those of what moves."""
    x, y = noise_batch(4)
    mixed = inside(eps=1.0).mix(x, y, net, Draw(1))
    assert mixed.depth == net.depths[-1]
    mixed = MixedAligned(x, mixed.source, mixed.weight, depth="stage3", partner_moves=torch.ones(4, dtype=torch.bool))
    logits, _ = inside().predict(net, mixed)
    lam, pooled = mixed.weight[:, :1], net.embed(x)
    expected = net.backbone.fc(lam * pooled + (1 - lam) * pooled[mixed.source[:, 1]])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_at_an_earlier_depth_alignment_matters(net: Net) -> None:
    x, y = noise_batch(4)
    draw = Draw(1, lam=0.5, partner=[1, 2, 3, 0])
    aligned = inside(depth="stage2")
    logits, _ = aligned.predict(net, aligned.mix(x, y, net, draw))
    plain = build("manifoldmix", depths=["stage2"])
    unaligned, _ = plain.predict(net, plain.mix(x, y, net, draw))
    assert not torch.allclose(logits, unaligned, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "args", "form"),
    [
        ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}, (True, 0)),
        ("vit_tiny_patch16_224", {"embed_dim": 16, "depth": 2, "num_heads": 2}, (True, 1)),
        ("resnet8", {}, (False, 0)),
    ],
)
def test_layouts_of_nets(name: str, args: dict[str, Any], form: tuple[bool, int]) -> None:
    torch.manual_seed(0)
    net = Net(name, CLASSES, size=32, **args).eval()
    x, y = noise_batch(3)
    for depth in net.depths[-2:]:
        method, moves = inside(depth=depth), torch.ones(3, dtype=torch.bool)
        mixed = method.mix(x, y, net, Draw(2, lam=1.0))
        still = MixedAligned(x, mixed.source, mixed.weight, depth=depth, partner_moves=moves)
        torch.testing.assert_close(method.predict(net, still)[0], net(x), atol=1e-5, rtol=1e-5)
        seen: list[Tensor] = []
        with net.edit(depth, lambda h, seen=seen: seen.append(h) or h):  # type: ignore[misc]
            net(x)
        assert _layout(net, depth, seen[0]) == form


def test_input_batches_are_mixup(net: Net) -> None:
    x, y = noise_batch(4)
    draw = Draw(2, lam=0.3, partner=[1, 2, 3, 0])
    mixed = AlignMix(prob_features=0.0).mix(x, y, net, draw)
    plain = Mixup().mix(x, y, None, draw)
    assert torch.equal(mixed.x, plain.x) and torch.equal(mixed.shares(), plain.shares())
    torch.testing.assert_close(AlignMix().predict(net, mixed)[0], net(plain.x))


def test_what_is_drawn(net: Net) -> None:
    x, y = noise_batch(8)
    mixes = [AlignMix().mix(x, y, net, Draw(0, 0, step)) for step in range(400)]
    featured = [m for m in mixes if m.depth == "stage3"]
    assert stats.binomtest(len(featured), 400, 0.5).pvalue > 1e-4
    assert all(m.mask is None and m.x is x for m in featured)
    moves = torch.cat([m.partner_moves for m in featured if m.partner_moves is not None])
    assert stats.binomtest(int(moves.sum()), len(moves), 0.5).pvalue > 1e-4
    lam = torch.cat([m.weight[:, 0] for m in mixes]).numpy()
    assert stats.kstest(lam, stats.beta(2, 2).cdf).pvalue > 1e-4
    batch = inside(mode="batch").mix(x, y, net, Draw())
    assert batch.partner_moves is not None
    assert len(batch.weight[:, 0].unique()) == len(batch.partner_moves.unique()) == 1


@pytest.mark.parametrize("depth", ["input", "stage9", "layer3"])
def test_wrong_depth_is_told(net: Net, depth: str) -> None:
    x, y = noise_batch(2)
    for act in (lambda: AlignMix(depth=depth).attach(net), lambda: AlignMix(depth=depth).mix(x, y, net, Draw())):
        with pytest.raises(UsageError, match=f"no inner depth '{depth}'.*stage1, stage2, stage3"):
            act()


def test_without_a_net() -> None:
    x, y = noise_batch(2)
    with pytest.raises(UsageError, match="give it one"):
        AlignMix().mix(x, y, None, Draw())
    mixed, note = AlignMix().picture(x, y, None, Draw(lam=0.5, partner=[1, 0]))
    assert note and torch.equal(mixed.x, Mixup().mix(x, y, None, Draw(lam=0.5, partner=[1, 0])).x)

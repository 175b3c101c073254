"""SMMix: squares by the attention that patches receive, and the two further losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.methods.settings import noise_batch, residual_net, telling_batch, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import SMMix, build
from workbench.methods.parts.squares import corners_of, inside_squares, moved, squares_at
from workbench.methods.smmix import MixedSquares, consistency_loss, look, region_loss, region_means, rows_to_see
from workbench.models import Net

GRID = 8  # tokens along a side of the tests' net, each of 4 x 4 pixels
SHIFTED = [1, 2, 3, 4, 5, 6, 7, 0]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = token_net(3, 32, 32)
    for block in net.backbone.blocks:  # as initialised, attention is nearly uniform and would hide mistakes
        block.attn.qkv.weight.data.mul_(40)
    net.backbone.head.weight.data.normal_(0, 1)
    return net.train()


@pytest.fixture
def method(net: Net) -> SMMix:
    torch.manual_seed(1)
    method = build("smmix", switch_prob=1.0)
    method.attach(net)
    return method


def attention_as_computed(net: Net, x: Tensor) -> np.ndarray:
    """(B, 8, 8) float64 column means of timm's unfused attention in evaluation mode."""
    attention, training = net.backbone.blocks[-1].attn, net.training
    fused, kept = attention.fused_attn, []
    attention.fused_attn = False
    handle = attention.attn_drop.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0].detach()))
    with torch.no_grad():
        net.eval()(x)
    handle.remove()
    net.train(training)
    attention.fused_attn = fused
    return kept[0].double()[:, :, 1:, 1:].mean((1, 2)).reshape(len(x), GRID, GRID).numpy()


# ------------------------------------------------------------------------------------------------------ the squares


@pytest.mark.parametrize("form", [(8, 8), (5, 9), (14, 14)])
def test_squares_against_all_sums(form: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    attention = rng.random((12, *form))
    side = rng.integers(1, min(form) + 1, 12)
    for highest in (True, False):
        found = squares_at(torch.tensor(attention), torch.tensor(side), highest)
        for row, r in enumerate(side):
            sums = {
                (i, j): attention[row, i : i + r, j : j + r].sum()
                for i in range(form[0] - r + 1)
                for j in range(form[1] - r + 1)
            }
            assert tuple(found[row].tolist()) == (max if highest else min)(sums, key=lambda place: sums[place])


def test_constant_attention_gives_the_first_square() -> None:
    side = torch.tensor([1, 3, 7])
    for highest in (True, False):
        assert squares_at(torch.full((3, 7, 7), 0.25), side, highest).tolist() == [[0, 0]] * 3


def test_the_least_attended_square_gets_the_partners_most_attended() -> None:
    attention = torch.full((1, 2, 4, 4), 0.5)
    attention[0, 0, 3, 0] = 0.1  # the row itself: the only dark spot
    attention[0, 0, 0, 3] = 0.9
    attention[0, 1, 1, 2] = 0.9  # the partner: the only bright one
    attention[0, 1, 2, 1] = 0.1
    corners = corners_of(attention, torch.tensor([1]), torch.tensor([False]))
    assert corners.tolist() == [[[3, 0], [1, 2]]]
    assert corners_of(attention, torch.tensor([1]), torch.tensor([True])).tolist() == [[[3, 0], [3, 0]]]
    inside = inside_squares(corners[:, 0], torch.tensor([1]), (4, 4))
    assert inside.nonzero().tolist() == [[0, 3, 0]]


def test_pasted_patches_are_the_partners_bit_by_bit(net: Net, method: SMMix) -> None:
    x, y = noise_batch(8)
    mixed = method.mix(x, y, net, Draw(3, partner=SHIFTED))
    attention = attention_as_computed(net, x)
    assert attention.std() > 0.2 * attention.mean()
    for row in range(8):
        r = round(math.sqrt((1 - float(mixed.weight[row, 0])) * GRID**2))
        assert float(mixed.weight[row, 0]) == 1 - r**2 / GRID**2
        to, origin = (
            pick(
                ((i, j) for i in range(GRID - r + 1) for j in range(GRID - r + 1)),
                key=lambda c, a=attention[source]: a[c[0] : c[0] + r, c[1] : c[1] + r].sum(),
            )
            for pick, source in ((min, row), (max, SHIFTED[row]))
        )
        expected = x[row].clone()
        (top, left), (i, j), width = (4 * to[0], 4 * to[1]), (4 * origin[0], 4 * origin[1]), 4 * r
        block = x[SHIFTED[row]][:, i : i + width, j : j + width]
        expected[:, top : top + width, left : left + width] = block
        assert torch.equal(mixed.x[row], expected)


def test_a_row_that_is_its_own_partner_stays_as_it_is(net: Net, method: SMMix) -> None:
    x, y = noise_batch(8)
    mixed = method.mix(x, y, net, Draw(partner=range(8)))
    assert torch.equal(mixed.x, x) and (mixed.weight[:, 0] < 1).all()


@pytest.mark.parametrize(("height", "width"), [(24, 40), (17, 23), (32, 32)])
def test_shifts_of_any_size_stay_within_a_pixel(height: int, width: int) -> None:
    x = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).float()[None]
    corners = torch.tensor([[[5, 1], [2, 6]]])
    found = moved(x, torch.tensor([0]), corners, (GRID, GRID))[0]
    inside = inside_squares(corners[:, 0], torch.tensor([2]), (GRID, GRID)).float()[:, None]
    wide = torch.nn.functional.interpolate(inside, (height, width), mode="nearest")[0, 0] > 0
    for axis, side, came in ((0, height, 2), (1, width, 6)):
        pixels = found[axis][wide]
        first, last = came * side / GRID, (came + 2) * side / GRID
        assert first - 1 <= pixels.min() < first + 1 and last - 2 <= pixels.max() < last + 1
        if side % GRID == 0:
            assert (pixels.min(), pixels.max()) == (first, last - 1)


def test_memory_order_is_kept() -> None:
    x = torch.rand(4, 3, 32, 32)
    partner, corners = torch.tensor([1, 2, 3, 0]), torch.randint(GRID, (4, 2, 2))
    last = moved(x.contiguous(memory_format=torch.channels_last), partner, corners, (GRID, GRID))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, moved(x, partner, corners, (GRID, GRID)))


# --------------------------------------------------------------------------------------------------------- the draw


def drawn(method: SMMix, grid: tuple[int, int], n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Sides of n rows, and the lambda of Mixup."""
    _, side, lam = method._drawn(Draw(7), n, grid)
    return side, lam


@pytest.mark.parametrize(("tokens", "sides"), [(14, range(3, 11)), (8, range(2, 7)), (3, range(1, 3))])
def test_sides_are_uniform_between_a_quarter_and_three(tokens: int, sides: range) -> None:
    side, lam = drawn(build("smmix", switch_prob=1.0), (tokens, tokens))
    assert (lam == 1).all() and set(side) == set(sides)
    assert stats.chisquare(np.bincount(side)[sides.start :]).pvalue > 1e-3


def test_coin_and_mixups_lambda() -> None:
    side, lam = drawn(build("smmix"), (14, 14))
    square = side > 0
    assert stats.binomtest(int(square.sum()), len(square), 0.5).pvalue > 1e-3
    assert (lam[square] == 1).all()
    assert stats.kstest(lam[~square], stats.beta(0.8, 0.8).cdf).pvalue > 1e-3
    for mode, kinds in (("batch", 1), ("sample", 9)):
        assert len(set(drawn(build("smmix", mode=mode), (14, 14))[0])) == kinds


@pytest.mark.parametrize(("lam", "side"), [(1.0, 0), (0.5, 6), (0.75, 4), (0.0, 8)])
def test_a_pinned_lambda_gives_the_nearest_square(net: Net, method: SMMix, lam: float, side: int) -> None:
    x, y = noise_batch(8)
    mixed = method.mix(x, y, net, Draw(lam=lam))
    assert mixed.weight[:, 0].tolist() == [1 - side**2 / 64] * 8
    assert side or torch.equal(mixed.x, x)


def test_only_rows_that_a_square_needs_are_looked_at(net: Net) -> None:
    pair = np.array([[0, 3], [1, 0], [2, 2], [3, 4], [4, 1]])
    seen, places = rows_to_see(pair, np.array([True, False, False, True, False]))
    assert seen.tolist() == [0, 3, 4]
    assert places.tolist() == [[0, 1], [0, 0], [0, 0], [1, 2], [0, 0]]
    counts: list[int] = []
    net.register_forward_pre_hook(lambda _m, inputs: counts.append(len(inputs[0])))
    method = build("smmix", switch_prob=0.0)
    method.attach(net)
    x, y = noise_batch(8)
    mixed = method.mix(x, y, net, Draw(2, partner=SHIFTED))
    assert counts == []
    lam = mixed.weight[:, 0, None, None, None]
    torch.testing.assert_close(mixed.x, lam * x + (1 - lam) * x[SHIFTED])


# -------------------------------------------------------------------------------------------------------- the looks


def test_the_look_is_in_evaluation_mode_and_without_gradient() -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "depth": 2,
        "embed_dim": 16,
        "num_heads": 2,
        "drop_path_rate": 0.9,
        "proj_drop_rate": 0.5,
    }
    net = Net("vit_tiny_patch16_224", 8, **arguments).train()
    x, y = noise_batch(8)
    logits, attention = look(net, x, (GRID, GRID))
    assert net.training and not logits.requires_grad and not attention.requires_grad
    np.testing.assert_allclose(attention.double().numpy(), attention_as_computed(net, x), atol=1e-6)
    method = build("smmix", switch_prob=1.0)
    method.attach(net)
    mixed = method.mix(x, y, net, Draw(1))
    assert not mixed.clean.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(mixed.clean, net.eval()(x)[mixed.source])
    method.losses(mixed, y, net)[0]().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_loss_sees_the_class_of_the_row_only_through_the_mix(net: Net, method: SMMix) -> None:
    """With the pass of the mix cut off, no gradient is left: the look at the clean images has none."""
    x, y = noise_batch(8)
    mixed = method.mix(x, y, net, Draw(1))
    logits, seen = method.predict(net, mixed)
    assert isinstance(seen, MixedSquares) and seen.regions is not None
    loss = method.loss(logits.detach(), y, MixedSquares(**{**vars(seen), "regions": seen.regions.detach()}))
    assert not loss.requires_grad


# ------------------------------------------------------------------------------------------------------- the losses


def test_the_loss_against_a_loop_in_float64(net: Net) -> None:
    x, y = noise_batch(8)
    net.eval()
    method = build("smmix")
    method.attach(net)
    mixed = method.mix(x, y, net, Draw(4, partner=SHIFTED))
    square = mixed.pasted.amax(1) > 0
    assert 2 <= square.sum() <= 6  # both kinds of rows
    logits, seen = method.predict(net, mixed)
    got = float(method.loss(logits, y, seen).detach())

    def cross_entropy(z: np.ndarray, label: int) -> float:
        log_p = z - np.log(np.exp(z).sum())
        return -(0.9 * log_p[label] + 0.1 * log_p.mean())

    with torch.no_grad():
        clean = net(x).double().numpy()
        tokens = net.backbone.forward_features((mixed.x - net.mean) / net.std)[:, 1:].double().numpy()
        z = net(mixed.x).double().numpy()
    head = method.token_head
    assert head is not None
    weight, bias = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    total = 0.0
    for row in range(8):
        other, lam = SHIFTED[row], float(mixed.weight[row, 0])
        total += lam * cross_entropy(z[row], y[row]) + (1 - lam) * cross_entropy(z[row], y[other])
        if not square[row]:
            continue
        pasted = mixed.mask[row, 0].flatten().numpy() == 0
        own_logits, pasted_logits = (weight @ tokens[row][which].mean(0) + bias for which in (~pasted, pasted))
        total += 0.5 * (cross_entropy(own_logits, y[row]) + cross_entropy(pasted_logits, y[other]))
        wished = lam * clean[row] + (1 - lam) * clean[other]
        log_p, log_q = (v - np.log(np.exp(v).sum()) for v in (wished, z[row]))
        total += float((np.exp(log_p) * (log_p - log_q)).sum())
    assert got == pytest.approx(total / 8, rel=1e-4)


def test_regions_belong_to_their_classes() -> None:
    """Tokens of the partner are all one vector and the row's another; each region must find its own class."""
    pasted = torch.tensor([[0.0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    tokens = torch.eye(2)[pasted.long()]  # [1, 0] for the row's own, [0, 1] for pasted ones
    means = region_means(tokens, pasted)
    assert means.tolist() == [[[1, 0], [0, 1]], [[1, 0], [0, 0]]]
    right, swapped = (region_loss(30 * means[:1], torch.tensor([labels])) for labels in ([0, 1], [1, 0]))
    assert float(right) == pytest.approx(0, abs=1e-6) and float(swapped) == pytest.approx(30)


def test_consistency_is_with_mixed_logits() -> None:
    clean = torch.tensor([[[4.0, 0, -2], [-1, 3, 0]]])
    weight = torch.tensor([[0.7, 0.3]])
    mixed_logits = torch.tensor([[2.5, 0.9, -1.4]])
    assert float(consistency_loss(mixed_logits + 5, clean, weight)) == pytest.approx(0, abs=1e-6)
    probabilities = (weight[:, :, None] * clean.softmax(2)).sum(1)
    assert float(consistency_loss(probabilities.log(), clean, weight)) > 0.01


def test_one_pass_and_the_nets_own_logits(net: Net, method: SMMix) -> None:
    x, y = noise_batch(4)
    passes: list[int] = []
    mixed = method.mix(x, y, net, Draw(1))
    net.backbone.patch_embed.register_forward_hook(lambda *_: passes.append(1))
    logits, _ = method.predict(net, mixed)
    assert len(passes) == 1
    torch.testing.assert_close(logits, net(mixed.x))


def test_the_token_head_learns_and_is_stored(net: Net, method: SMMix) -> None:
    x, y = noise_batch(8)
    assert set(method.state_dict()) == {"token_head.weight", "token_head.bias"}
    assert method.token_head is not None and method.token_head.weight.shape == (8, 16)
    method.losses(method.mix(x, y, net, Draw(1)), y, net)[0]().backward()
    assert method.token_head.weight.grad is not None and method.token_head.weight.grad.abs().sum() > 0


def test_the_mask_tells_the_tokens_of_the_partner(method: SMMix) -> None:
    torch.manual_seed(0)
    net = token_net(8, 32, 32)
    x, y = telling_batch(8)
    mixed = method.mix(x, y, net, Draw(1, partner=SHIFTED))
    own = mixed.x[torch.arange(8), torch.arange(8)][:, ::4, ::4]
    assert torch.equal(own.flatten(1), 1 - mixed.pasted)
    assert torch.equal(mixed.mask.flatten(1), 1 - mixed.pasted)


def test_papers_defaults() -> None:
    method = build("smmix")
    assert (method.min_side, method.max_side, method.switch_prob, method.mixup_alpha) == (0.25, 0.75, 0.5, 0.8)
    assert method.label_smoothing == 0.1


# ----------------------------------------------------------------------------------------------------------- errors


def test_a_net_without_attention_is_told() -> None:
    net = residual_net(3, 32, 32)
    x, y = noise_batch(4)
    method = build("smmix")
    for act in (lambda: method.attach(net), lambda: method.mix(x, y, net, Draw())):
        with pytest.raises(UsageError, match=r"resnet8 has no class token .*deit_small_patch16_224") as caught:
            act()
        assert "\n" not in str(caught.value)


def test_what_is_missing_is_told(net: Net, method: SMMix) -> None:
    x, y = noise_batch(4)
    mixed = method.mix(x, y, net, Draw())
    with pytest.raises(UsageError, match="give it one"):
        method.mix(x, y, None, Draw())
    with pytest.raises(UsageError, match="call attach"):
        build("smmix").predict(net, mixed)
    with pytest.raises(UsageError, match="what its own mix gave"):
        method.predict(net, build("mixup").mix(x, y, None, Draw()))
    with pytest.raises(UsageError, match="that its predict gave"):
        method.loss(net(mixed.x), y, mixed)

"""ManifoldMix: the same mix as by hand, at the depth that was drawn."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.methods.settings import CLASSES, noise_batch, residual_net, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import ManifoldMix, Mixed, Mixup, build
from workbench.models import Net

PARTNER = [3, 0, 1, 2]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return residual_net(3, 32, 32).eval()


def blended(h: Tensor, mixed: Mixed) -> Tensor:
    lam = mixed.weight[:, 0].view(-1, *[1] * (h.dim() - 1))
    return lam * h + (1 - lam) * h[mixed.source[:, 1]]


def test_stages_by_hand(net: Net) -> None:
    x, y = noise_batch(4)
    parts = net.backbone
    for depth in ("stage1", "stage2", "stage3"):
        method = ManifoldMix(depths=[depth])
        mixed = method.mix(x, y, net, Draw(1))
        h = parts.stem((x - net.mean) / net.std)
        for i, stage in enumerate((parts.layer1, parts.layer2, parts.layer3), 1):
            h = stage(h)
            if depth == f"stage{i}":
                h = blended(h, mixed)
        expected = parts.fc(h.mean((2, 3)))
        assert mixed.depth == depth and mixed.mask is None and mixed.x is x
        torch.testing.assert_close(method.predict(net, mixed)[0], expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(net(x), expected, atol=1e-3)


def test_tokens_by_hand() -> None:
    torch.manual_seed(0)
    net = token_net(3, 32, 32).eval()
    x, y = noise_batch(4)
    method = ManifoldMix(depths=["block1"])
    mixed = method.mix(x, y, net, Draw(1))
    parts = net.backbone
    h = parts._pos_embed(parts.patch_embed((x - net.mean) / net.std))
    h = blended(parts.blocks[0](h), mixed)
    expected = parts.forward_head(parts.norm(parts.blocks[1](h)))
    torch.testing.assert_close(method.predict(net, mixed)[0], expected, atol=1e-5, rtol=1e-5)


def test_at_the_input_it_is_mixup(net: Net) -> None:
    x, y = noise_batch(8)
    inside = ManifoldMix(depths=["input"]).mix(x, y, net, draw := Draw(2, lam=0.3, partner=[1, 2, 3, 4, 5, 6, 7, 0]))
    plain = Mixup().mix(x, y, None, draw)
    assert torch.equal(inside.x, plain.x) and torch.equal(inside.weight, plain.weight)
    assert torch.equal(inside.shares(), plain.shares())
    torch.testing.assert_close(ManifoldMix().predict(net, inside)[0], net(plain.x))


@pytest.mark.parametrize("depth", ["input", "stage1", "stage3"])
def test_lambda_of_one_is_the_clean_pass(net: Net, depth: str) -> None:
    x, y = noise_batch(4)
    method = ManifoldMix(depths=[depth])
    logits, _ = method.predict(net, method.mix(x, y, net, Draw(lam=1.0)))
    assert torch.equal(logits, net(x))


def test_gradient_goes_to_both_sources(net: Net) -> None:
    """Mixed after the last stage the logits are linear in the features: a row's share of the gradient is lambda."""
    x, y = noise_batch(4)
    x.requires_grad_()
    method = ManifoldMix(depths=["stage3"])
    logits, _ = method.predict(net, method.mix(x, y, net, Draw(lam=0.25, partner=PARTNER)))
    (mixed_grad,) = torch.autograd.grad(logits[0].sum(), x)
    (clean_grad,) = torch.autograd.grad(net(x).sum(), x)
    torch.testing.assert_close(mixed_grad[0], 0.25 * clean_grad[0], atol=1e-7, rtol=1e-3)
    torch.testing.assert_close(mixed_grad[3], 0.75 * clean_grad[3], atol=1e-7, rtol=1e-3)
    assert not mixed_grad[1:3].any()


def test_depths_are_drawn_alike(net: Net) -> None:
    x, y = noise_batch(2)
    method = ManifoldMix()
    counts = Counter(method.mix(x, y, net, Draw(0, 0, step)).depth for step in range(600))
    assert set(counts) == {"input", "stage1", "stage2"}
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_default_depths_follow_the_net() -> None:
    assert ManifoldMix().places(token_net(3, 32, 32)) == ("input", "block1", "block2")
    assert ManifoldMix().places(Net("resnet18", CLASSES)) == ("input", "stage1", "stage2")  # not the stem


@pytest.mark.parametrize(
    ("depths", "told"),
    [(["stage9"], "has no depth 'stage9'; did you mean 'stage"), ("layer1", "known: input, stage1, stage2, stage3")],
)
def test_wrong_depth_is_told_with_those_of_the_net(net: Net, depths: object, told: str) -> None:
    method = build("manifoldmix", depths=depths)
    x, y = noise_batch(2)
    for act in (lambda: method.attach(net), lambda: method.mix(x, y, net, Draw())):
        with pytest.raises(UsageError, match=told):
            act()


@pytest.mark.parametrize("depths", [[], 5, ""])
def test_depths_of_the_wrong_type_are_told(depths: object) -> None:
    with pytest.raises(UsageError, match="depths must be"):
        build("manifoldmix", depths=depths)


def test_without_a_net() -> None:
    x, y = noise_batch(2)
    with pytest.raises(UsageError, match="give it one"):
        ManifoldMix().mix(x, y, None, Draw())
    mixed, note = ManifoldMix().picture(x, y, None, Draw(lam=0.5, partner=[1, 0]))
    assert note and torch.equal(mixed.x, Mixup().mix(x, y, None, Draw(lam=0.5, partner=[1, 0])).x)

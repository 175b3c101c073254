"""TransMix: labels from the class token's attention, taken in the pass that the loss is taken of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.settings import noise_batch, residual_net, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import TransMix, build
from workbench.methods.transmix import attended_share
from workbench.models import Net


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = token_net(3, 32, 32)
    for block in net.backbone.blocks:  # as initialised, attention is nearly uniform and would hide mistakes
        block.attn.qkv.weight.data.mul_(40)
    return net.eval()


def attention_as_computed(net: Net, x: Tensor) -> np.ndarray:
    """(B, 8, 8) float64 mean over heads of the class token's attention, from timm's unfused attention."""
    attention = net.backbone.blocks[-1].attn
    fused, kept = attention.fused_attn, []
    attention.fused_attn = False
    handle = attention.attn_drop.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0].detach()))
    with torch.no_grad():
        net(x)
    handle.remove()
    attention.fused_attn = fused
    return kept[0][:, :, 0, 1:].double().mean(1).reshape(len(x), 8, 8).numpy()


def test_lambda_against_a_loop_over_the_unfused_attention(net: Net) -> None:
    x, y = noise_batch(8)
    method = TransMix(base=build("cutmix"))
    mixed = method.mix(x, y, net, Draw(3))
    _, seen = method.predict(net, mixed)
    attention = attention_as_computed(net, mixed.x)
    assert attention.std() > 0.2 * attention.mean()
    for row in range(8):
        own = total = 0.0
        for i in range(8):
            for j in range(8):
                total += attention[row, i, j]
                own += attention[row, i, j] * float(mixed.mask[row, 0, 4 * i, 4 * j])  # nearest: a patch's first pixel
        expected = (float(mixed.weight[row, 0]) + own / total) / 2
        assert float(seen.weight[row, 0]) == pytest.approx(expected, abs=1e-5)
    assert not torch.allclose(seen.weight, mixed.weight, atol=0.01)
    torch.testing.assert_close(seen.weight.sum(1), torch.ones(8))


def test_uniform_attention_gives_the_token_area() -> None:
    mask = torch.ones(2, 1, 8, 12)
    mask[0, :, :4, :6] = 0
    mask[1, :, 2:, :3] = 0
    for height, width in ((4, 6), (2, 4), (8, 12)):
        tokens = mask[:, 0, :: 8 // height, :: 12 // width]
        share = attended_share(mask, torch.full((2, height, width), 0.01))
        torch.testing.assert_close(share, tokens.mean((1, 2)))


def test_swapped_roles_complement() -> None:
    rng = torch.Generator().manual_seed(0)
    attention = torch.rand(5, 4, 6, generator=rng)
    mask = torch.rand(5, 1, 16, 24, generator=rng)
    torch.testing.assert_close(attended_share(mask, attention) + attended_share(1 - mask, attention), torch.ones(5))


def test_attention_decides_and_its_scale_does_not() -> None:
    attention = torch.zeros(1, 4, 4)
    attention[0, 1, 2] = 1e-3
    mask = torch.zeros(1, 1, 16, 16)
    mask[0, 0, 4:8, 8:12] = 1
    assert attended_share(mask, attention).item() == pytest.approx(1)
    assert attended_share(1 - mask, 1000 * attention).item() == pytest.approx(0, abs=1e-6)
    nothing = attended_share(mask, torch.zeros(1, 4, 4))
    assert nothing.item() == pytest.approx(1 / 16)


def test_rows_of_mixup_keep_their_lambda(net: Net) -> None:
    x, y = noise_batch(8)
    method = TransMix(base=build("deit", switch_prob=0.0))
    mixed = method.mix(x, y, net, Draw(1))
    _, seen = method.predict(net, mixed)
    torch.testing.assert_close(seen.weight, mixed.weight)
    both = TransMix(base=build("mixup"))  # a mask of shape (B, 1, 1, 1)
    mixed = both.mix(x, y, net, Draw(1))
    torch.testing.assert_close(both.predict(net, mixed)[1].weight, mixed.weight)


def test_empty_and_full_boxes(net: Net) -> None:
    x, y = noise_batch(4)
    method = TransMix(base=build("cutmix"))
    _, seen = method.predict(net, method.mix(x, y, net, Draw(lam=1.0)))
    torch.testing.assert_close(seen.weight[:, 0], torch.ones(4))


def test_one_pass_and_no_gradient_into_the_labels(net: Net) -> None:
    x, y = noise_batch(4)
    method = TransMix()
    passes = []
    handle = net.backbone.patch_embed.register_forward_hook(lambda *_: passes.append(1))
    mixed = method.mix(x, y, net, Draw(1))
    logits, seen = method.predict(net, mixed)
    handle.remove()
    assert len(passes) == 1
    assert not seen.weight.requires_grad and logits.requires_grad
    torch.testing.assert_close(logits, net(mixed.x))


def test_each_row_has_its_own_label_in_the_loss(net: Net) -> None:
    x, y = noise_batch(8)
    method = TransMix(base=build("cutmix"), label_smoothing=0.0)
    logits, seen = method.predict(net, method.mix(x, y, net, Draw(3)))
    log_p = logits.detach().double().log_softmax(1)
    rows = torch.arange(8)
    expected = -(seen.weight[:, 0] * log_p[rows, y] + seen.weight[:, 1] * log_p[rows, y[seen.source[:, 1]]]).mean()
    torch.testing.assert_close(method.loss(logits, y, seen).double(), expected, atol=1e-5, rtol=0)


def test_papers_defaults() -> None:
    method = build("transmix")
    assert (method.base.mixup_alpha, method.base.cutmix_alpha, method.base.switch_prob) == (0.8, 1.0, 0.8)
    assert method.label_smoothing == 0.1


def test_picture_has_the_labels_of_the_loss(net: Net) -> None:
    x, y = noise_batch(4)
    method = TransMix()
    shown, _ = method.picture(x, y, net, Draw(2, lam=0.5))
    _, seen = method.predict(net, method.mix(x, y, net, Draw(2, lam=0.5)))
    assert torch.equal(shown.x, seen.x)
    torch.testing.assert_close(shown.weight, seen.weight)


def test_a_net_without_a_class_token_is_told() -> None:
    net = residual_net(3, 32, 32)
    x, y = noise_batch(4)
    method = TransMix()
    for act in (lambda: method.attach(net), lambda: method.predict(net, method.mix(x, y, net, Draw()))):
        with pytest.raises(UsageError, match=r"resnet8 has no class token .*deit_small_patch16_224"):
            act()


@pytest.mark.parametrize("base", ["manifoldmix", "vanilla"])
def test_a_base_without_pairs_of_pixels_is_told(net: Net, base: str) -> None:
    x, y = noise_batch(4)
    method = build("transmix", base={"method": base, **({"depths": ["block1"]} if base == "manifoldmix" else {})})
    with pytest.raises(UsageError, match="mixes the pixels of pairs"):
        method.mix(x, y, net, Draw())

"""`Net.attention()` against the map that timm itself computes when its fused kernel is switched off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from workbench.config import UsageError
from workbench.models import AttentionProbe, Net

CASES: dict[str, tuple[str, dict[str, Any], int]] = {  # name, arguments, tokens before the patches
    "deit": ("deit_tiny_patch16_224", {"depth": 3}, 1),
    "vit-224": ("vit_tiny_patch16_224", {"depth": 2, "size": 224}, 1),
    "distilled": ("deit_tiny_distilled_patch16_224", {"depth": 2}, 2),
    "registers": ("vit_tiny_patch16_224", {"depth": 2, "reg_tokens": 4}, 5),
    "normed": ("vit_tiny_patch16_224", {"depth": 2, "qk_norm": True}, 1),
    "unbiased": ("vit_tiny_patch16_224", {"depth": 2, "qkv_bias": False}, 1),
    "post-norm": ("vit_tiny_patch16_224", {"depth": 2, "init_values": 1e-1, "scale_attn_norm": True}, 1),
}


def make(name: str, **arguments: Any) -> Net:
    """A net whose attention is far from uniform: fresh weights would give every token nearly the same share."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(name, 5, **arguments)
        for module in net.modules():
            if isinstance(module, Attention):
                nn.init.normal_(module.qkv.weight, 0, 0.2)
                if module.qkv.bias is not None:
                    nn.init.normal_(module.qkv.bias, 0, 0.5)
    return net.eval()


def images(net: Net) -> Tensor:
    return torch.rand(2, 3, net.size, net.size, generator=torch.Generator().manual_seed(1))


def unfused(net: Net, x: Tensor) -> Tensor:
    """(B, h, T, T) what the dropout of the last attention is given when the kernel is not fused."""
    attention = net.backbone.blocks[-1].attn
    maps: list[Tensor] = []
    handle = attention.attn_drop.register_forward_hook(lambda _m, inputs, _o: maps.append(inputs[0]))
    was, attention.fused_attn = attention.fused_attn, False
    net(x)
    attention.fused_attn = was
    handle.remove()
    return maps[0]


@pytest.mark.parametrize("key", CASES)
@torch.no_grad()
def test_it_is_the_map_of_the_unfused_kernel(key: str) -> None:
    name, arguments, prefix = CASES[key]
    net = make(name, **arguments)
    x = images(net)
    expected = unfused(net, x)
    plain = net(x)
    with net.attention() as probe:
        assert torch.equal(net(x), plain)
    rows = probe.rows()
    assert rows.dtype == torch.float32
    assert expected.std() > 1e-3  # the pattern says something
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(probe.rows(slice(3, 7)), expected[:, :, 3:7], rtol=0, atol=1e-5)
    side = net.backbone.patch_embed.grid_size[0]
    by_hand = expected.mean(1)[:, 0, prefix:].reshape(2, side, side)
    torch.testing.assert_close(probe.cls(), by_hand, rtol=0, atol=1e-5)
    columns = sum(expected[:, :, q, prefix:].mean(1) for q in range(prefix, prefix + side**2)) / side**2
    torch.testing.assert_close(probe.received(), columns.reshape(2, side, side), rtol=0, atol=1e-5)


def test_the_fused_kernel_stays_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make("deit_tiny_patch16_224", depth=3)
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: (calls.append(1), fused(*a, **k))[1])
    with net.attention() as probe:
        net(images(net))
        probe.cls()
    assert len(calls) == 3  # one a block, none of them for the probe
    assert all(block.attn.fused_attn for block in net.backbone.blocks)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.modules())


def test_it_follows_the_latest_pass_and_carries_no_gradient() -> None:
    net = make("deit_tiny_patch16_224", depth=2)
    x = images(net)
    with net.attention() as probe:
        net(x.flip(0))
        first = probe.rows()
        logits = net(x)
        assert not probe.rows().requires_grad
    torch.testing.assert_close(probe.rows(), first.flip(0), rtol=0, atol=1e-5)
    logits.sum().backward()  # and the pass itself keeps its own
    assert net.backbone.blocks[-1].attn.qkv.weight.grad is not None


@pytest.mark.parametrize("inside", [True, False])
@torch.no_grad()
def test_under_bf16_autocast(inside: bool) -> None:
    net = make("vit_tiny_patch16_224", depth=2, qk_norm=True)
    x = images(net)
    expected = unfused(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        with net.attention() as probe:
            net(x)
        rows = probe.rows() if inside else None
    rows = probe.rows() if rows is None else rows
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, expected, rtol=0, atol=0.05)
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_net_in_bf16() -> None:
    net = make("deit_tiny_patch16_224", depth=2).to(torch.bfloat16)
    with net.attention() as probe:
        net(images(net).bfloat16())
    assert probe.cls().dtype == torch.float32
    torch.testing.assert_close(probe.rows().sum(-1), torch.ones(2, 3, 65), rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", CASES)
def test_tokens_come_from_the_pass_of_the_logits(key: str) -> None:
    name, arguments, _ = CASES[key]
    net = make(name, **arguments)
    x = images(net)
    logits, tokens = net.logits_and_tokens(x)
    torch.testing.assert_close(logits, net(x))
    normed = net.backbone.norm(net.features(x, net.depths[-1]).flatten(2).transpose(1, 2))
    torch.testing.assert_close(tokens, normed)
    tokens.sum().backward()
    assert net.backbone.patch_embed.proj.weight.grad is not None


def test_a_net_that_ends_in_a_map_has_no_tokens() -> None:
    net = Net("resnet18", 5)
    with pytest.raises(UsageError, match="resnet18 ends in no patch tokens"):
        net.logits_and_tokens(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize(("row", "column"), [(0, 3), (3, 0), (6, 1)])
@torch.no_grad()
def test_the_map_lies_on_the_image_as_it_should(row: int, column: int) -> None:
    """With no position embedding all blank patches look alike; the one that is painted is the one that differs."""
    net = make("deit_tiny_patch16_224", depth=2)
    net.backbone.pos_embed.zero_()
    x = torch.zeros(1, 3, 32, 32)
    x[:, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 1
    with net.attention() as probe:
        net(x)
    away = (probe.cls()[0] - probe.cls()[0].median()).abs()
    assert divmod(int(away.argmax()), 8) == (row, column)
    assert (away > 1e-6).sum() == 1


def test_a_grid_that_is_not_square() -> None:
    """Two heads of one channel each; the class token's query meets a key of size only in the patch at (1, 0)."""
    attention = Attention(2, num_heads=2)
    nn.init.ones_(attention.qkv.weight)
    tokens = torch.full((1, 1 + 2 * 3, 2), 1e-3)
    tokens[:, 0] = 1
    tokens[:, 1 + 3] = 2
    probe = AttentionProbe(attention, 1, (2, 3))
    probe.keep(attention, (tokens,))
    assert probe.cls().shape == (1, 2, 3)
    assert int(probe.cls()[0].argmax()) == 1 * 3 + 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet20", {}),
        ("convnext_atto", {}),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1)}),
        ("vit_tiny_patch16_224", {"depth": 1, "class_token": False, "global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"depth": 1, "attn_layer": "diff"}),  # the difference of two maps
        ("cait_xxs24_224", {"depth": 1}),  # mixes its heads; the class token joins later
        ("beit_base_patch16_224", {"depth": 1}),  # adds a bias by position to its scores
        ("eva02_tiny_patch14_224", {"depth": 1}),  # rotates its queries and keys
    ],
)
def test_nets_without_a_readable_class_token_are_refused_in_one_line(name: str, arguments: dict[str, Any]) -> None:
    net = Net(name, 5, **arguments)
    with pytest.raises(UsageError, match=f"{name} has no class token.*vit_tiny_patch16_224") as caught, net.attention():
        pass
    assert "\n" not in str(caught.value)


def test_a_probe_without_a_pass_says_so() -> None:
    net = make("deit_tiny_patch16_224", depth=1)
    with net.attention() as probe, pytest.raises(UsageError, match="no forward pass"):
        probe.cls()


def test_an_error_inside_leaves_no_hook() -> None:
    net = make("deit_tiny_patch16_224", depth=1)
    with pytest.raises(KeyError), net.attention():
        raise KeyError
    assert not any(m._forward_pre_hooks for m in net.modules())

"""Attribution maps: the layer that they read in every family, and each kind against a formula or a loop of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from workbench.analysis.attribution import MAPS, attribute, blank, last_map, layer, to_unit
from workbench.config import UsageError
from workbench.models import Net

VIT = {"depth": 2, "embed_dim": 24, "num_heads": 3}
CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 20)}
SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 2, 4)}
CASES: dict[str, tuple[str, int, dict[str, Any], str, int]] = {
    # case: name, size, arguments, the module that is read, cells along a side
    "small": ("resnet8", 16, {}, "layer3", 4),
    "preact": ("wrn28_8", 8, {}, "final", 2),
    "resnet": ("resnet18", 32, {"layers": (1, 1, 1, 1)}, "layer4", 4),
    "convnext": ("convnext_atto", 96, CONVNEXT, "stages.3", 3),
    "swin": ("swin_tiny_patch4_window7_224", 96, SWIN, "norm", 3),
    "vit": ("vit_tiny_patch16_224", 32, VIT, "blocks.1.norm1", 8),
    "vit-pooled": ("vit_tiny_patch16_224", 32, VIT | {"global_pool": "avg"}, "blocks.1", 8),
    "vit-registers": ("vit_tiny_patch16_224", 32, VIT | {"reg_tokens": 3}, "blocks.1.norm1", 8),
    "deit": ("deit_tiny_patch16_224", 32, VIT, "blocks.1.norm1", 8),
    "distilled": ("deit_tiny_distilled_patch16_224", 32, VIT, "blocks.1.norm1", 8),
}
POOLED = ("small", "preact", "resnet", "swin")
"""Families whose features are the mean of the map that is read, and whose logits are linear in it."""


def make(case: str, **changed: Any) -> Net:
    """A small net with weights large enough that maps differ from cell to cell."""
    name, size, arguments, _, _ = CASES[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(name, 5, size=size, **(arguments | changed))
        for module in net.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.3)
    return net.eval()


def images(net: Net, number: int = 2) -> Tensor:
    return torch.rand(number, 3, net.size, net.size, generator=torch.Generator().manual_seed(1))


# ----------------------------------------------------------------------------------------------- the layer that is read


@pytest.mark.parametrize("case", CASES)
def test_layer_of_every_family(case: str) -> None:
    net = make(case)
    _, _, _, expected, cells = CASES[case]
    assert layer(net) == expected
    a, g = last_map(net, images(net), torch.tensor([0, 1]))
    assert a.shape == g.shape
    assert a.shape[0] == 2
    assert a.shape[2:] == (cells, cells)
    assert a.shape[1] == net.width(net.depths[-1])


@pytest.mark.parametrize("case", CASES)
def test_the_logit_depends_on_the_layer(case: str) -> None:
    """The gradient is zero in no image; for a ViT that reads its class token it would be behind the last attention."""
    net = make(case)
    _, g = last_map(net, images(net), torch.tensor([0, 1]))
    assert (g.abs().amax((1, 2, 3)) > 1e-7).all()
    if layer(net).endswith("norm1"):
        output: list[Tensor] = []
        handle = net.backbone.blocks[-1].register_forward_hook(lambda _m, _i, h: output.append(h))
        logits = net(images(net))
        handle.remove()
        (slope,) = torch.autograd.grad(logits[:, 0].sum(), output[0])
        assert not slope[:, net.backbone.num_prefix_tokens :].any()


@pytest.mark.parametrize("case", CASES)
def test_gradient_at_the_layer_by_finite_differences(case: str) -> None:
    """Also that the map is put back in the net's own layout: a perturbed cell must change the logit as predicted."""
    net = make(case).double()
    x = images(net, 1).double()
    _, g = last_map(net, x, torch.tensor([2]))
    place = g[0].abs().flatten().argmax().item()
    step = 1e-4
    moved = torch.zeros_like(g[0]).flatten().index_fill(0, torch.tensor(place), step).view_as(g[0]).double()
    with torch.no_grad(), net.probing():
        values = []
        for sign in (1, -1):
            with net.edit_map(layer(net), lambda h, sign=sign: h + sign * moved):
                values.append(net(x)[0, 2])
    assert float(values[0] - values[1]) / (2 * step) == pytest.approx(float(g.flatten()[place]), rel=1e-3)


@pytest.mark.parametrize("case", POOLED)
def test_the_head_reads_the_mean_of_the_map(case: str) -> None:
    net = make(case)
    a, _ = last_map(net, images(net), torch.tensor([0, 1]))
    with torch.no_grad():
        torch.testing.assert_close(a.mean((2, 3)), net.embed(images(net)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case != "preact"])  # which has 2 x 2 cells, all alike
def test_cells_lie_where_the_image_has_them(case: str) -> None:
    """A change of one corner region of the image, not on the diagonal, changes its own cell most."""
    tokens = case.startswith(("vit", "deit", "distilled"))
    net = make(case, **({"depth": 1} if tokens else {}))  # what enters the FIRST attention knows its own patch alone
    cells = CASES[case][4]
    part = net.size // cells
    x = images(net, 1)
    changed = x.clone()
    changed[:, :, :part, -part:] = 1 - changed[:, :, :part, -part:]
    before, _ = last_map(net, x, torch.tensor([0]))
    after, _ = last_map(net, changed, torch.tensor([0]))
    difference = (after - before).abs().sum(1)[0]
    assert divmod(int(difference.argmax()), cells) == (0, cells - 1)


def test_a_family_that_is_not_in_the_table_uses_its_last_depth() -> None:
    net = Net("regnetx_002", 3, size=64)
    assert layer(net) == net.backbone.feature_info[-1]["module"]
    assert attribute(net, images(net), torch.tensor([0, 1])).shape == (2, 64, 64)


# -------------------------------------------------------------------------------------------------- the kinds


@pytest.mark.parametrize("case", POOLED)
@pytest.mark.parametrize("kind", ["gradcam", "xgradcam"])
def test_behind_a_mean_and_a_linear_layer_it_is_cam(case: str, kind: str) -> None:
    """Zhou et al. 2016: there the map is the last layer's weights times the features. (XGrad-CAM agrees, too.)"""
    net, classes = make(case), torch.tensor([3, 1])
    a, _ = last_map(net, images(net), classes)
    head = net.backbone.fc if hasattr(net.backbone, "fc") else net.backbone.head.fc
    plain = torch.einsum("bchw,bc->bhw", a, head.weight[classes]).detach().relu() / a[0, 0].numel()
    enlarged = F.interpolate(plain[:, None], (net.size, net.size), mode="bilinear")[:, 0]
    assert enlarged.max() > 0
    torch.testing.assert_close(attribute(net, images(net), classes, kind), enlarged, rtol=1e-3, atol=1e-6)


def test_gradcam_is_captums_own() -> None:
    net, classes = make("resnet"), torch.tensor([0, 4])
    theirs = LayerGradCam(net, net.backbone.layer4).attribute(images(net), target=classes, relu_attributions=True)
    enlarged = F.interpolate(theirs, (32, 32), mode="bilinear")[:, 0].detach()
    assert torch.equal(attribute(net, images(net), classes), enlarged)


def test_gradcam_of_tokens_averages_over_patches_not_channels() -> None:
    """Captum on a token layer takes the mean over channels, in silence; the tokens must be laid out first."""
    net, classes = make("vit"), torch.tensor([0, 4])
    a, g = last_map(net, images(net), classes)
    by_hand = (a * g.mean((2, 3), keepdim=True)).sum(1).relu()
    expected = F.interpolate(by_hand[:, None], (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(attribute(net, images(net), classes), expected)


@pytest.mark.parametrize("kind", ["gradcam++", "layercam"])
def test_weighted_cams_against_loops(kind: str) -> None:
    net, classes = make("resnet"), torch.tensor([0, 4])
    a, g = (t.double().numpy() for t in last_map(net, images(net), classes))
    expected = np.zeros((2, 4, 4))
    for b in range(2):
        for k in range(a.shape[1]):
            alpha = np.zeros((4, 4))
            for i, j in np.ndindex(4, 4):
                below = 2 * g[b, k, i, j] ** 2 + a[b, k].sum() * g[b, k, i, j] ** 3
                alpha[i, j] = g[b, k, i, j] ** 2 / below if below else 0.0
            positive = np.maximum(g[b, k], 0)
            expected[b] += (alpha * positive).sum() * a[b, k] if kind == "gradcam++" else positive * a[b, k]
    low = torch.from_numpy(np.maximum(expected, 0)).float()[:, None]
    enlarged = F.interpolate(low, (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(attribute(net, images(net), classes, kind), enlarged, rtol=1e-3, atol=1e-6)


def test_eigencam_is_the_first_singular_vector() -> None:
    net = make("convnext")
    a, _ = last_map(net, images(net), torch.tensor([0, 0]))
    for b in range(2):
        cells = a[b].double().flatten(1).T.numpy()
        first = cells @ np.linalg.svd(cells)[2][0]
        first = first if np.maximum(first, 0).sum() >= np.maximum(-first, 0).sum() else -first
        low = torch.from_numpy(np.maximum(first, 0)).float().view(1, 1, 3, 3)
        enlarged = F.interpolate(low, (96, 96), mode="bilinear")[0, 0]
        found = attribute(net, images(net), torch.tensor([0, 0]), "eigencam")[b]
        torch.testing.assert_close(found, enlarged, rtol=1e-3, atol=1e-4)
    by_class = attribute(net, images(net), torch.tensor([1, 2]), "eigencam")
    torch.testing.assert_close(by_class, attribute(net, images(net), torch.tensor([0, 0]), "eigencam"))


class Linear(nn.Module):
    """Logits that are linear in the pixels: everything about them is known."""

    def __init__(self, size: int, classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 3 * size * size, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def linear_net(size: int = 8) -> Net:
    net = Net("resnet8", 3, mean=[0.2, 0.4, 0.6], std=[0.5, 0.25, 0.2], size=size).eval()
    net.backbone = Linear(size)
    return net


def slopes(net: Net, classes: Tensor) -> Tensor:
    """(B, C, H, W) gradient of the logits by the pixels."""
    return net.backbone.weight[classes].detach().view(-1, 3, net.size, net.size) / net.std


def test_gradient_of_a_linear_net() -> None:
    net, classes = linear_net(), torch.tensor([0, 2])
    found = attribute(net, images(net), classes, "gradient")
    torch.testing.assert_close(found, slopes(net, classes).abs().amax(1))


def test_integrated_gradients_of_a_linear_net() -> None:
    """Slope times distance from the mean colour, summed over channels with their signs."""
    net, classes = linear_net(), torch.tensor([0, 2])
    found = attribute(net, images(net), classes, "integrated")
    expected = (slopes(net, classes) * (images(net) - net.mean)).sum(1).abs()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_integrated_gradients_are_complete() -> None:
    """Along a path on which the logit only rises they sum to its rise."""
    net, classes = linear_net(), torch.tensor([1, 1])
    with torch.no_grad():
        net.backbone.weight.abs_()
    x = net.mean + (1 - net.mean) * images(net)
    with torch.no_grad():
        rise = (net(x) - net(blank(net, x)))[:, 1]
    found = attribute(net, x, classes, "integrated")
    torch.testing.assert_close(found.sum((1, 2)), rise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", [1, 3])
def test_occlusion_against_a_loop(number: int) -> None:
    """A window of 2 by 2 that moves by 1, over 16 pixels."""
    net = make("small").double()
    x, classes = images(net, number).double(), torch.arange(number)
    fall, seen = torch.zeros(number, 16, 16), torch.zeros(16, 16)
    with torch.no_grad():
        whole = net(x).gather(1, classes[:, None])[:, 0]
        for i, j in np.ndindex(15, 15):
            hidden = x.clone()
            hidden[:, :, i : i + 2, j : j + 2] = net.mean
            lower = whole - net(hidden).gather(1, classes[:, None])[:, 0]
            fall[:, i : i + 2, j : j + 2] += lower[:, None, None]
            seen[i : i + 2, j : j + 2] += 1
    torch.testing.assert_close(attribute(net, x, classes, "occlusion"), (fall / seen).relu(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["vit", "vit-pooled", "vit-registers", "distilled"])
def test_rollout_against_the_unfused_attention(case: str) -> None:
    net = make(case)
    prefix, weights = net.backbone.num_prefix_tokens, []
    attentions = [m for m in net.modules() if isinstance(m, Attention)]
    for module in attentions:
        nn.init.normal_(module.qkv.weight, 0, 0.4)
        module.attn_drop.register_forward_hook(lambda _m, inputs, _o: weights.append(inputs[0].double().mean(1)))
        module.fused_attn = False
    with torch.no_grad():
        net(images(net))
    total = torch.eye(weights[0].shape[-1], dtype=torch.float64)
    for weight in weights:
        mixed = weight + torch.eye(weight.shape[-1])
        total = (mixed / mixed.sum(-1, keepdim=True)) @ total
    row = total[:, 0] if case != "vit-pooled" else total[:, prefix:].mean(1)
    low = row[:, prefix:].reshape(2, 1, 8, 8).float()
    assert low.std() > 1e-4
    for module in attentions:
        module.attn_drop._forward_hooks.clear()
        module.fused_attn = True
    expected = F.interpolate(low, (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(
        attribute(net, images(net), torch.tensor([0, 1]), "rollout"), expected, atol=1e-6, rtol=0
    )


# ------------------------------------------------------------------------------------------------------------ all kinds


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("case", ["small", "deit"])
def test_every_kind(kind: str, case: str) -> None:
    """Shape, type, sign; one image alone gives the map that it gives among others; no trace in the net."""
    if kind == "rollout" and case == "small":
        pytest.skip("a ResNet has no attention")
    net = make(case).train()
    net.backbone.eval()
    x, classes = images(net, 3), torch.tensor([0, 4, 2])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = attribute(net, x, classes, kind)
    assert found.shape == (3, net.size, net.size)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert (found >= 0).all()
    assert found.max() > 0
    torch.testing.assert_close(attribute(net, x[1:2], classes[1:2], kind)[0], found[1], rtol=1e-3, atol=1e-5)
    assert net.training
    assert not net.backbone.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize(
    "kind", ["gradcam", "gradcam++", "xgradcam", "layercam", "gradient", "integrated", "occlusion"]
)
def test_a_constant_net_gives_zeros(kind: str) -> None:
    net = make("small")
    nn.init.zeros_(net.backbone.fc.weight)
    maps = to_unit(attribute(net, images(net), torch.tensor([0, 1]), kind))
    assert maps.shape == (2, 16, 16)
    assert not maps.any()


def test_to_unit() -> None:
    maps = to_unit(torch.tensor([[[0.0, 2.0], [1.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]))
    assert maps.tolist() == [[[0.0, 1.0], [0.5, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]


def test_other_channels() -> None:
    net = Net("resnet8", 3, channels=1, size=16)
    x = torch.rand(2, 1, 16, 16)
    for kind in MAPS:
        if kind != "rollout":
            assert attribute(net, x, torch.tensor([0, 1]), kind).shape == (2, 16, 16)


def test_mistakes_are_told() -> None:
    net = make("small")
    with pytest.raises(UsageError, match="unknown kind of map 'gradcan'; did you mean 'gradcam'"):
        attribute(net, images(net), torch.tensor([0, 1]), "gradcan")
    with pytest.raises(UsageError, match="no class token"):
        attribute(net, images(net), torch.tensor([0, 1]), "rollout")
    tiny = Net("resnet18", 3, size=8, layers=(1, 1, 1, 1))
    with pytest.raises(UsageError, match="one cell for 8 x 8 images"):
        attribute(tiny, images(tiny), torch.tensor([0, 1]))

"""`Net` on a ResNet, a ConvNeXt, a ViT, a DeiT and a Swin at 32 and 224 pixels: depths, features, edits.

Depths are held against a table written down here, not against the one that the code reads.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workbench.config import UsageError
from workbench.models import Net

CLASSES = 5
MEAN, STD = (0.1, 0.4, 0.6), (0.5, 0.25, 0.2)

SMALL = {f"stage{i}": f"layer{i}" for i in (1, 2, 3)}
RESNET = {"stem": "act1", **{f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}}
CONVNEXT = {f"stage{i + 1}": f"stages.{i}" for i in range(4)}
SWIN = {f"stage{i + 1}": f"layers.{i}" for i in range(4)}


def vit(depth: int) -> dict[str, str]:
    return {f"block{i + 1}": f"blocks.{i}" for i in range(depth)}


CASES: dict[str, tuple[str, int, dict[str, Any], dict[str, str], str]] = {
    # case: name, size, arguments, depth -> module, middle; at 224 pixels with fewer blocks, to be quick
    "resnet20-32": ("resnet20", 32, {}, SMALL, "stage2"),
    "resnet8-224": ("resnet8", 224, {}, SMALL, "stage2"),
    "resnet18-32": ("resnet18", 32, {}, RESNET, "stage3"),
    "resnet18-224": ("resnet18", 224, {"layers": (1, 1, 1, 1)}, RESNET, "stage3"),
    "convnext_atto-32": ("convnext_atto", 32, {}, CONVNEXT, "stage3"),
    "convnext_atto-224": ("convnext_atto", 224, {}, CONVNEXT, "stage3"),
    "deit_tiny-32": ("deit_tiny_patch16_224", 32, {}, vit(12), "block6"),
    "deit_tiny-224": ("deit_tiny_patch16_224", 224, {"depth": 3}, vit(3), "block1"),
    "vit_tiny-32": ("vit_tiny_patch16_224", 32, {"depth": 2}, vit(2), "block1"),
    "vit_tiny-224": ("vit_tiny_patch16_224", 224, {"depth": 1}, vit(1), "block1"),
    "swin_tiny-32": ("swin_tiny_patch4_window7_224", 32, {}, SWIN, "stage3"),
    "swin_tiny-224": ("swin_tiny_patch4_window7_224", 224, {"depths": (1, 1, 1, 1)}, SWIN, "stage3"),
}
WIDTHS = {"resnet20-32": [3, 16, 32, 64], "resnet18-32": [3, 64, 64, 128, 256, 512], "deit_tiny-32": [3] + [192] * 12}


def make(name: str, size: int = 32, **arguments: Any) -> Net:
    """A net of fixed random weights, its norms' statistics moved away from 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(name, CLASSES, mean=MEAN, std=STD, size=size, **arguments)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def images(size: int = 32, n: int = 2, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))


class Case:
    def __init__(self, key: str) -> None:
        name, size, arguments, self.modules, self.middle = CASES[key]
        self.key, self.size = key, size
        self.net = make(name, size, **arguments).eval()
        self.x = images(size)
        with torch.no_grad():
            self.logits = self.net(self.x)

    def watched(self, run: Any) -> dict[str, Tensor]:
        """What a plain forward hook at every depth sees while `run()` is called, in the order of the calls."""
        seen: dict[str, Tensor] = {}
        handles = [
            self.net.backbone.get_submodule(module).register_forward_hook(
                lambda _m, _i, output, depth=depth: seen.__setitem__(depth, output.detach().clone())
            )
            for depth, module in self.modules.items()
        ]
        run()
        for handle in handles:
            handle.remove()
        return seen


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules())


def as_map(h: Tensor, channels: int, last: bool) -> Tensor:
    """(B, C, h, w) of a hook's output: one class token dropped, the square grid filled row by row."""
    if h.dim() == 4:
        return torch.einsum("bhwc->bchw", h) if last else h
    side = int((h.shape[1] - 1) ** 0.5)
    out = torch.empty(len(h), channels, side, side)
    for i in range(side * side):
        out[:, :, i // side, i % side] = h[:, 1 + i]
    return out


# ------------------------------------------------------------------------------------------------- the contract


def test_logits(case: Case) -> None:
    assert case.logits.shape == (2, CLASSES)
    assert case.logits.isfinite().all()
    assert not torch.equal(case.logits[0], case.logits[1])


def test_depths_are_named_in_the_order_of_the_forward_pass(case: Case) -> None:
    with torch.no_grad():
        order = list(case.watched(lambda: case.net(case.x)))
    assert case.net.depths == ("input", *order)
    assert list(case.modules) == order
    assert case.net.middle == case.middle
    if case.key in WIDTHS:
        assert [case.net.width(d) for d in case.net.depths] == WIDTHS[case.key]


def test_features_are_what_a_plain_hook_sees_and_the_pass_stops_there(case: Case) -> None:
    assert torch.equal(case.net.features(case.x, "input"), case.x)
    with torch.no_grad():
        plain = case.watched(lambda: case.net(case.x))
        for i, depth in enumerate(plain):
            found: list[Tensor] = []
            ran = case.watched(lambda depth=depth, found=found: found.append(case.net.features(case.x, depth)))
            expected = as_map(plain[depth], case.net.width(depth), "swin" in case.key)
            torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)
            assert found[0].shape[:2] == (2, case.net.width(depth))
            assert list(ran) == list(plain)[: i + 1]  # nothing behind the wanted depth ran
    assert hooks(case.net) == 0


@torch.no_grad()
def test_edits(case: Case) -> None:
    """The identity changes nothing, a swap of rows swaps the logits, and afterwards nothing is left."""
    with ExitStack() as stack:
        for depth in case.net.depths:
            stack.enter_context(case.net.edit(depth, lambda h: h))
        assert torch.equal(case.net(case.x), case.logits)
    for depth in case.net.depths:
        with case.net.edit(depth, lambda h: h[[1, 0]]):
            swapped = case.net(case.x)
        torch.testing.assert_close(swapped, case.logits[[1, 0]], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(swapped, case.logits, rtol=1e-4, atol=1e-5)
    assert hooks(case.net) == 0
    assert torch.equal(case.net(case.x), case.logits)


def test_embed_is_what_the_last_linear_layer_reads(case: Case) -> None:
    head = case.net.backbone.fc if case.key.startswith("resnet") else case.net.backbone.get_classifier()
    read: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _m, inputs: read.append(inputs[0]))
    with torch.no_grad():
        case.net(case.x)
        handle.remove()
        torch.testing.assert_close(case.net.embed(case.x), read[0], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------- pixels, inputs, errors


def test_the_normalisation_is_inside() -> None:
    net = make("resnet20").eval()
    x = images()
    by_hand = torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net.backbone(by_hand))
    assert {"mean", "std"} <= set(net.state_dict())


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "convnext_atto", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(name: str, channels: int) -> None:
    net = Net(name, CLASSES, mean=[0.5] * channels, std=[0.5] * channels, channels=channels).eval()
    assert net(images(channels=channels)).shape == (2, CLASSES)
    assert net.width("input") == channels


def test_convolutional_nets_take_images_that_are_not_square() -> None:
    net = make("resnet20").eval()
    x = torch.rand(2, 3, 24, 40)
    assert net(x).shape == (2, CLASSES)
    assert net.features(x, "stage3").shape == (2, 64, 6, 10)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "convnext_atto"])
def test_a_batch_of_one_trains(name: str) -> None:
    net = make(name).train()
    net(images(n=1)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (torch.rand(2, 1, 32, 32), "(2, 1, 32, 32)"),  # would broadcast against the mean and pass for a grey picture
        (torch.rand(3, 32, 32), "(3, 32, 32)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "uint8"),  # would be normalised as if 255 were 1
    ],
)
def test_images_of_the_wrong_kind_are_refused(x: Tensor, got: str) -> None:
    net = make("resnet8")
    for use in (net, net.embed, lambda x: net.features(x, "stage1")):
        with pytest.raises(UsageError) as caught:
            use(x)
        assert got in str(caught.value)
        assert "(B, 3, H, W)" in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"mean": (0.5, 0.5)}, {"std": (0.0,)}, {"std": (0.1, float("nan"), 1.0)}, {"mean": ((0.5,) * 3,)}]
)
def test_statistics_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Net("resnet8", CLASSES, **wrong)


def test_the_callers_statistics_are_copied() -> None:
    mean = torch.tensor([0.1, 0.2, 0.3])
    net = Net("resnet8", CLASSES, mean=mean)
    mean.zero_()
    assert net.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_an_unknown_depth_offers_the_nearest() -> None:
    net = make("resnet8")
    for use in (net.width, lambda d: net.features(images(), d), lambda d: net.edit(d, nn.Identity()).__enter__()):
        with pytest.raises(UsageError, match=r"did you mean 'stage2'.*input, stage1, stage2, stage3") as caught:
            use("stagge2")
        assert "\n" not in str(caught.value)


def test_nets_whose_depths_are_no_maps_say_so() -> None:
    mixer = Net("mixer_s32_224", CLASSES)
    with pytest.raises(UsageError, match="mixer_s32_224 has no map of 512 channels at block1"):
        mixer.features(images(), "block1")
    unnamed = Net("mvitv2_tiny", CLASSES)  # its table names modules that it does not have
    assert unnamed.depths == ("input",)
    with pytest.raises(UsageError, match="does not name its depths"):
        _ = unnamed.middle


@pytest.mark.parametrize(("name", "prefix"), [("convit_tiny", 0), ("deit_tiny_distilled_patch16_224", 2)])
def test_prefix_tokens_are_left_out_where_there_are_some(name: str, prefix: int) -> None:
    net = make(name, depth=2).eval()
    seen: list[Tensor] = []
    net.backbone.blocks[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
    features = net.features(images(), "block1")
    assert features.shape[1] == net.width("block1")
    torch.testing.assert_close(features.flatten(2), seen[0][:, prefix:].transpose(1, 2))


# ------------------------------------------------------------------------------------------ features and gradients


def test_features_carry_gradients_unless_told_not_to() -> None:
    net = make("resnet20").eval()
    x = images().requires_grad_()
    by_hand = nn.Sequential(net.backbone.stem, net.backbone.layer1, net.backbone.layer2)((x - net.mean) / net.std)
    (plain,) = torch.autograd.grad(by_hand.square().sum(), x)
    (found,) = torch.autograd.grad(net.features(x, "stage2").square().sum(), x)
    torch.testing.assert_close(found, plain)
    with torch.no_grad():
        assert not net.features(x, "stage2").requires_grad


def test_an_edit_is_seen_by_later_depths_and_lets_gradients_through() -> None:
    net = make("resnet20").eval()
    x = images()
    weight = torch.tensor(0.5, requires_grad=True)
    with net.edit("stage1", lambda h: h * weight):
        edited = net.features(x, "stage2")
        net(x).sum().backward()
    with torch.no_grad():
        expected = net.backbone.layer2(net.features(x, "stage1") * 0.5)
    torch.testing.assert_close(edited, expected)
    assert weight.grad is not None
    assert weight.grad != 0


def test_an_edit_of_the_input_and_two_edits_at_once() -> None:
    net = make("resnet20").eval()
    x = images()
    with torch.no_grad():
        with net.edit("input", lambda x: x.flip(0)), net.edit("stage3", lambda h: h.flip(0)):
            twice = net(x)
        torch.testing.assert_close(twice, net(x))


def test_an_edit_of_tokens_gets_the_nets_own_layout() -> None:
    net = make("deit_tiny_patch16_224", depth=2).eval()
    shapes = []
    with net.edit("block1", lambda h: (shapes.append(tuple(h.shape)), h)[1]):
        net(images())
    assert shapes == [(2, 1 + 8 * 8, 192)]


def test_an_edit_that_raises_leaves_nothing_behind() -> None:
    net = make("resnet8").eval()
    before = net(images())
    for depth in ("input", "stage2"):
        with pytest.raises(ZeroDivisionError), net.edit(depth, lambda _h: 1 / 0):
            net(images())
    assert hooks(net) == 0
    assert torch.equal(net(images()), before)


def test_compiled_nets_are_edited_and_read_too() -> None:
    """Dynamo does not look for hooks that came after it compiled: without care, edits would be ignored in silence."""
    net = make("resnet8").eval()
    x = images()
    with torch.no_grad():
        plain = net(x)
        net.backbone.compile(backend="eager")
        wrapped = torch.compile(net, backend="eager")
        torch.testing.assert_close(wrapped(x), plain)
        with net.edit("stage2", lambda h: h[[1, 0]]):
            torch.testing.assert_close(wrapped(x), plain[[1, 0]])
            torch.testing.assert_close(net(x), plain[[1, 0]])
        assert net.features(x, "stage2").shape == (2, 32, 16, 16)
        torch.testing.assert_close(wrapped(x), plain)


def test_state_survives_a_round_trip() -> None:
    net, other = make("resnet20"), Net("resnet20", CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3)
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(net.eval()(images()), other.eval()(images()))


def test_a_distilled_net_embeds_the_mean_of_its_two_tokens() -> None:
    net = make("deit_tiny_distilled_patch16_224", depth=1).eval()
    x = images()
    with torch.no_grad():
        tokens = net.backbone.forward_features((x - net.mean) / net.std)
        torch.testing.assert_close(net.embed(x), (tokens[:, 0] + tokens[:, 1]) / 2)

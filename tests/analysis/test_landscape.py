"""Slices of the loss against nets that were moved by hand, and what a slice must leave alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.analysis.tiny import CLASSES, images, tiny
from workbench.analysis import chunks, slices
from workbench.analysis import landscape as module
from workbench.analysis.inputs import Examples
from workbench.analysis.landscape import Landscape, landscape, line_looks
from workbench.analysis.slices import loss_and_accuracy, random_direction, recompute_statistics
from workbench.config import UsageError
from workbench.models import Net
from workbench.style import PALETTE


@pytest.fixture
def data() -> Examples:
    return images()


def plain(net: Net, data: Examples) -> tuple[float, float]:
    """Loss and accuracy, by themselves."""
    with torch.no_grad():
        logits = net(data.images)
    return float(F.cross_entropy(logits, data.labels)), float((logits.argmax(1) == data.labels).double().mean())


def moved(net: Net, change: Callable[[str, Tensor], Tensor]) -> Net:
    """A copy with other weights."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in other.named_parameters():
            p.copy_(change(name, p))
    return other


# ---------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_centre_is_the_net_itself(data: Examples, dtype: torch.dtype) -> None:
    nets = [(str(seed), tiny(seed, dtype)) for seed in range(3)]
    line, plane = landscape(nets, data, points=5), landscape(nets[:1], data, way="plane", points=3)
    for row, (_, net) in enumerate(nets):
        assert (line.loss[row, 2, 0], line.accuracy[row, 2, 0]) == loss_and_accuracy(net, data)
        np.testing.assert_allclose(line.loss[row, 2, 0], plain(net, data)[0], rtol=1e-6)
    assert plane.loss[0, 1, 1] == line.loss[0, 2, 0]
    assert line.a[2] == 0
    assert plane.centre == (1, 1)


def test_points_of_a_line_are_nets_moved_by_hand(data: Examples) -> None:
    net = tiny(0)
    found = landscape([("net", net)], data, points=7, span=0.6, seed=5)
    direction = random_direction(net, 5)
    np.testing.assert_allclose(found.a, [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6])
    for i, a in enumerate(found.a):
        there = moved(net, lambda name, p, a=a: p + a * direction[name] if name in direction else p)  # type: ignore[misc]
        np.testing.assert_allclose((found.loss[0, i, 0], found.accuracy[0, i, 0]), plain(there, data), rtol=1e-12)
    assert np.ptp(found.loss) > 0.01


def test_points_of_a_plane_are_nets_moved_by_hand(data: Examples) -> None:
    net = tiny(0)
    found = landscape([("net", net)], data, way="plane", points=3, seed=2)
    one, two = random_direction(net, 2, 0), random_direction(net, 2, 1)
    for i, a in enumerate(found.a):
        for j, b in enumerate(found.b):
            step = {name: a * one[name] + b * two[name] for name in one}
            there = moved(net, lambda name, p, step=step: p + step[name] if name in step else p)  # type: ignore[misc]
            np.testing.assert_allclose(found.loss[0, i, j], plain(there, data)[0], rtol=1e-12)


def test_filters_of_the_direction_are_as_long_as_the_nets() -> None:
    net = tiny(1)
    direction = random_direction(net, 0)
    weights = dict(net.named_parameters())
    assert set(direction) == {"backbone.conv.weight", "backbone.head.weight"}  # no bias, nothing of a norm
    for name, part in direction.items():
        for own, drawn in zip(weights[name], part, strict=True):
            assert drawn.norm() == pytest.approx(float(own.detach().norm()), rel=1e-6)
    numbers = torch.cat([(p / p.flatten(1).norm(dim=1).mean()).flatten() for p in direction.values()])
    assert abs(float(numbers.mean())) < 0.5


def test_a_filter_of_zeros_stands_still() -> None:
    net = tiny(1)
    with torch.no_grad():
        net.backbone.conv.weight[0] = 0
    direction = random_direction(net, 0)["backbone.conv.weight"]
    assert (direction[0] == 0).all()
    assert direction.isfinite().all()


def test_nets_get_the_same_random_numbers() -> None:
    """Up to the length of each filter; and others for another seed."""
    one, two, other = random_direction(tiny(1), 0), random_direction(tiny(2), 0), random_direction(tiny(1), 1)
    for name in one:
        angles = F.cosine_similarity(one[name].flatten(1), two[name].flatten(1))
        np.testing.assert_allclose(angles, 1, rtol=1e-12)
        assert (F.cosine_similarity(one[name].flatten(1), other[name].flatten(1)) < 0.999).all()


def test_scaling_filters_does_not_change_a_normalised_slice(data: Examples) -> None:
    """What filter normalisation is for: batch norm undoes the scale, so the picture must too."""
    net, scaled = tiny(3), tiny(3)
    with torch.no_grad():
        for p in (scaled.backbone.conv.weight, scaled.backbone.conv.bias):
            p.mul_(10)
        scaled.backbone.norm.running_mean.mul_(10)
        scaled.backbone.norm.running_var.mul_(100)
        for one in (net, scaled):
            one.backbone.norm.eps = 1e-12
    found = landscape([("one", net), ("ten", scaled)], data, points=5)
    np.testing.assert_allclose(found.loss[0], found.loss[1], rtol=1e-6)


def test_interpolation_goes_from_one_net_to_the_other(data: Examples) -> None:
    one, two = tiny(0, torch.float32), tiny(1, torch.float32)
    found = landscape([("one", one), ("two", two)], data, way="interpolation", points=4)
    np.testing.assert_allclose(found.a, [0, 1 / 3, 2 / 3, 1])
    assert found.loss[0, 0, 0] == loss_and_accuracy(one, data)[0]
    assert found.loss[0, -1, 0] == loss_and_accuracy(two, data)[0]
    other = two.state_dict()
    mixed = copy.deepcopy(one)
    mixed.load_state_dict(
        {k: v + (other[k] - v) / 3 if v.is_floating_point() else v for k, v in one.state_dict().items()}
    )
    np.testing.assert_allclose(found.loss[0, 1, 0], plain(mixed, data)[0], rtol=1e-5)
    assert found.rows == ("one to two",)


def test_the_barrier_is_the_height_above_the_straight_line() -> None:
    loss = np.array([1.0, 3.0, 2.0, 2.0])[None, :, None]
    found = Landscape("", "interpolation", ("x", "y"), np.linspace(0, 1, 4), np.zeros(1), loss, loss / 4, "running", 3)
    np.testing.assert_allclose(found.barrier, [3 - (1 + 1 / 3)])
    assert found.summary().barrier[0] == found.barrier[0]


def test_recomputed_statistics_are_those_of_the_images(data: Examples) -> None:
    net = tiny(0)
    there = copy.deepcopy(net)
    with torch.no_grad():
        maps = there.backbone.conv((data.images - there.mean) / there.std)
        there.backbone.norm.running_mean.copy_(maps.mean((0, 2, 3)))
        there.backbone.norm.running_var.copy_(maps.var((0, 2, 3)))
    found = landscape([("net", net)], data, points=3, batch_norm="recomputed")
    np.testing.assert_allclose(found.loss[0, 1, 0], plain(there, data)[0], rtol=1e-12)
    assert found.loss[0, 1, 0] != landscape([("net", net)], data, points=3).loss[0, 1, 0]


def test_recomputing_counts_batches_alike(data: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images in batches of at most four are four, three and three, not four, four and two; dropout stays off."""
    monkeypatch.setattr(slices, "CHUNK", 4)
    net = tiny(0)
    sizes: list[int] = []
    net.backbone.conv.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    net.backbone.drop = nn.Dropout()
    modes: list[bool] = []
    net.backbone.norm.register_forward_hook(lambda *_: modes.append(net.backbone.drop.training))
    with net.probing(), torch.no_grad():
        recompute_statistics(net, data)
        assert not net.backbone.norm.training
    assert max(sizes) - min(sizes) <= 1
    assert not any(modes)
    assert net.backbone.norm.momentum == 0.1


def test_chunks_change_nothing(data: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = landscape([("net", tiny(0))], data, points=3)
    monkeypatch.setattr(chunks, "free_memory", lambda device: 1.0)
    parts = landscape([("net", tiny(0))], data, points=3)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-12)
    np.testing.assert_array_equal(parts.accuracy, whole.accuracy)


@pytest.mark.parametrize("way", ["line", "plane"])
def test_a_span_that_shows_nothing_is_refused(data: Examples, way: str) -> None:
    with pytest.raises(
        UsageError, match=rf"the loss of net is infinite all along .* its {way}; .* smaller span than 1e"
    ):
        landscape([("net", tiny(0, torch.float32))], data, points=3, span=1e38, way=way)


@pytest.mark.parametrize("way", ["line", "plane"])
def test_losses_that_are_not_finite_stay_in_the_table(
    data: Examples, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([(np.nan, 0.0)])
    monkeypatch.setattr(module, "_measured", lambda *_: next(losses, (1.5, 0.5)))
    found = landscape([("net", tiny(0))], data, points=3, way=way)
    assert np.isnan(found.loss).sum() == 1 and np.isnan(found.loss[:, found.border]).any()
    assert found.summary()["rise"].tolist() == [np.inf]
    assert found.plot().has_data()


# ------------------------------------------------------------------------------------------------------- as found


@pytest.mark.parametrize("way", ["line", "plane", "interpolation"])
@pytest.mark.parametrize("batch_norm", ["running", "recomputed"])
def test_the_net_keeps_its_weights_even_after_an_error(
    data: Examples, way: str, batch_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets = [("one", tiny(0, torch.float32).train()), ("two", tiny(1, torch.float32))]
    nets = nets[:1] if way == "plane" else nets
    places = [[p.data_ptr() for p in net.parameters()] for _, net in nets]
    before = [{k: v.clone() for k, v in net.state_dict().items()} for _, net in nets]
    calls = []

    def failing(net: Net, data: Examples, *chunk: Any) -> tuple[float, float]:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss_and_accuracy(net, data)

    monkeypatch.setattr(module, "loss_and_accuracy", failing)
    with pytest.raises(KeyboardInterrupt):
        landscape(nets, data, way=way, points=3, batch_norm=batch_norm)
    landscape(nets, data, way=way, points=3, batch_norm=batch_norm)
    for (_, net), values, pointers in zip(nets, before, places, strict=True):
        assert all(torch.equal(v.view(-1), values[k].view(-1)) for k, v in net.state_dict().items())
        assert [p.data_ptr() for p in net.parameters()] == pointers
        assert all(p.requires_grad for p in net.parameters())
    assert nets[0][1].training


def test_a_graph_from_before_can_still_be_followed_back(data: Examples) -> None:
    net = tiny(0)
    loss = F.cross_entropy(net(data.images), data.labels)
    wanted = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    landscape([("net", net)], data, points=3)
    found = torch.autograd.grad(loss, list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


# ------------------------------------------------------------------------------------------------------------ edges


@pytest.mark.parametrize(
    ("nets", "options", "message"),
    [
        (0, {}, "takes at least one net, got 0"),
        (2, {"way": "plane"}, "takes one net, got 2"),
        (1, {"way": "interpolation"}, "takes two nets, got 1"),
        (1, {"way": "lin"}, "unknown way of a landscape 'lin'; did you mean 'line'"),
        (1, {"batch_norm": "run"}, "unknown batch_norm 'run'"),
        (1, {"points": 4}, "points must be odd and from 3 to 1001, got 4"),
        (2, {"way": "interpolation", "points": 2}, "points must be from 3 to 1001, got 2"),
        (1, {"span": 0}, "span must be above 0, got 0"),
        (1, {"span": float("nan")}, "span must be above 0, got nan"),
    ],
)
def test_errors_say_what_was_expected(data: Examples, nets: int, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        landscape([(str(seed), tiny(seed)) for seed in range(nets)], data, **options)


def test_nets_of_two_architectures_have_no_line_between_them(data: Examples) -> None:
    other = Net("resnet8", CLASSES, channels=1, size=8)
    with pytest.raises(UsageError, match="nets of one architecture"):
        landscape([("one", tiny(0)), ("two", other)], data, way="interpolation")


def test_one_image_and_its_statistics(data: Examples) -> None:
    found = landscape([("net", tiny(0))], data, images=1, points=3)
    assert found.images == 1
    assert np.isfinite(found.loss).all()
    small = Examples(data.images[:1, :, :3, :3], data.labels[:1])  # a single value a channel has no variance
    with pytest.raises(UsageError, match="can't be recomputed on 1 images; take more"):
        landscape([("net", tiny(0))], small, points=3, batch_norm="recomputed")


def test_a_net_without_batch_norm_has_nothing_to_recompute() -> None:
    small: dict[str, Any] = {"patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
    net = Net("vit_tiny_patch16_224", CLASSES, channels=1, size=8, **small)
    data = Examples(torch.rand(3, 1, 8, 8), torch.arange(3))
    one, other = (landscape([("net", net)], data, points=3, batch_norm=way) for way in ("running", "recomputed"))
    np.testing.assert_array_equal(one.loss, other.loss)


# ------------------------------------------------------------------------------------------------ tables and pictures


def test_table_has_a_row_a_point(data: Examples) -> None:
    found = landscape([("one", tiny(0)), ("two", tiny(1))], data, points=3)
    frame = found.to_frame()
    assert list(frame.columns) == ["name", "a", "b", "loss", "accuracy"]
    assert frame.name.tolist() == ["one"] * 3 + ["two"] * 3
    np.testing.assert_array_equal(frame.query("name == 'two'").loss, found.loss[1, :, 0])
    rise = found.summary().rise
    np.testing.assert_allclose(rise, found.loss[:, [0, 2], 0].mean(1) - found.loss[:, 1, 0])


def test_rise_of_a_plane_is_to_its_border() -> None:
    loss = np.full((1, 3, 3), 5.0)
    loss[0, 1, 1] = 2
    found = Landscape("", "plane", ("x",), np.array([-1, 0, 1.0]), np.array([-1, 0, 1.0]), loss, loss / 5, "running", 3)
    assert found.summary().rise[0] == 3


def test_lines_are_drawn_in_the_looks_of_the_methods(data: Examples) -> None:
    names = ["photos-resnet8-cutmix-s0-0d022a95", "photos-resnet8-vanilla-s0-7b801b39"]
    found = landscape([(name, tiny(i)) for i, name in enumerate(names)], data, points=3)
    ax = found.plot()
    assert [line.get_color() for line in ax.lines] == [PALETTE["cutmix"], PALETTE["vanilla"]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["CutMix", "Vanilla"]
    for line, loss in zip(ax.lines, found.loss[:, :, 0], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), loss)


@pytest.mark.parametrize(
    ("names", "labels", "colors", "lines"),
    [
        (["a", "b"], ["a", "b"], 2, 1),
        (["d-m-mixup-s0-aaaaaaaa", "d-m-mixup-s1-bbbbbbbb"], ["s0", "s1"], 1, 2),
        (["d-m-mixup-s0-aaaaaaaa", "d-m-mixup-s0-bbbbbbbb"], ["aaaaaaaa", "bbbbbbbb"], 1, 2),
        (["d-m-mixup-s0-a", "d-m-cutmix-s0-b", "d-m-mixup-s1-c"], ["Mixup s0", "CutMix s0", "Mixup s1"], 2, 2),
        (["same", "same"], ["same", "same"], 2, 1),
    ],
)
def test_runs_are_told_apart(names: list[str], labels: list[str], colors: int, lines: int) -> None:
    found, looks = line_looks(names)
    assert found == labels
    assert len({look["color"] for look in looks}) == colors
    assert len({str(look["linestyle"]) for look in looks}) == lines


def test_a_plane_is_shown_as_a_surface_too(data: Examples) -> None:
    net = [("net", tiny(0))]
    assert landscape(net, data, points=3).figures() == {}
    views = landscape(net, data, way="plane", points=3).figures()
    assert list(views) == ["surface"]
    assert views["surface"]().has_data()


def test_plane_has_contours_of_one_scale_and_a_surface(data: Examples) -> None:
    found = landscape([("net", tiny(0))], data, way="plane", points=3)
    ax = found.plot()
    assert ax.get_aspect() == 1
    assert found.surface().name == "3d"
    with pytest.raises(UsageError, match="a surface is drawn of a plane"):
        landscape([("net", tiny(0))], data, points=3).surface()


def test_numpys_small_numbers_do_not_overflow(data: Examples) -> None:
    small = landscape([("net", tiny(0))], data, points=np.uint8(5), span=np.float32(0.5))  # type: ignore[arg-type]
    np.testing.assert_array_equal(small.a, [-0.5, -0.25, 0, 0.25, 0.5])

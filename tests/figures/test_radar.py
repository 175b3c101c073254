"""The radar of published numbers: right numbers on right spokes, readable on every page, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from workbench import style
from workbench.config import UsageError
from workbench.figures import lint, save
from workbench.figures.radar import INNER, METHODS, MOST, radar, spokes

PAGES = [("cvpr", 1), ("cvpr", 2), ("neurips", 1), ("eccv", 1), ("tpami", 1)]
TEN = ("vanilla", "mixup", "cutmix", "resizemix", "fmix", "manifoldmix", "saliencymix", "puzzlemix", "automix", "samix")


@pytest.mark.parametrize(("venue", "columns"), PAGES)
@pytest.mark.parametrize("methods", [METHODS, TEN, ("vanilla", "cutmix")])
def test_layout(methods: tuple[str, ...], venue: str, columns: int) -> None:
    figure = radar(methods, venue=venue, columns=columns)
    assert figure.get_figwidth() == style.page_width(venue, columns)
    assert figure.get_figheight() < 6
    assert lint.faults(figure) == []
    assert plt.get_fignums() == []


@pytest.mark.parametrize("number", range(3, 10))
def test_layout_of_few_spokes(number: int) -> None:
    sets = [spoke.dataset for spoke in spokes(METHODS)][:number]
    assert lint.faults(radar(datasets=sets)) == []


def test_the_numbers_of_a_spoke() -> None:
    found = {spoke.dataset: spoke for spoke in spokes(("vanilla", "cutmix", "samix"))}
    tiny = found["tiny_imagenet"]
    assert tiny.values == {"vanilla": 61.68, "cutmix": 65.53, "samix": 68.89}
    assert tiny.range == (61.68, 68.89)
    assert tiny.label == "Tiny-ImageNet\nResNet-18, 400 ep.\n61.7 to 68.9 %"
    assert (found["cifar100"].backbone, found["cifar100"].epochs) == ("resnet18", 1200)  # the longest
    assert found["inat2018"].backbone == "resnet50"  # no ResNet-18 there
    assert "stanford_cars" not in found  # no vanilla there


def test_all_methods_have_a_number_on_every_spoke() -> None:
    for methods in (METHODS, TEN, ("vanilla", "comixup", "samix")):
        assert all(set(spoke.values) == set(methods) for spoke in spokes(methods))
    assert {s.dataset for s in spokes(("vanilla", "comixup", "samix"))} == {"cifar100", "tiny_imagenet", "imagenet1k"}


def test_lines_go_through_the_numbers() -> None:
    figure = radar(("vanilla", "cutmix", "samix"), ("cifar10", "cifar100", "tiny_imagenet"))
    (ax,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in ax.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["Vanilla", "CutMix", "SAMix"]
    radius = np.linalg.norm(lines["SAMix"], axis=1)
    np.testing.assert_allclose(radius, radius[0])  # the best on all three
    share = np.linalg.norm(lines["CutMix"], axis=1) / radius[0]
    expected = [INNER + (1 - INNER) * (96.56 - 95.59) / (97.41 - 95.59), INNER]  # CIFAR-100: CutMix is the lowest
    np.testing.assert_allclose(share[:2], expected, rtol=1e-6)
    np.testing.assert_array_equal(lines["CutMix"][0], lines["CutMix"][-1])
    assert lines["SAMix"][0][0] == pytest.approx(0) and lines["SAMix"][0][1] > 0  # the first spoke points up


def test_one_net() -> None:
    assert {spoke.backbone for spoke in spokes(METHODS, backbone="resnext50_32x4d")} == {"resnext50"}


def test_two_renderings_are_the_same(tmp_path: Path) -> None:
    first = save(radar(), tmp_path / "first", ("pdf", "png", "svg"))
    second = save(radar(), tmp_path / "second", ("pdf", "png", "svg"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert b"/Type3" not in first[0].read_bytes()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"methods": ("vanilla", "cutmx")}, "did you mean 'cutmix'"),
        ({"methods": ("vanilla",)}, f"2 to {MOST} methods, got 1"),
        ({"methods": tuple(style.LABELS)}, f"2 to {MOST} methods, got 20"),
        ({"datasets": ("cifar10", "cifar100")}, "needs three data sets"),
        ({"datasets": ("cifar10", "cifar100", "photos")}, "unknown data set with published numbers 'photos'"),
        ({"datasets": ("cifar10", "cifar100", "stanford_cars")}, "a number on stanford_cars; leave out some"),
        (
            {"methods": ("comixup", "adautomix")},
            "with numbers of all its methods, got imagenet1k",
        ),
        ({"backbone": "resnet9"}, "did you mean 'resnet50'"),
        ({"venue": "cpvr"}, "did you mean 'cvpr'"),
        ({"columns": 3}, "columns must be 1 or 2"),
    ],
)
def test_mistakes(wanted: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        radar(**wanted)
    assert message in str(error.value) and "\n" not in str(error.value)

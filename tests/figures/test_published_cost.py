"""Published accuracy against published cost: right numbers, readable on every page, the same every time."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from workbench import style
from workbench.config import UsageError
from workbench.figures import lint, save
from workbench.figures.published_cost import NOTE, published_cost

PAGES = [("cvpr", 1), ("cvpr", 2), ("neurips", 1), ("eccv", 1), ("tpami", 2)]
ALL = ("deit_s", "swin_t", "convnext_t")


@pytest.mark.parametrize(("venue", "columns"), PAGES)
@pytest.mark.parametrize("nets", [(), ("deit_s",), ALL])
def test_layout(nets: tuple[str, ...], venue: str, columns: int) -> None:
    figure = published_cost(nets, venue=venue, columns=columns)
    assert figure.get_figwidth() == style.page_width(venue, columns)
    assert figure.get_figheight() < 8
    assert lint.faults(figure) == []
    assert plt.get_fignums() == []


def test_the_numbers() -> None:
    figure = published_cost(["deit_small_patch16_224"])
    hours, memory = figure.axes
    points = {line.get_label(): tuple(map(float, line.get_xydata()[0])) for line in hours.lines}
    assert points["SAMix"] == (58, 82.49)  # copied by hand from the benchmark's page
    assert points["TransMix"] == (28, 79.33)
    assert len(points) == 14
    assert {line.get_label(): tuple(map(float, line.get_xydata()[0])) for line in memory.lines}["SAMix"] == (
        21.3,
        82.49,
    )
    assert hours.get_ylim() == memory.get_ylim()
    assert hours.get_title(loc="left") == "DeiT-S, 600 epochs"
    assert (hours.get_xlabel(), memory.get_xlabel()) == ("whole training (hours)", "GPU memory (GB)")
    assert hours.get_ylabel() == "CIFAR-100 top-1 (%)"


@pytest.mark.parametrize(("venue", "columns"), PAGES)
def test_no_mark_lies_behind_another(venue: str, columns: int) -> None:
    figure = published_cost(venue=venue, columns=columns)
    figure.draw_without_rendering()
    for ax in figure.axes:
        seen = [line.get_transform().transform(line.get_xydata()[0]) * 72 / figure.dpi for line in ax.lines]
        size = [line.get_markersize() for line in ax.lines]
        for i, j in combinations(range(len(seen)), 2):
            assert np.hypot(*(seen[i] - seen[j])) > 0.43 * (size[i] + size[j])
        moved = [line for line in ax.lines if line.get_transform() != ax.transData]
        assert len(moved) == len([note for note in ax.texts if note.arrow_patch is not None]) > 0


def test_methods_without_an_accuracy_are_named() -> None:
    usual = [ax.get_title(loc="left") for ax in published_cost().axes]
    assert [title for title in usual if title] == ["ConvNeXt-T, 600 epochs", "DeiT-S, 600 epochs"]
    figure = published_cost(["swin_t"])
    told = figure.get_suptitle().replace("\n", " ")
    assert told == f"no accuracy was published for AutoMix, SAMix, TransMix on Swin-T; {NOTE}"
    assert len(figure.axes[0].lines) == 11


def test_two_renderings_are_the_same(tmp_path: Path) -> None:
    first = save(published_cost(), tmp_path / "first", ("pdf", "png", "svg"))
    second = save(published_cost(), tmp_path / "second", ("pdf", "png", "svg"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"dataset": "cifar10"}, "no training times were published on cifar10; there are some on cifar100"),
        ({"dataset": "photos"}, "unknown data set with published numbers 'photos'"),
        ({"backbones": ["resnet18"]}, "(known: convnext_t, deit_s, swin_t)"),
        ({"venue": "cpvr"}, "did you mean 'cvpr'"),
    ],
)
def test_mistakes(wanted: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        published_cost(**wanted)
    assert message in str(error.value) and "\n" not in str(error.value)

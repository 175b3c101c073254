"""A replayed step as a figure: the pictures, masks and weights that it has, by a paper's rules."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from workbench import style
from workbench.draw import Draw
from workbench.figures.lint import faults
from workbench.figures.replayed import SHOWN, replayed
from workbench.methods import build
from workbench.runs import Replay

CLASSES = ("a $name$", "Ærø & <b>", "a name that is far too long to stand under a picture")


def step(method: str = "cutmix", images: int = 12, channels: int = 3, classes: Any = CLASSES) -> Replay:
    x = torch.rand(images, channels, 16, 16, generator=torch.Generator().manual_seed(1))
    y = torch.arange(images) % len(classes)
    mixed = build(method, num_classes=len(classes)).train().mix(x, y, None, Draw(3))
    return Replay("run-s0", 2, 5, torch.arange(images), x, y, mixed, tuple(classes), "exactly as it was drawn")


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("venue", ["cvpr", "neurips"])
@pytest.mark.parametrize("method", ["vanilla", "mixup", "cutmix"])
def test_it_keeps_to_a_papers_rules(method: str, venue: str) -> None:
    figure = replayed(step(method, classes=("cat", "dog", "astronaut")), venue=venue)
    assert not faults(figure)
    with style.paper(venue, 2) as width:
        assert figure.get_figwidth() == pytest.approx(width)


def test_rows_and_words_are_those_of_the_step() -> None:
    shown = step("cutmix", classes=("cat", "dog", "owl"))
    words = " ".join(texts(replayed(shown)))
    assert "run-s0, epoch 2, step 5: exactly as it was drawn." in words.replace("\n", " ")
    share = round(100 * float(shown.mixed.weight[0, 0]))
    partner = shown.classes[int(shown.y[shown.mixed.source[0, 1]])]
    assert f"{share}:{100 - share} {partner}" in words
    plain = replace(shown, mixed=replace(shown.mixed, mask=None))
    images = [image for ax in replayed(shown).axes for image in ax.get_images()]
    assert len(images) == 3 * SHOWN
    assert len([1 for ax in replayed(plain).axes for _ in ax.get_images()]) == 2 * SHOWN
    assert "Mask:" in words and "Mask:" not in " ".join(texts(replayed(plain)))


@pytest.mark.parametrize(("images", "channels"), [(1, 3), (2, 1), (3, 3)])
def test_small_batches_and_grey_pictures(images: int, channels: int) -> None:
    for method in ("vanilla", "cutmix"):
        assert not [fault for fault in faults(replayed(step(method, images, channels))) if "cut off" in fault]


def test_odd_names_of_classes_are_drawn_as_they_are() -> None:
    words = texts(replayed(step()))
    assert not any("far too long" in word for word in words)
    replayed(step(classes=("$x", "a$b$", "\\frac{"))).savefig(io.BytesIO(), format="png")


def test_two_renderings_are_alike() -> None:
    pages = []
    for _ in range(2):
        buffer = io.BytesIO()
        with style.paper():
            replayed(replace(step(), note="the same")).savefig(buffer, format="png")
        pages.append(buffer.getvalue())
    assert pages[0] == pages[1]

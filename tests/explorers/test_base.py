"""The base of the explorers: the latest state is drawn, mistakes are told, everything is freed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import ipywidgets as widgets
import numpy as np
import pytest

from workbench.config import UsageError
from workbench.explorers.base import Explorer
from workbench.explorers.parts import encode, picture, slider


class Grey(Explorer):
    """Draws its slider's value as a grey picture; refuses above 0.8, breaks above 0.9."""

    name = "grey"

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.drawn: list[float] = []
        self.freed = 0
        self.share = self.watch(slider("Brightness", 0.5, 0, 1))
        self.image = picture(224, 224)
        self.lay_out(self.share, self.image)
        self.settle()

    def draw(self) -> None:
        if self.share.value > 0.9:
            raise ValueError("<b>too</b>\nmuch")
        if self.share.value > 0.8:
            raise UsageError("at most <0.8>")
        self.drawn.append(self.share.value)
        self.image.value = encode(np.full((4, 4), self.share.value))

    def png(self) -> bytes:
        return self.image.value

    def free(self) -> None:
        self.freed += 1


@pytest.fixture
def grey() -> Iterator[Grey]:
    made = Grey()
    yield made
    made.close()


def test_without_a_loop_a_change_is_drawn_at_once(grey):
    grey.share.value = 0.25

    assert grey.drawn == [0.5, 0.25]


def test_of_many_changes_in_a_loop_only_the_last_is_drawn(grey):
    async def move() -> None:
        for value in (0.1, 0.2, 0.3):
            grey.share.value = value
        assert grey.drawn == [0.5]  # nothing while the changes come
        await asyncio.sleep(0.05)

    asyncio.run(move())

    assert grey.drawn == [0.5, 0.3]


def test_a_change_that_comes_during_a_drawing_is_drawn_next(grey):
    first = grey.draw

    def draw() -> None:
        first()
        if grey.share.value == 0.1:
            grey.share.value = 0.2

    async def move() -> None:
        grey.draw = draw
        grey.share.value = 0.1
        await asyncio.sleep(0.05)

    asyncio.run(move())

    assert grey.drawn == [0.5, 0.1, 0.2]


def test_settle_draws_what_waits_once(grey):
    async def move() -> None:
        grey.share.value = 0.1
        grey.settle()
        assert grey.drawn == [0.5, 0.1]
        await asyncio.sleep(0.05)

    asyncio.run(move())

    assert grey.drawn == [0.5, 0.1]


def test_several_controls_are_set_as_one(grey):
    with grey.held():
        grey.share.value = 0.1
        grey.share.value = 0.2

    assert grey.drawn == [0.5, 0.2]


def test_a_mistake_is_told_in_an_escaped_line_and_cleared_by_the_next_good_state(grey):
    grey.share.value = 0.85
    grey.settle()  # no error: the line tells it
    told = grey.message.value
    grey.share.value = 0.4

    assert "at most &lt;0.8&gt;" in told
    assert grey.message.value == ""


def test_any_other_error_is_told_with_its_type_and_raised_by_settle(grey):
    grey.share.value = 0.95

    assert "ValueError: &lt;b&gt;too&lt;/b&gt; much" in grey.message.value
    with pytest.raises(ValueError, match="too"):
        grey.settle()


def test_a_failed_drawing_stays_told_when_a_button_works(grey):
    grey.share.value = 0.85

    assert grey.attempt(lambda: None)
    assert "at most" in grey.message.value


def test_a_failed_action_is_told(grey):
    def fail() -> None:
        raise UsageError("no such file")

    assert not grey.attempt(fail)
    assert "no such file" in grey.message.value


def test_a_drawing_that_was_asked_for_before_a_mistake_leaves_it_told(grey):
    """A dropped file that is refused while the last change still waits for its drawing."""

    def fail() -> None:
        raise UsageError("no such file")

    async def move() -> None:
        grey.share.value = 0.1
        grey.attempt(fail)
        await asyncio.sleep(0.05)

    asyncio.run(move())

    assert grey.drawn == [0.5, 0.1]
    assert "no such file" in grey.message.value
    grey.share.value = 0.2
    assert grey.message.value == "", "what is changed after it clears it"


def test_what_a_notebook_gets_holds_the_widget_and_its_picture(grey):
    bundle = grey._repr_mimebundle_()

    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]) == grey.image.value
    assert bundle["text/plain"].startswith("Grey(")


def test_a_picture_that_cannot_be_made_leaves_the_widget_and_says_why(grey, monkeypatch):
    def nothing() -> bytes:
        raise UsageError("no finished run")

    monkeypatch.setattr(grey, "png", nothing)
    bundle = grey._repr_mimebundle_()

    assert "image/png" not in bundle
    assert "no finished run" in bundle["text/plain"]


def test_making_it_again_closes_the_older_one_but_not_one_with_another_key(grey):
    beside = Grey(key="beside")
    newer = Grey()

    assert grey.closed and not beside.closed and not newer.closed
    beside.close()
    newer.close()


def test_closing_frees_widgets_pictures_and_observers_once(grey):
    parts = [grey.widget, grey.message, grey.share, grey.share.layout, grey.share.style, grey.image, grey.image.layout]
    share, drawn = grey.share, list(grey.drawn)
    grey.close()
    grey.close()
    share.value = 0.1
    grey.later()

    assert all(part.comm is None for part in parts)
    assert grey.image.value == b""
    assert grey.freed == 1
    assert grey.drawn == drawn
    assert grey._repr_mimebundle_() == {"text/plain": "Grey(closed)"}


def test_a_closed_older_one_does_not_unregister_the_newer(grey):
    newer = Grey()
    grey.close()
    newest = Grey()

    assert newer.closed
    newest.close()


def test_a_repeated_task_goes_on_after_a_mistake_and_ends_on_close(grey):
    calls: list[int] = []

    def tick() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise UsageError("not yet")

    async def live() -> tuple[int, int]:
        grey.every(0.005, tick)
        await asyncio.sleep(0.1)
        grey.close()
        before = len(calls)
        await asyncio.sleep(0.05)
        return before, len(asyncio.all_tasks())

    before, tasks = asyncio.run(live())

    assert before >= 2
    assert len(calls) == before
    assert tasks == 1  # this one


def test_a_picture_keeps_its_size():
    layout = picture(256, 128).layout

    assert (layout.width, layout.height, layout.flex, layout.object_fit) == ("256px", "128px", "0 0 auto", "contain")


@pytest.mark.parametrize("value", [0.05, 0.3, 1.0, 5.0])
def test_a_logarithmic_slider_can_show_its_default(value):
    made = slider("alpha", value, 0.05, 5)
    steps = (np.log10(value) - made.min) / made.step

    assert isinstance(made, widgets.FloatLogSlider)
    assert abs(steps - round(steps)) < 1e-6


@pytest.mark.parametrize(("value", "low", "high"), [(0.2, 0, 100), (0.001, 0, 1), (0.5, 0, 1), (0, 0, 0.9)])
def test_a_linear_slider_has_a_step_finer_than_its_default(value, low, high):
    made = slider("eta", value, low, high)

    assert (made.min, made.max, made.value) == (low, high, value)
    assert made.step <= (value or high)
    assert float(f"{value:{made.readout_format}}") == value

"""The mixed-samples explorer without a browser: its controls move what it shows."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from workbench.config import Range, RunConfig, UsageError
from workbench.explorers import MixedSamples
from workbench.explorers.controls import WITHOUT_EFFECT, controls
from workbench.explorers.mixed_widget import QUIET
from workbench.methods import METHODS, build, describe
from workbench.runs import run


@pytest.fixture
def explorer() -> Iterator[MixedSamples]:
    made = MixedSamples()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A finished run of AutoMix on small digits."""
    config = RunConfig(
        method="automix", data="digits", size=16, model="resnet8", epochs=1, batch_size=360, lr=0.05, score="last"
    )
    root = tmp_path_factory.mktemp("runs")
    run(config, root)
    return root


def pixels(image: widgets.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.value)).convert("RGB"))


def drop(explorer: MixedSamples, **files: bytes) -> None:
    """What the page sends when these files are dropped on it."""
    hear = explorer.drop._handle_custom_msg
    hear({"kind": "begin", "batch": "1"}, [])
    for name, data in files.items():
        hear({"kind": "piece", "batch": "1", "first": True, "name": name, "size": len(data)}, [memoryview(data)])
    hear({"kind": "end", "batch": "1"}, [])


def png(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), color).save(buffer, format="png")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------- controls


@pytest.mark.parametrize("key", METHODS)
def test_sliders_have_the_declared_bounds_and_defaults_and_their_ends_are_taken(key):
    made = controls(key)
    assert made.values() == {}
    for parameter in describe(key):
        if parameter.name in WITHOUT_EFFECT or parameter.name not in made.widgets:
            continue
        control = made.widgets[parameter.name]
        assert control.value == parameter.default
        if not isinstance(parameter.bounds, Range):
            continue
        power = (lambda v: 10**v) if isinstance(control, widgets.FloatLogSlider) else (lambda v: v)
        assert power(control.min) == pytest.approx(parameter.bounds.low)
        assert power(control.max) == pytest.approx(parameter.bounds.high)
        for end in (power(control.min), power(control.max)):
            control.value = end
            build(key, made.values())  # an end that a rounding takes out of bounds would be refused
        control.value = parameter.default


def test_every_kind_of_parameter_has_its_control():
    made = controls("puzzlemix").widgets

    assert isinstance(made["alpha"], widgets.FloatLogSlider)
    assert isinstance(made["gamma"], widgets.FloatSlider)
    assert isinstance(made["labels"], widgets.IntSlider)
    assert isinstance(made["transport"], widgets.Checkbox)
    assert isinstance(controls("adautomix").widgets["cosine_sign"], widgets.Dropdown)
    assert controls("puzzlemix").word() == "Set in code, not here: grids"


# ------------------------------------------------------------------------------------------------------- the widget


def test_lambda_moves_the_mix_and_the_numbers(explorer):
    before = pixels(explorer.cards[0].mix)
    explorer.lam.value = 0.8
    a, b, mixed = (pixels(i).astype(float) for i in (explorer.image_a, explorer.image_b, explorer.cards[0].mix))

    assert np.abs(mixed - (0.8 * a + 0.2 * b)).max() <= 1
    assert not np.array_equal(mixed, before)
    assert "label 0.80 A · visible 0.80 A" in explorer.cards[0].numbers.value


def test_while_a_slider_moves_only_its_last_value_is_drawn(explorer):
    drawn: list[float] = []
    draw = explorer.draw

    async def move() -> None:
        explorer.draw = lambda: (drawn.append(explorer.lam.value), draw())
        for k in range(1, 30):
            explorer.lam.value = k / 100
        await asyncio.sleep(0.4)

    asyncio.run(move())

    assert drawn == [0.29]
    assert "label 0.29 A" in explorer.cards[0].numbers.value


def test_a_parameter_changes_its_method_and_nothing_else(explorer):
    explorer.fixed.value = False
    explorer.seed.value = 4
    before = explorer.state()
    explorer.cards[1].controls.widgets["alpha"].value = 0.2
    after = explorer.state()

    assert after.methods[1].params == {"alpha": 0.2}
    assert (after.methods[0], after.seed, after.lam, after.pair) == (before.methods[0], 4, None, before.pair)


def test_the_distribution_follows_the_parameters_and_not_lambda(explorer):
    card = explorer.cards[1]
    first = card.spread
    explorer.lam.value = 0.9
    same = card.spread
    chart = card.chart.value
    card.controls.widgets["alpha"].value = 0.1

    assert first is same is not card.spread
    assert card.chart.value != chart


def test_draw_again_takes_the_next_seed(explorer):
    before = pixels(explorer.cards[1].mask)
    explorer.next.click()

    assert explorer.seed.value == 1
    assert not np.array_equal(pixels(explorer.cards[1].mask), before)


def test_methods_are_added_up_to_six_and_removed_down_to_one(explorer):
    for _ in range(4):
        explorer.more.click()
    assert len({card.method.value for card in explorer.cards}) == len(explorer.grid.children) == 6
    assert explorer.more.disabled
    with pytest.raises(UsageError, match="6 methods are on show"):
        explorer.add()

    gone = explorer.cards[0]
    for _ in range(5):
        explorer.cards[0].remove.click()
    assert len(explorer.cards) == 1 and explorer.cards[0].remove.disabled
    assert gone.mix.comm is None and gone.mix.value == b""
    assert explorer.cards[0].mix.layout.width == "224px"


def test_a_method_that_is_chosen_again_has_its_parameters_still(explorer):
    card = explorer.cards[1]
    card.controls.widgets["alpha"].value = 0.2
    old = card.controls.widgets["alpha"]
    card.method.value = "resizemix"
    assert card.chosen().params == {} and old.comm is None
    card.method.value = "cutmix"

    assert card.chosen().params == {"alpha": 0.2}


def test_a_method_without_its_net_says_so_and_leaves_the_others(explorer):
    explorer.cards[0].method.value = "puzzlemix"

    assert "looks into a net: open a folder with a finished run" in explorer.cards[0].numbers.value
    assert not explorer.cards[1].why
    assert explorer.png().startswith(b"\x89PNG")
    explorer.cards[1].method.value = "automix"
    with pytest.raises(UsageError, match="none of the methods can be shown"):
        explorer.png()


def test_reset_goes_back_to_the_beginning(explorer):
    first = explorer.state()
    explorer.add("fmix")
    explorer.cards[1].controls.widgets["alpha"].value = 0.2
    explorer.lam.value, explorer.seed.value, explorer.size.value, explorer.b.value = 0.1, 9, 64, 5
    explorer.fixed.value = False
    explorer.back.click()

    assert explorer.state() == first
    assert explorer.failure is None


def test_an_unknown_method_leaves_what_is_on_show(explorer):
    with pytest.raises(UsageError, match="cutmix"):
        MixedSamples(("cutmx",))

    assert not explorer.closed


def test_making_it_again_replaces_it_and_close_frees_all_widgets():
    alive = set(_alive())
    older = MixedSamples()
    older.cards[0].method.value = "gridmix"
    older.add("fmix")
    newer = MixedSamples()
    newer.reset()
    assert older.closed
    newer.close()

    assert set(_alive()) <= alive


def _alive() -> list[str]:
    from ipywidgets.widgets import widget

    return list(widget._instances)


# ------------------------------------------------------------------------------------------------------- pictures


def test_a_data_set_is_taken_at_its_own_size(explorer):
    explorer.b.value = 7
    explorer.pictures.value = "digits"

    assert explorer.state().size == 32 and explorer.state().pair == (0, 1)
    assert explorer.failure is None
    assert pixels(explorer.cards[0].mix).shape[0] == 224  # enlarged by whole pixels


def test_a_source_that_cannot_be_opened_leaves_the_old_one():
    explorer = MixedSamples(data=("folder:nowhere",))
    explorer.pictures.value = "folder:nowhere"

    assert "nowhere" in explorer.message.value
    assert explorer.pictures.value == explorer.source.title == "photographs"
    explorer.close()


def test_dropped_pictures_become_the_source_and_are_kept(explorer):
    drop(explorer, **{"red.png": png("red"), "blue.png": png("blue")})

    assert explorer.source.names == ("red.png", "blue.png")
    assert (pixels(explorer.image_a) == [255, 0, 0]).all() and (pixels(explorer.image_b) == [0, 0, 255]).all()
    explorer.pictures.value = "photographs"
    explorer.pictures.value = "own files"
    assert explorer.source.names[0] == "red.png"


def test_files_dropped_one_at_a_time_come_beside_the_earlier_ones(explorer):
    drop(explorer, **{"red.png": png("red")})
    assert explorer.source.names[:2] == ("red.png", "astronaut") and explorer.state().pair == (0, 1)
    assert "B is one of the photographs" in explorer.message.value
    drop(explorer, **{"blue.png": png("blue")})
    assert explorer.source.names == ("blue.png", "red.png") and "photographs" not in explorer.message.value
    assert (pixels(explorer.image_a) == [0, 0, 255]).all() and (pixels(explorer.image_b) == [255, 0, 0]).all()

    drop(explorer, **{"red.png": png("lime")})  # another of a name that is there
    assert explorer.source.names == ("red.png", "blue.png") and explorer.state().pair == (0, 1)
    assert (pixels(explorer.image_a) == [0, 255, 0]).all() and (pixels(explorer.image_b) == [0, 0, 255]).all()


def test_a_dropped_file_that_is_no_picture_is_told_and_changes_nothing(explorer):
    drop(explorer, **{"<notes>.txt": b"hello"})

    assert "&lt;notes&gt;.txt is damaged or no picture" in explorer.message.value
    assert explorer.source.title == "photographs"


def test_a_file_refused_just_after_a_good_one_is_told_when_all_is_drawn(explorer):
    """The distributions follow a while after the pictures, and must not take the line away."""

    async def drop_both() -> None:
        drop(explorer, **{"red.png": png("red")})
        await asyncio.sleep(QUIET / 3)  # the pictures are drawn, the distributions wait
        drop(explorer, **{"notes.png": b"dear diary"})
        await asyncio.sleep(3 * QUIET)

    asyncio.run(drop_both())

    assert "notes.png is damaged or no picture" in explorer.message.value
    assert explorer.source.names[0] == "red.png" and "notes.png" not in explorer.source.names


def test_files_are_given_by_path_too(tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    explorer = MixedSamples(("mixup",), files=[tmp_path / "red.png"])

    assert explorer.pictures.value == "own files"
    assert (pixels(explorer.image_a) == [255, 0, 0]).all()
    explorer.close()


# ------------------------------------------------------------------------------------------------------- runs


def test_a_learned_method_is_shown_with_its_run_and_others_look_into_its_net(stored):
    explorer = MixedSamples(("automix", "puzzlemix"), runs=stored)

    assert [bool(card.why) for card in explorer.cards] == [False, False], [c.numbers.value for c in explorer.cards]
    assert "at 16 px, the net" in explorer.cards[0].note.value
    assert explorer.cards[0].parameters.children[0].value.count("trained with") == 1
    assert explorer.png().startswith(b"\x89PNG")
    explorer.close()


def test_the_distribution_of_a_method_with_a_net_is_drawn_when_asked_for(stored):
    explorer = MixedSamples(("automix",), runs=stored)
    card = explorer.cards[0]
    assert (card.spread, card.chart.layout.display, card.measure.layout.display) == (None, "none", "")
    card.measure.click()

    assert card.spread is not None and card.spread.label.shape == (1000,)
    assert card.spread.label.mean() == pytest.approx(0.5, abs=0.03)  # Beta(2, 2)
    assert (card.chart.layout.display, card.measure.layout.display) == ("", "none")
    explorer.b.value = 5  # another pair: that distribution was of the old one
    assert card.spread is None
    explorer.close()


def test_no_choice_has_none_as_its_value(explorer):
    """ipywidgets may keep None when such a dropdown gets other options, depending on the order of a hash table."""
    explorer.cards[0].method.value = "puzzlemix"

    assert [value for _, value in explorer.cards[0].net.options] == [""]
    assert explorer.cards[0].chosen().run is None


def test_folders_without_a_finished_run_are_told(tmp_path):
    with pytest.raises(UsageError, match="no finished run in"):
        MixedSamples(runs=tmp_path)


# ------------------------------------------------------------------------------------------------------- a notebook


@pytest.mark.slow
def test_in_a_kernel_a_later_cell_moves_the_mix_and_the_output_has_the_picture():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [
        "from workbench.explorers import MixedSamples\nm = MixedSamples()\nm",
        "before = m.cards[0].mix.value\nm.lam.value = 0.8",
        "import asyncio\n"
        "for _ in range(600):\n"
        "    if before != m.cards[0].mix.value:\n"
        "        break\n"
        "    await asyncio.sleep(0.05)\n"  # a busy machine draws a little later
        "print(before != m.cards[0].mix.value, m.cards[0].numbers.value.count('0.80'))\nm.close()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    done = nbclient.NotebookClient(notebook, timeout=300).execute()
    shown = done.cells[0].outputs[0].data

    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["image/png"].startswith("iVBOR")
    assert done.cells[2].outputs[0].text == "True 2\n"

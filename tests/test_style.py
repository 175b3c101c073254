"""One look a method, the venues' widths, and nothing global."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from tueplots import figsizes

from workbench import style
from workbench.config import UsageError
from workbench.methods import METHODS

TOUR = ("vanilla", "mixup", "cutmix", "manifoldmix", "automix")

# how a colour-blind eye mixes linear red, green and blue: Machado, Oliveira and Fernandes 2009, severity 1
VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def seen(color: str, vision: str) -> np.ndarray:
    """(3,) OKLab of a colour as an eye sees it."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(VISION[vision] @ linear, 0, 1)
    return style.oklab(np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055))


def nearest(colors: list[str], vision: str) -> float:
    return min(np.linalg.norm(seen(a, vision) - seen(b, vision)) for a, b in itertools.combinations(colors, 2))


def test_every_method_has_its_look() -> None:
    assert set(METHODS) <= set(style.LABELS)
    assert set(style.LABELS) == set(style.PALETTE) == set(style.MARKERS) == set(style.LINES)
    assert len(style.LABELS) == 20
    assert len(set(map(str, style.MARKERS.values()))) == 20
    assert len(set(style.LABELS.values())) == 20


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart(vision: str) -> None:
    least_of_all, least_of_tour = {"normal": (0.12, 0.15), "protan": (0.06, 0.08), "deutan": (0.06, 0.08)}[vision]
    assert nearest(list(style.PALETTE.values()), vision) > least_of_all
    assert nearest([style.PALETTE[m] for m in TOUR], vision) > least_of_tour


def test_the_tour_differs_in_lightness_and_hue() -> None:
    lab = np.array([seen(style.PALETTE[m], "normal") for m in TOUR])
    assert np.diff(np.sort(lab[:, 0])).min() > 0.08
    assert np.hypot(*lab[0, 1:]) < 0.01  # vanilla is grey
    hues = np.sort(np.degrees(np.arctan2(lab[1:, 2], lab[1:, 1])) % 360)
    assert np.diff([*hues, hues[0] + 360]).min() > 45


def test_oklab_of_known_colours() -> None:
    np.testing.assert_allclose(style.oklab(np.ones(3)), [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(style.oklab(np.array([1.0, 0, 0])), [0.628, 0.225, 0.126], atol=1e-3)


def test_a_users_method_gets_a_look_of_its_name() -> None:
    mine = style.look("mymix")
    assert mine == style.look("mymix") != style.look("yourmix")
    assert re.fullmatch("#[0-9a-f]{6}", mine.color)
    assert min(np.linalg.norm(seen(mine.color, "normal") - seen(c, "normal")) for c in style.PALETTE.values()) > 0.05
    assert style.label("mymix") == "mymix"
    assert style.label("comixup") == "Co-Mixup"
    assert sorted(["mymix", "automix", "amix", "vanilla"], key=style.rank) == ["vanilla", "automix", "amix", "mymix"]


@pytest.mark.parametrize(
    ("venue", "column", "text"),
    [
        ("cvpr", figsizes.cvpr2024_half, figsizes.cvpr2024_full),
        ("iccv", figsizes.cvpr2024_half, figsizes.cvpr2024_full),
        ("eccv", figsizes.eccv2024, figsizes.eccv2024),
        ("icml", figsizes.icml2024_half, figsizes.icml2024_full),
        ("neurips", figsizes.neurips2024, figsizes.neurips2024),
        ("iclr", figsizes.iclr2024, figsizes.iclr2024),
    ],
)
def test_widths_are_those_of_tueplots(venue: str, column, text) -> None:
    assert style.page_width(venue, 1) == pytest.approx(column()["figure.figsize"][0])
    assert style.page_width(venue, 2) == pytest.approx(text()["figure.figsize"][0])


def test_all_venues_are_there() -> None:
    assert set(style.VENUES) == {"cvpr", "iccv", "eccv", "icml", "neurips", "iclr", "tpami"}


def test_unknown_venue_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'neurips'"):
        style.page_width("neurip")
    with pytest.raises(UsageError, match="columns must be 1 or 2, got 3"):
        style.page_width("cvpr", 3)


def test_paper_puts_everything_back_and_starts_from_nothing() -> None:
    with matplotlib.rc_context({"axes.facecolor": "red", "pdf.fonttype": 3, "font.size": 30}):
        before = dict(matplotlib.rcParams)
        with style.paper("neurips", 1) as width:
            assert width == 5.5
            assert matplotlib.rcParams["axes.facecolor"] == "white"
            assert matplotlib.rcParams["pdf.fonttype"] == 42
            assert matplotlib.rcParams["font.size"] == style.VENUES["neurips"].font
            assert matplotlib.rcParams["savefig.bbox"] is None
        assert dict(matplotlib.rcParams) == before


def test_figures_are_held_by_nobody() -> None:
    figure = style.new_figure(3, 2)
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert plt.get_fignums() == []
    style.new_axes()
    assert len(plt.get_fignums()) == 1  # this one is the notebook's, to show


def test_image_grid_places_the_pictures() -> None:
    colour, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
    mask = np.linspace(0, 1, 64).reshape(8, 8)
    head = style.GridRow("head", [colour, grey])
    row = style.GridRow("row", [grey, colour], ["1:9", "2:8"], [mask, mask])
    with style.paper("icml", 1) as width:
        figure = style.image_grid([[head, row], [head]], width, notes=["a note " * 30])
    assert figure.get_figwidth() == width
    boxes = np.array([ax.get_position().bounds for ax in figure.axes]) * np.tile(figure.get_size_inches(), 2)
    np.testing.assert_allclose(boxes[:, 2], boxes[:, 3])  # squares
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= width).all()
    pictures = [ax.images[0].get_array() for ax in figure.axes]
    np.testing.assert_array_equal(pictures[0], colour)
    np.testing.assert_array_equal(pictures[2], grey)
    np.testing.assert_array_equal(pictures[3], mask)
    assert [t.get_text() for t in figure.texts[:3]] == ["head", "row", "1:9"]
    np.testing.assert_allclose(boxes[0, 1], boxes[6, 1])  # the second block stands at the height of the first


def test_wrap_breaks_at_spaces() -> None:
    figure = style.new_figure(3, 1)
    text = "one two three four five six seven"
    lines = style.wrap(figure, text, 0.6, 6)
    assert len(lines) > 1
    assert " ".join(lines) == text
    assert all(style.text_size(figure, line, 6)[0] <= 0.6 for line in lines)
    assert style.wrap(figure, "", 1, 6) == []


def test_style_waits_for_nothing_heavy() -> None:
    code = "import sys, workbench.style; print(sorted({'torch', 'matplotlib', 'timm'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("layout", ["constrained", "compressed"])
def test_the_first_drawing_is_at_rest(layout: str) -> None:
    """Ticks that grow as the axes shrink, as when fewer round numbers fit: one pass leaves labels over the edge."""
    with style.paper():
        figure = style.new_figure(3, 2, layout)
        ax = figure.add_subplot()
        ax.yaxis.set_major_formatter(lambda value, place: "0" * int(3 + 40 * (1 - ax.get_position().width)))
        ax.set_ylabel("loss")
        figure.draw_without_rendering()
        first = ax.get_position().extents
        figure.draw_without_rendering()
    assert ax.yaxis.label.get_window_extent().x0 >= 0
    np.testing.assert_allclose(ax.get_position().extents, first, atol=1e-3)


def test_numbers_keep_their_units_and_spreads() -> None:
    with style.paper():
        figure = style.new_figure(1, 1, "none")
        words = style.wrap(figure, "clean 39.0 \N{PLUS-MINUS SIGN} 0.4 %, gap 3 %; and so on", 0.1, 8)
    assert words == ["clean", "39.0 \N{PLUS-MINUS SIGN} 0.4 %,", "gap", "3 %;", "and", "so", "on"]

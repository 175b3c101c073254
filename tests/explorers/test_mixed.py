"""Mixed samples as functions: numbers against the mask, distributions against theory, the figure at exact width."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.config import UsageError
from workbench.explorers.mixed import DRAWS, MOST, Chosen, Mixers, State, distribution, mix, names, sample
from workbench.explorers.mixed_view import histogram_svg, render
from workbench.explorers.pictures import Source, photographs
from workbench.figures import save
from workbench.figures.lambdas import realised
from workbench.figures.lint import faults
from workbench.methods import METHODS, build
from workbench.style import look

FREE = [key for key, cls in METHODS.items() if not cls.needs_net or cls.family == "feature"]


def constant(row: int, side: int) -> torch.Tensor:
    """A is black, B white: a mixed pixel tells how much of B it has."""
    return torch.full((1, side, side), 255 * row, dtype=torch.uint8)


PLAIN = Source("plain", ("black", "white"), 64, constant)


@pytest.mark.parametrize("key", FREE)
def test_mask_label_and_mix_agree(key):
    state = State((Chosen(key),), lam=0.3, size=64, seed=5)
    found = sample(state, Chosen(key), PLAIN, Mixers())

    assert found.mask is not None and found.mask.shape == (64, 64)
    assert np.abs(found.mixed[:, :, 0] / 255 - (1 - found.mask)).max() < 0.01  # the mask is the share of A
    assert found.visible == pytest.approx(1 - found.mixed.mean() / 255, abs=0.005)
    assert sum(found.label) == pytest.approx(1, abs=1e-5)
    assert found.line() == f"label {found.label[0]:.2f} A · visible {found.visible:.2f} A"


@pytest.mark.parametrize("key", ["mixup", "fmix", "manifoldmix"])
def test_a_fixed_lambda_is_the_weight_of_a(key):
    for lam in (0.0, 0.25, 1.0):
        found = mix(State((Chosen(key),), lam=lam, size=64), PLAIN)[0]
        assert found.label[0] == pytest.approx(lam, abs=0.01)


def test_a_drawn_lambda_follows_the_seed_and_is_the_same_again():
    state = State((Chosen("mixup"),), lam=None, size=32)
    first, again, other = (mix(replace(state, seed=s), PLAIN)[0].label[0] for s in (0, 0, 1))

    assert first == again != other


def test_parameters_reach_the_method():
    state = State((Chosen("resizemix", {"scale_min": 0.5, "scale_max": 0.5}),), lam=None, size=64)

    assert mix(state, PLAIN)[0].label[0] == pytest.approx(0.75)


def test_what_comes_first_is_a():
    found = mix(State((Chosen("mixup"),), pair=(1, 0), lam=0.9, size=32), PLAIN)[0]

    assert found.sources[0].mean() == 255 and found.mixed.mean() > 200


def test_a_method_that_looks_into_a_net_says_that_a_run_is_needed():
    for key in ("puzzlemix", "automix", "transmix"):
        with pytest.raises(UsageError, match="a finished run"):
            mix(State((Chosen(key),)), photographs())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"methods": ()}, f"one to {MOST} methods"),
        ({"methods": (Chosen("mixup"),) * 7}, "got 7"),
        ({"lam": 1.5}, "from 0 to 1, got 1.5"),
        ({"size": 4}, "from 8 to 1024 px, got 4"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_an_impossible_state_is_refused(wrong, says):
    with pytest.raises(UsageError, match=says):
        State(**wrong)


def test_an_unknown_method_gets_the_nearest_name():
    with pytest.raises(UsageError, match="cutmix"):
        Chosen("cutmx")


# ------------------------------------------------------------------------------------------------- distributions


def test_the_distribution_of_mixup_is_its_beta():
    spread = distribution("mixup", {"alpha": 2.0}, draws=4000)

    assert spread.label.mean() == pytest.approx(0.5, abs=0.015)
    assert spread.label.var() == pytest.approx(0.05, abs=0.005)  # of Beta(2, 2)
    assert np.array_equal(spread.label, spread.visible)


def test_the_distribution_of_cutmix_is_the_one_of_the_figures():
    spread = distribution("cutmix", draws=4000)

    assert spread.label.mean() == pytest.approx(realised(build("cutmix"), 4000).mean(), abs=0.01)
    assert spread.label.mean() == pytest.approx(1 - 77 / 240, abs=0.015)


@pytest.mark.parametrize("key", FREE)
def test_every_draw_is_one_of_its_own(key):
    spread = distribution(key, {"mode": "batch"} if hasattr(build(key), "mode") else {}, draws=50)

    assert spread.label.shape == spread.visible.shape == (50,)
    assert key == "vanilla" or len(np.unique(spread.label)) > 5


def test_of_a_pair_the_boxes_follow_its_content():
    salient = torch.zeros(2, 3, 64, 64)
    salient[1, :, 28:36, 28:36] = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    middle = distribution("saliencymix", pair=salient)
    corner = distribution("saliencymix", pair=salient.roll((28, 28), (2, 3)))

    assert middle.visible.mean() < corner.visible.mean() - 0.1  # a box at the edge is clipped


def test_of_a_method_with_a_net_no_distribution_is_drawn():
    with pytest.raises(UsageError, match="looks into a net"):
        distribution("puzzlemix")


def test_the_small_histogram_marks_what_is_shown():
    svg = histogram_svg(distribution("cutmix"), 0.25, 0.75, "#f2a81d", 316, 92)

    assert re.search(r'<path d="M83\.0 [^>]* stroke="#f2a81d"', svg)  # 8 + 0.25 * 300
    assert "M233.0 61" in svg  # 8 + 0.75 * 300


# -------------------------------------------------------------------------------------------------------- figure

MANY = tuple(Chosen(k) for k in ("mixup", "cutmix", "fmix", "gridmix", "manifoldmix"))
MANY += (Chosen("cutmix", {"alpha": 0.2}),)


@pytest.mark.parametrize(
    ("methods", "venue", "columns", "width"),
    [(MANY[:1], "cvpr", 2, 6.875), (MANY[:1], "cvpr", 1, 3.25), (MANY[:2], "neurips", 1, 5.5), (MANY, "icml", 2, 6.75)],
)
def test_the_paper_view_has_the_venues_width_and_no_faults(methods, venue, columns, width):
    figure = render(State(methods, pair=(1, 9)), photographs(), venue=venue, columns=columns)

    assert figure.get_figwidth() == width
    assert faults(figure) == []


@pytest.mark.parametrize("key", FREE)
def test_every_curve_has_one_dot_in_the_methods_marker_at_what_is_shown(key):
    """A marker may be a tuple of numbers, which matplotlib takes for values where it does not stand by name."""
    state = State((Chosen("mixup"), Chosen(key)), lam=0.4, size=64)
    figure = render(state, photographs())
    shown = mix(state, photographs())[1]

    for ax, now in zip(figure.axes[-2:], (shown.label[0], shown.visible), strict=True):
        *_, curve, dot = lines = ax.get_lines()
        assert len(lines) == 4 and all(0 <= v <= 1 for line in lines for v in np.ravel(line.get_xydata()))
        assert (dot.get_marker(), dot.get_linestyle()) == (look(key).marker, "None")
        assert dot.get_xdata() == pytest.approx([now]) and len(curve.get_xdata()) == DRAWS


def test_long_names_are_cut():
    source = replace(PLAIN, names=("a very long name of a file from a camera.jpg", "b" * 60))
    figure = render(State((Chosen("cutmix"),), size=64), source, columns=1)

    assert faults(figure) == []


def test_two_renderings_are_the_same_file(tmp_path):
    state = State(MANY[:2], lam=None, seed=3, size=64)
    files = [save(render(state, photographs()), tmp_path / name, ("pdf",))[0] for name in "ab"]

    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_same_method_twice_is_told_apart():
    assert names(State(MANY[1:3])) == ["CutMix", "FMix"]
    assert names(State((MANY[1], MANY[5]))) == ["CutMix (default)", "CutMix (alpha 0.2)"]


def test_an_unknown_venue_gets_the_nearest():
    with pytest.raises(UsageError, match="cvpr"):
        render(State(size=32), photographs(), venue="cvprr")

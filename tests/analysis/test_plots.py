"""What plots of results look like: sizes, colours and texts that a reader needs, measured in the drawn figure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from workbench import style
from workbench.analysis import contours
from workbench.analysis.cam import Cam
from workbench.analysis.fidelity import Fidelity
from workbench.analysis.ranking import Outcome, ranking
from workbench.analysis.run_names import run_name
from workbench.analysis.trajectory import Trajectory
from workbench.config import RunConfig
from workbench.figures import lint
from workbench.figures.colorblind import confused
from workbench.methods import METHODS


def test_a_face_of_a_surface_has_the_colour_of_its_middle() -> None:
    """One high corner among three low ones; the first vertex of a face is a low one."""
    steps = np.arange(3.0)
    loss = np.full((3, 3), 1.0)
    loss[2, 2] = 16.0
    ax: Any = Figure().add_subplot(projection="3d")
    contours.surface(ax, steps, steps, loss)
    (faces,) = ax.collections
    colors = sorted(faces.get_facecolor().tolist())
    expected = colormaps["viridis"](LogNorm(1, 16)([1, 1, 1, 2]))  # 2: the geometric mean of 1, 1, 1, 16
    np.testing.assert_allclose(colors, sorted(expected.tolist()), atol=1e-6)


@pytest.mark.parametrize("tall", [False, True])
def test_a_narrow_plane_of_training_is_not_cut_and_its_bar_is_as_high(tall: bool) -> None:
    path = np.array([[-10, 0.1], [-5, 0.4], [-2, 0.2], [0, 0]])
    along, beside = np.linspace(-12.5, 2.5, 7), np.linspace(-2.5, 2.9, 7)
    a, b = (beside, along) if tall else (along, beside)
    loss = 2 + a[:, None] ** 2 + b**2
    name = "photos-resnet8-cutmix-s0-1f2e3d4c"
    found = Trajectory(name, np.arange(4), path[:, ::-1] if tall else path, np.array([0.97, 0.03]), a, b, loss, 9)
    figure = found.figure()
    plane, bar = figure.axes[0], figure.axes[0].child_axes[0]
    assert lint.faults(figure) == []
    assert bar.get_window_extent().height == pytest.approx(plane.get_window_extent().height)
    assert plane.get_title() == "CutMix s0"


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("methods", [3, 7, 19])
def test_ranks_stand_apart(methods: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    keys = [key for key in METHODS if key != "decouplemix"][:methods]
    runs = [Outcome(RunConfig(method=k, seed=s), rng.random(200) < 0.6 + 0.01 * i) for i, k in enumerate(keys)
            for s in range(3)]  # fmt: skip
    figure = ranking(runs, draws=10).figure("cvpr", columns)
    ranks = [text for text in figure.axes[0].texts if text.get_text().isdigit()]
    boxes = sorted((text.get_window_extent() for text in ranks), key=lambda box: box.x0)
    assert "1" in [text.get_text() for text in ranks]
    assert len(ranks) >= methods / 2
    assert all(right.x0 - left.x1 > 0.2 * right.width for left, right in pairwise(boxes))
    assert lint.faults(figure) == []


def grid(nets: int, images: int) -> Cam:
    names = [f"photos-resnet8-{m}-s{s}-{s}a{m}" for m in ("vanilla", "cutmix", "puzzlemix") for s in (0, 1)][:nets]
    some, curve = np.full((nets, images), 0.5), np.full((nets, images, 3), 0.5)
    return Cam(
        name="", runs=tuple(names), kind="gradcam", target="label", images=np.zeros((images, 3, 4, 4), np.uint8),
        labels=np.zeros(images, int), classes=("jig py", "gy"), masks=np.zeros((0, 4, 4), np.uint8),
        maps=np.ones((nets, images, 4, 4), np.float32), asked=np.ones((nets, images), int), probability=some,
        pointing=some, energy=some, iou=some, threshold=some[:, 0], share=np.array([0, 0.5, 1]),
        insertion_curve=curve, deletion_curve=curve,
    )  # fmt: skip


@pytest.mark.parametrize(("nets", "images"), [(6, 12), (6, 1), (1, 3), (3, 8)])
def test_no_picture_covers_a_text(nets: int, images: int) -> None:
    figure = grid(nets, images).figure()
    (ax,) = figure.axes
    pictures = [picture.get_window_extent() for picture in ax.images]
    for text in ax.texts:
        box = text.get_window_extent()
        deep = [min(box.y1, p.y1) - max(box.y0, p.y0) for p in pictures if box.x0 < p.x1 and p.x0 < box.x1]
        assert max(deep) <= 0.5, text.get_text()
    assert lint.faults(figure) == []


def mixes(*alphas: float, name: str = "cutmix") -> Fidelity:
    """Labels that promise alpha / 10 more than is visible."""
    alpha = np.repeat(alphas, 30)
    visible = np.tile(np.linspace(0, 0.8, 30), len(alphas))
    return Fidelity(name, "cutmix", "", visible + alpha / 10, visible, np.arange(len(alpha)) % 2, alpha, 0.3, 0.05)


def test_several_alphas_have_looks_and_numbers_of_their_own() -> None:
    figure = mixes(0.2, 0.5, 1.0, 2.0).figure()
    (ax,) = figure.axes
    legend = ax.get_legend()
    assert legend is not None
    lines = [text.get_text() for text in legend.get_texts()]
    biases = {"0.2": "2.0", "0.5": "5.0", "1": "10.0", "2": "20.0"}
    assert [line.partition(", r")[0] for line in lines] == [f"α = {a}: bias +{b} points" for a, b in biases.items()]
    assert len(ax.texts) == 0  # no numbers of all together
    clouds = ax.collections[1:]
    light = [style.oklab(cloud.get_facecolor()[0][:3])[0] for cloud in clouds]
    assert max(light) < 0.78 and min(np.diff(light)) > 0.08  # dark enough for paper, and apart without any colour
    assert len({cloud.get_paths()[0].vertices.tobytes() for cloud in clouds}) == 4
    assert not confused(figure)
    assert lint.faults(figure) == []


def test_one_alpha_has_its_numbers_in_the_corner() -> None:
    figure = mixes(0.5).figure()
    (ax,) = figure.axes
    assert ax.get_title() == "CutMix"
    assert [text.get_text().split("\n")[0] for text in ax.texts] == ["bias +5.0 points"]


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("photos-resnet8-cutmix-s12-1f2e3d4c", "CutMix s12"),
        ("npz:a-b.npz-resnet8-automix-s0-1f2e3d4c", "AutoMix s0"),
        ("cutmix", "CutMix"),
        ("cutmix-mixup-s0", "cutmix-mixup-s0"),
        ("my own", "my own"),
        ("", ""),
    ],
)
def test_a_run_alone_is_called_by_method_and_seed(name: str, called: str) -> None:
    assert run_name(name) == called

"""Shapes: exact masks, and a class that shows in the outline alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline

from workbench.data import load
from workbench.data.shapes import AREA, OUTLINES, SEEDS, extent, generate, on_circle, polygon, scenes
from workbench.draw import Draw

LABELS = np.arange(60) % 10


def test_the_same_seed_gives_the_same_scenes_whatever_their_number() -> None:
    first, again, more = generate(70, 24, 5), generate(70, 24, 5), generate(100, 24, 5)
    for a, b, c in zip(first, again, more, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c[:70])
    assert not torch.equal(first[0], generate(70, 24, 6)[0])


def test_an_image_is_its_object_on_the_mask_and_its_ground_elsewhere() -> None:
    made = scenes(LABELS, 32, Draw(0))
    on = np.broadcast_to(made.masks[:, None].astype(bool), made.images.shape)
    np.testing.assert_array_equal(made.images[on], made.objects[on])
    np.testing.assert_array_equal(made.images[~on], made.grounds[~on])
    assert set(np.unique(made.masks)) == {0, 1}


def test_the_mask_can_be_read_off_the_image() -> None:
    """Object and ground differ in colour at every pixel, so the mask is where the image is not its ground."""
    made = scenes(LABELS, 32, Draw(1))
    assert (made.objects != made.grounds).any(1).all()
    np.testing.assert_array_equal((made.images != made.grounds).any(1), made.masks)


def test_textures_and_colours_do_not_know_the_class() -> None:
    made, other = scenes(LABELS, 24, Draw(2)), scenes(np.roll(LABELS, 3), 24, Draw(2))
    np.testing.assert_array_equal(made.objects, other.objects)
    np.testing.assert_array_equal(made.grounds, other.grounds)
    assert not np.array_equal(made.masks, other.masks)


@pytest.mark.parametrize("name", OUTLINES)
def test_every_class_has_the_same_areas_wholly_inside_the_image(name: str) -> None:
    """The area of an object is drawn before its class matters; if a part were outside, the mask would lack it."""
    size, n = 160, 40
    labels = np.full(n, list(OUTLINES).index(name))
    measured = scenes(labels, size, Draw(3)).masks.mean((1, 2))
    discs = scenes(np.zeros(n, int), size, Draw(3)).masks.mean((1, 2))
    np.testing.assert_allclose(measured, discs, rtol=0.03)
    assert AREA[0] * 0.97 < measured.min() and measured.max() < AREA[1] * 1.03


LENS = (
    math.acos((0.25 + 1 - 0.64) / (2 * 0.5))
    + 0.64 * math.acos((0.25 + 0.64 - 1) / (2 * 0.5 * 0.8))
    - 0.5 * math.sqrt((-0.5 + 1.8) * (0.5 + 0.2) * (0.5 - 0.2) * (0.5 + 1.8))
)  # what two discs of radius 1 and 0.8, 0.5 apart, share

AREAS = {
    "disc": math.pi,
    "ring": math.pi * (1 - 0.36),
    "crescent": math.pi - LENS,
    "dome": math.pi / 2,
    "heart": 3.66197 / 1.25**2,  # of the curve, known by integration
    "triangle": 3 * math.sqrt(3) / 4,
    "square": 2.0,
    "star": 5 * 0.42 * math.sin(math.pi / 5),
    "cross": 2 * 1.2 - 0.36,
    "arrow": 0.75 * 0.9 + 0.56 * 1.0,
}


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_have_their_area(name: str) -> None:
    assert extent(name)[0] == pytest.approx(AREAS[name], rel=5e-3)


def test_polygons_agree_with_another_implementation() -> None:
    corners = on_circle(10, 1.0, 0.42)
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (5000, 2))
    expected = Outline([*corners, corners[0]]).contains_points(points)
    np.testing.assert_array_equal(polygon(*corners)(points[:, 0], points[:, 1]), expected)


def test_objects_are_turned_and_placed_all_over() -> None:
    """Centres of mass reach every quarter of the image, and a triangle points to every side."""
    masks = scenes(np.full(200, list(OUTLINES).index("triangle")), 64, Draw(4)).masks
    y, x = np.mgrid[:64, :64] - 31.5
    n = masks.sum((1, 2))
    cx, cy = (masks * x).sum((1, 2)) / n, (masks * y).sum((1, 2)) / n
    quarters = np.bincount((cx > 0) * 2 + (cy > 0), minlength=4)
    assert quarters.min() > 25
    tip = np.array([max(zip(*np.nonzero(m), strict=True), key=lambda p: np.hypot(p[0] - 31.5 - b, p[1] - 31.5 - a))
                    for m, a, b in zip(masks, cx, cy, strict=True)]) - 31.5  # fmt: skip
    turns = np.arctan2(tip[:, 0] - cy, tip[:, 1] - cx)
    assert np.histogram(turns, 6, (-math.pi, math.pi))[0].min() > 10


def test_the_data_set_has_masks_and_its_splits_their_own_seeds() -> None:
    found = load("shapes", "test", size=40)
    images, labels, masks = generate(1000, 40, SEEDS["test"])
    assert torch.equal(found.images, images) and torch.equal(found.labels, labels)
    assert torch.equal(found.masks, masks)
    assert SEEDS["train"] != SEEDS["test"]

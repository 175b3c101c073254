"""`shapes`: generated scenes with one textured object on a textured ground and the exact mask of the object.

The class is the object's outline and nothing else: colours, textures, area, place and turn are drawn the same way for
all classes. Ground truth for audits of labels (how much of the object does a mix keep?) and of saliency maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from workbench.data.bar import bar
from workbench.data.imageset import ImageSet, Request, Split, train_statistics
from workbench.draw import Draw

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether points (u, v), v pointing down, lie in a shape around the origin."""

SEEDS = {"train": 0, "test": 1}
AREA = (0.08, 0.18)  # of the object, as a share of the image
CONTRAST = 0.5  # distance between the colours of object and ground, in RGB of [0, 1]
LEAN = (0.04, 0.2)  # how far a texture leaves its colour either way; twice that stays below CONTRAST
PERIOD = (0.09, 0.3)  # of a texture, as a share of the image
CHUNK = 64  # scenes made at once; a scene depends on its chunk's draw and its place in it, not on how many there are


# ---------------------------------------------------------------------------------------------------------- outlines


def polygon(*corners: tuple[float, float]) -> Inside:
    """The inside of a polygon, by the even-odd rule."""

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        odd = np.zeros(u.shape, bool)
        for (u0, v0), (u1, v1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if v0 != v1:
                odd ^= ((v0 > v) != (v1 > v)) & (u < u0 + (v - v0) * ((u1 - u0) / (v1 - v0)))
        return odd

    return inside


def on_circle(n: int, *radii: float) -> list[tuple[float, float]]:
    """n corners at equal angles, the first at the top; their radii repeat."""
    angles = [2 * math.pi * k / n for k in range(n)]
    return [(radii[k % len(radii)] * math.sin(a), -radii[k % len(radii)] * math.cos(a)) for k, a in enumerate(angles)]


def disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The unit disc."""
    return u * u + v * v < 1


def ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The unit disc with a hole of 0.6 of its radius."""
    square = u * u + v * v
    return (square < 1) & (square >= 0.36)


def crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The unit disc without a disc of 0.8 of its radius beside the middle."""
    return (u * u + v * v < 1) & ((u - 0.5) ** 2 + v * v >= 0.64)


def dome(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half of the unit disc, moved down so that its middle is nearer to the origin."""
    return (u * u + (v - 0.4) ** 2 < 1) & (v < 0.4)


def heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A heart, upright: the region (x^2 + y^2 - 1)^3 < x^2 y^3 with x = 1.25 u and y = 0.1 - 1.25 v."""
    x, y = 1.25 * u, 0.1 - 1.25 * v
    return (x * x + y * y - 1) ** 3 < x * x * y**3


def _cross(arm: float) -> list[tuple[float, float]]:
    a = arm
    return [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]


OUTLINES: dict[str, Inside] = {
    "disc": disc,
    "ring": ring,
    "crescent": crescent,
    "dome": dome,
    "heart": heart,
    "triangle": polygon(*on_circle(3, 1.0)),
    "square": polygon(*on_circle(4, 1.0)),
    "star": polygon(*on_circle(10, 1.0, 0.42)),
    "cross": polygon(*_cross(0.3)),
    "arrow": polygon((0, -1), (0.75, -0.1), (0.28, -0.1), (0.28, 0.9), (-0.28, 0.9), (-0.28, -0.1), (-0.75, -0.1)),
}


@lru_cache(maxsize=32)
def extent(name: str) -> tuple[float, float]:
    """(area, largest distance from the origin) of an outline, measured on a fine grid."""
    axis = (np.arange(1024) + 0.5) / 1024 * 3 - 1.5
    u, v = np.meshgrid(axis, axis)
    inside = OUTLINES[name](u, v)
    return float(inside.mean() * 9), float(np.sqrt((u * u + v * v)[inside].max()))


# ------------------------------------------------------------------------------------------------------------ scenes


@dataclass(frozen=True)
class Scenes:
    """n scenes and what they were put together from: `images` is `objects` where `masks` is 1 and `grounds` elsewhere.

    images, objects, grounds: uint8 (n, 3, size, size); masks: uint8 (n, size, size); labels: int64 (n,).
    """

    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    objects: np.ndarray
    grounds: np.ndarray


def scenes(labels: np.ndarray, size: int, draw: Draw) -> Scenes:
    """One scene for each label (an index into OUTLINES). Textures and colours do not depend on the labels; an object's
    colours always differ from those of its ground."""
    n, rng = len(labels), draw.rng
    ground = rng.uniform(0.1, 0.9, (n, 3))
    away = CONTRAST * np.abs(_directions(n, rng)) * np.where(ground < 0.5, 1, -1)
    grounds = paint(ground, size, rng)
    objects = paint(ground + away, size, rng)
    masks = outline_masks(labels, size, rng)
    images = np.where(masks[:, None] == 1, objects, grounds)
    return Scenes(images, masks, np.asarray(labels, np.int64), objects, grounds)


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3) of length 1."""
    drawn = rng.normal(size=(n, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def outline_masks(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Masks uint8 (n, size, size): 1 where the middle of a pixel lies in the outline, which is turned and placed at
    random, wholly in the image, with an area drawn from AREA whatever its class."""
    n, names = len(labels), list(OUTLINES)
    area, turn = rng.uniform(*AREA, n), rng.uniform(0, 2 * math.pi, n)
    u_place, v_place = rng.uniform(-1, 1, (2, n))
    measured = np.array([extent(name) for name in names])[labels]
    scale = np.sqrt(area / measured[:, 0])  # of the outline's unit, as a share of the image's side
    room = np.maximum(0, 0.5 - scale * measured[:, 1])
    cos, sin = _planes(np.cos(turn) / scale, np.sin(turn) / scale)
    x_middle, y_middle = _planes(u_place * room, v_place * room)
    y, x = _axes(size)
    y, x = y - 0.5 - y_middle, x - 0.5 - x_middle
    u, v = cos * x + sin * y, cos * y - sin * x
    masks = np.zeros((n, size, size), np.uint8)
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        masks[rows] = OUTLINES[names[k]](u[rows], v[rows])
    return masks


# ---------------------------------------------------------------------------------------------------------- textures


TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "stripes": lambda a, b: np.clip(3 * np.sin(a), -1, 1),
    "checks": lambda a, b: np.sign(np.sin(a) * np.sin(b)),
    "dots": lambda a, b: np.sin(a) * np.sin(b),
}
"""Textures by two angles that grow along two directions; values in [-1, 1]."""


def paint(colours: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Textured planes around the given colours, (n, 3) in [0, 1]: uint8 (n, 3, size, size). Of every plane the texture
    (one of TEXTURES or clouds) is drawn, its period, turn and phase, and the colour that it leans to."""
    n = len(colours)
    kind, turn = rng.integers(len(TEXTURES) + 1, size=n), rng.uniform(0, math.pi, n)
    frequency, phase = 2 * math.pi / rng.uniform(*PERIOD, n), rng.uniform(0, 2 * math.pi, (2, n))
    lean = _directions(n, rng) * rng.uniform(*LEAN, (n, 1))
    clouds = _clouds(rng.normal(size=(n, 6, 6)), size)
    cos, sin = _planes(np.cos(turn) * frequency, np.sin(turn) * frequency)
    first, second = _planes(*phase)
    y, x = _axes(size)
    wave = np.empty((n, size, size), np.float32)
    for k, texture in enumerate([*TEXTURES.values(), None]):
        rows = kind == k
        if texture is None:
            wave[rows] = clouds[rows]
        else:
            c, s = cos[rows], sin[rows]
            wave[rows] = texture(c * x + s * y + first[rows], c * y - s * x + second[rows])
    base, tint = (a.astype(np.float32)[:, :, None, None] for a in (colours, lean))
    return np.rint((base + tint * wave[:, None]).clip(0, 1) * 255).astype(np.uint8)


def _planes(*numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Numbers (n,) as float32 (n, 1, 1)."""
    return tuple(a.astype(np.float32)[:, None, None] for a in numbers)


def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the pixels in [0, 1], down (1, size, 1) and across (1, 1, size)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return axis[None, :, None], axis[None, None, :]


def _clouds(coarse: np.ndarray, size: int) -> np.ndarray:
    """Random grids (n, k, k) as smooth planes (n, size, size) in [-1, 1]: between neighbours of the grid the value goes
    over by 3 t^2 - 2 t^3."""
    k = coarse.shape[1]
    near = (1 - np.abs(np.linspace(0, k - 1, size)[:, None] - np.arange(k))).clip(0, 1)
    share = (near * near * (3 - 2 * near)).astype(np.float32)
    return (share @ (coarse.astype(np.float32) / 1.5) @ share.T).clip(-1, 1)


# ---------------------------------------------------------------------------------------------------------- data set


def number(split: Split, size: int) -> int:
    """How many scenes a split has: 4,000 and 1,000 up to 64 pixels, a quarter of it above."""
    return {"train": 4000, "test": 1000}[split] // (1 if size <= 64 else 4)


def generate(n: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """n scenes: images uint8 (n, 3, size, size), labels int64 (n,), masks uint8 (n, size, size). The classes take
    turns. The same seed gives the same scenes, the first ones whatever n is."""
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    masks = torch.empty(n, size, size, dtype=torch.uint8)
    labels = torch.arange(n) % len(OUTLINES)
    for start in bar(range(0, n, CHUNK), "drawing shapes"):
        whole = np.arange(start, start + CHUNK) % len(OUTLINES)
        made, stop = scenes(whole, size, Draw(seed, step=start, stream="shapes")), min(start + CHUNK, n)
        images[start:stop] = torch.from_numpy(made.images[: stop - start])
        masks[start:stop] = torch.from_numpy(made.masks[: stop - start])
    return images, labels, masks


def shapes(request: Request) -> ImageSet:
    """The data set: train and test scenes come from different seeds."""
    side = request.size or 32
    images, labels, masks = generate(number(request.split, side), side, SEEDS[request.split])
    train = request.split == "train"
    mean, std = train_statistics(
        ("shapes", side), lambda: images if train else generate(number("train", side), side, SEEDS["train"])[0]
    )
    return ImageSet(pixels=images, labels=labels, masks=masks, classes=tuple(OUTLINES), mean=mean, std=std)

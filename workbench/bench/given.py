"""Mixing alone of methods that look into a net: saliency or features are given, of the shapes of a ResNet-18."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.draw import Draw, send
from workbench.methods import Method, build
from workbench.methods.alignmix import align
from workbench.methods.comixup import comixed, drawn
from workbench.methods.masks import blend, pair_weights, pairs
from workbench.methods.puzzlemix import puzzle
from workbench.models import Net

WIDTHS = (64, 128, 256, 512)
"""Channels of a ResNet-18's stages."""


class Given(NamedTuple):
    """One way to mix without a net's pass."""

    method: str
    call: Callable[[Draw], Any]
    note: str


def given(x: Tensor) -> Iterator[Given]:
    """All of them on the batch x (B, C, H, W)."""
    yield from _by_saliency(x)
    yield from _in_features(x)
    yield from _learned(x)


def _by_saliency(x: Tensor) -> Iterator[Given]:
    saliency = _random(len(x), *x.shape[2:], like=x)

    def puzzled(draw: Draw, grid: int) -> Tensor:
        source, weight = _pairs(draw, x)
        return puzzle(x, source[:, 1], saliency, weight[:, 0].contiguous(), grid)[0]

    for grid in [n for n in (4, 8, 16) if 2 * n <= min(x.shape[2:])]:
        yield Given("puzzlemix", partial(puzzled, grid=grid), f"grid {grid}, saliency given")
    yield Given("comixup", lambda draw: comixed(x, saliency, drawn(draw, len(x))), "saliency given")


def _in_features(x: Tensor) -> Iterator[Given]:
    early, last = _features(x, 1), _features(x, 4)
    sides = ["x".join(map(str, h.shape[1:])) for h in (early, last)]

    def blended(draw: Draw) -> Tensor:
        source, weight = _pairs(draw, x)
        return blend(early, source[:, 1], weight[:, :1, None, None])

    def aligned(draw: Draw) -> Tensor:
        (moves,) = send(x.device, draw.happens(0.5, len(x)))
        source, weight = _pairs(draw, x)
        return align(last, source[:, 1], weight[:, 0], moves)

    yield Given("manifoldmix", blended, f"features {sides[0]} given")
    yield Given("alignmix", aligned, f"features {sides[1]} given")


def _learned(x: Tensor) -> Iterator[Given]:
    features = _features(x, 3)
    note = f"features {'x'.join(map(str, features.shape[1:]))} given"
    y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    with torch.random.fork_rng():
        net = Net("resnet18", 10, channels=x.shape[1], size=x.shape[2]).to(x.device)
    for key in ("automix", "samix", "adautomix"):
        method = build(key)
        method.attach(net)
        vars(method)["features"] = lambda _x: features
        vars(method)["features_and_logits"] = lambda _x: (features, features[:, :10, 0, 0])
        yield Given(key, partial(_mix, method, x, y, net), note)


def _mix(method: Method, x: Tensor, y: Tensor, net: Net, draw: Draw) -> object:
    return method.mix(x, y, net, draw)


def _random(*shape: int, like: Tensor) -> Tensor:
    """The same numbers from 0 to 1 at every call."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(like.device)


def _features(x: Tensor, stage: int) -> Tensor:
    """(B, C, h, w) of the shape that a ResNet-18 has there: its stem shrinks images above 64 pixels four times."""
    side = (x.shape[2] // (4 if x.shape[2] > 64 else 1)) // 2 ** (stage - 1)
    return _random(len(x), WIDTHS[stage - 1], side, side, like=x)


def _pairs(draw: Draw, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2) sources and weights, lambda from Beta(1, 1), on the device."""
    source, weight = send(x.device, pairs(draw.partner(len(x))), pair_weights(draw.lam(1.0, len(x))))
    return source, weight

"""Which pixels of its sources a mix shows, and how strongly, for any method that mixes pixels.

With what a method decides kept fixed (boxes, masks, where patches go), its mix is a weighting of the pixels of its
sources. So the derivative of the mix in the direction of an object mask IS the place and the strength of that object
in the mix: forward differentiation carries the mask through blends, crops, resizing and transport alike, exactly.
What goes into a net loses the direction, so that what the net decides stays fixed. Nothing is asked of the method;
that the weights of every mixed pixel sum to 1 is checked, and refused otherwise.

B rows of the batch, R mixed rows, K sources a row, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import Method, Mixed
from workbench.models import Net

TOLERANCE = 1e-3
"""By how much the weights of a mixed pixel may miss 1."""


class _Given(NamedTuple):
    """What a mix is made of."""

    method: Method
    net: Net | None
    x: Tensor
    y: Tensor
    draw: Callable[[], Draw]


@torch.no_grad()
def seen(
    method: Method, net: Net | None, x: Tensor, y: Tensor, objects: Tensor, draw: Callable[[], Draw]
) -> tuple[Mixed, Tensor, str]:
    """The mix; (R, K) object pixels of each source that are visible in each mixed row; what the picture's note says.

    x: (B, C, H, W); objects: (B, H, W), 1 on the object, 0 elsewhere; draw: makes the draw, anew at every call. A
    source that stands twice in a row is counted where it stands first. The net is in evaluation mode for it, and left
    as found. UsageError where the mix is no weighting of pixels.
    """
    given = _Given(method, net, x, y, draw)
    with nullcontext() if net is None else net.probing():
        mixed, whole, note = _followed(given, torch.ones_like(objects))
        if not torch.allclose(whole, torch.ones_like(whole), atol=TOLERANCE):
            what = "its mix is no weighting of pixels that sums to 1; give a method that mixes pixels"
            raise UsageError(f"the pixels of {type(method).__name__} can't be followed: {what}")
        return mixed, _by_source(given, objects, mixed), note


def _by_source(given: _Given, objects: Tensor, mixed: Mixed) -> Tensor:
    """(R, K) object pixels of each source that are visible.

    The mix is run once a colour, with the objects of the rows of that colour: two sources of one mixed row never have
    the same, so that what is seen is the one's alone.
    """
    source, used = mixed.source, _used(mixed)
    color = torch.from_numpy(colors(source.cpu().numpy(), used.cpu().numpy(), len(objects))).to(source.device)
    visible = torch.zeros(source.shape, device=source.device)
    for one in range(int(color.max()) + 1):
        _, found, _ = _followed(given, objects * (color == one)[:, None, None])
        visible += torch.where(used & (color[source] == one), found.sum((1, 2))[:, None], 0.0)
    return visible


def _used(mixed: Mixed) -> Tensor:
    """(R, K) bool: whether a source has a part in the row's label or, by the mask, in its pixels, and stands there for
    the first time."""
    used = mixed.weight > 0
    if mixed.mask is not None:
        used = used | mixed.shares().gt(0).flatten(2).any(2)
    same = mixed.source[:, :, None] == mixed.source[:, None]
    earlier = (same & used[:, None]).tril(-1).any(2)
    return used & ~earlier


def colors(source: np.ndarray, used: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) a colour from 0 for each row of the batch, so that the used sources (R, K) of a mixed row differ.

    Greedy: three colours at most where pairs are mixed by a permutation.
    """
    apart: list[set[int]] = [set() for _ in range(rows)]
    for sources, chosen in zip(source, used, strict=True):
        together = set(sources[chosen].tolist())
        for row in together:
            apart[row] |= together - {row}
    color = np.full(rows, -1)
    for row in range(rows):
        taken = {color[other] for other in apart[row]}
        color[row] = next(c for c in range(rows) if c not in taken)
    return color


def _followed(given: _Given, marked: Tensor) -> tuple[Mixed, Tensor, str]:
    """The mix, (R, H, W) the share with which marked pixels (B, H, W) are visible in it, and its note."""
    with forward_ad.dual_level(), _decisions_fixed(), _Outputs():
        x = forward_ad.make_dual(given.x, marked[:, None].expand_as(given.x).contiguous())
        mixed, note = given.method.picture(x, given.y, given.net, given.draw())
        _check_decisions(mixed, given.method)
        tangent = forward_ad.unpack_dual(mixed.x).tangent
        visible = torch.zeros_like(given.x[:1]) if tangent is None else tangent
        return _plain(mixed), visible.mean(1), note


def _plain(mixed: Mixed) -> Mixed:
    """The mix without the direction that was followed, which ends with its level."""
    return dataclasses.replace(mixed, **{f.name: _primal(getattr(mixed, f.name)) for f in dataclasses.fields(mixed)})


def _primal(value: Any) -> Any:
    """A tensor without its direction, as a view of the same memory; anything else as it is."""
    return forward_ad.unpack_dual(value).primal if isinstance(value, Tensor) else value


def _check_decisions(mixed: Mixed, method: Method) -> None:
    """Refuse a mask or weight that changes with the pixels: the mix is then no weighting of them."""
    for part in (mixed.mask, mixed.weight):
        tangent = None if part is None else forward_ad.unpack_dual(part).tangent
        if tangent is not None and bool(tangent.any()):
            what = "its masks change smoothly with the pixels; detach them there"
            raise UsageError(f"the pixels of {type(method).__name__} can't be followed: {what}")


class _Outputs(TorchFunctionMode):
    """Functions that write into an `out=` know no directions. Methods use them for what they decide, not for pixels;
    if one did, the weights of its pixels would be found not to sum to 1."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if kwargs and isinstance(kwargs.get("out"), Tensor):
            args, kwargs = tuple(_primal(a) for a in args), {k: _primal(v) for k, v in kwargs.items()}
        return func(*args, **(kwargs or {}))


@contextmanager
def _decisions_fixed() -> Iterator[None]:
    """While open, nets get images without the direction that is followed, so that what they decide has none."""

    def without(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        if not isinstance(module, Net):
            return None
        return tuple(_primal(i) for i in inputs)

    handle = register_module_forward_pre_hook(without)
    try:
        yield
    finally:
        handle.remove()

"""A method of one's own from a plain function: registered under the function's name, it is trained, explored, audited
and costed like any other."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import torch
from torch import Tensor

from workbench.config import Range, UsageError, shown
from workbench.draw import Draw, Mode, send
from workbench.methods import BUILT_IN, METHODS
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import pair_weights, pairs, take

if TYPE_CHECKING:
    from workbench.models import Net

GIVEN = ("x", "other", "lam")
"""What the function is given, by position: images (B, C, H, W), their partners, and lambda (B, 1, 1, 1)."""
_NAMES = ("alpha", "prob", "mode", "num_classes", "label_smoothing")


def register(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method of `function(x, other, lam, *, ...)` and enter it in METHODS under the function's name.

    x: (B, C, H, W) images in [0, 1]; other: the same shape, each image's partner; lam: (B, 1, 1, 1) from
    Beta(alpha, alpha), the wished weight of the image itself. It returns the mixed images, whose label weight then is
    lam; or `(mixed, weight)` with the weights (B,) as realised; or `(mixed, weight, mask)` with the share of the image
    itself in every pixel, (B, 1, H, W). It must not write into what it is given. A parameter named `draw` receives the
    step's random numbers (see `workbench.draw.Draw`); every other keyword is a parameter of the method, annotated
    `Annotated[int, Range(1, 16)] = 4` as the bounds of its slider. alpha, prob and mode come by themselves.

    Gives the function back. A function made again in a notebook's cell replaces its older self; a name of ours is
    refused with a UsageError. The method is known in this process and in those that it starts (`sweep`, `launch`), not
    on the command line: there it needs a file in `workbench/methods/`.
    """
    key = getattr(function, "__name__", "")
    if not key.isidentifier():
        raise UsageError(f"a method is a function with a name, def my_mix(x, other, lam): ...; got {shown(function)}")
    if key in BUILT_IN:
        raise UsageError(f"{key} is a method of the workbench already; give the function another name")
    METHODS[key] = _class_of(function)
    return function


def _class_of(function: Callable[..., Any]) -> type[Method]:
    """The dataclass whose fields are the keywords of the function."""
    parameters = inspect.signature(function).parameters
    positional = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) != len(GIVEN):
        got = ", ".join(positional) or "nothing"
        raise UsageError(f"{function.__name__} must take {', '.join(GIVEN)} by position, got {got}; others after a *")
    try:
        kinds = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UsageError(f"{function.__name__}: {error} in an annotation; define it outside of functions") from None
    own: list[tuple[str, Any, Any]] = []
    for p in parameters.values():
        if p.kind is not p.KEYWORD_ONLY or p.name == "draw":
            continue
        if p.default is p.empty or p.name not in kinds or p.name in _NAMES:
            say = "needs an annotation, a default and a name other than " + ", ".join(_NAMES)
            raise UsageError(f"{function.__name__}: keyword {p.name!r} {say}")
        own.append((p.name, kinds[p.name], dataclasses.field(default=p.default)))
    common: list[tuple[str, Any, Any]] = [
        ("alpha", Annotated[float, Range(0.05, 5)], dataclasses.field(default=1.0)),
        ("prob", Annotated[float, Range(0, 1)], dataclasses.field(default=1.0)),
        ("mode", Mode, dataclasses.field(default="sample")),
    ]
    namespace = {
        "__doc__": inspect.getdoc(function) or f"{function.__name__}, a function of yours.",
        "__module__": function.__module__,
        "paper": Paper(f"{function.__name__}, unpublished", "You", "here"),
        "mix": _mix_of(function, [name for name, _, _ in own], "draw" in parameters),
    }
    return dataclasses.make_dataclass(
        function.__name__, [*common, *own], bases=(Method,), namespace=namespace, eq=False
    )


def _mix_of(function: Callable[..., Any], keywords: list[str], draws: bool) -> Callable[..., Mixed]:
    def mix(self: Any, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        lam = draw.lam(self.alpha, len(x), self.mode, self.prob)
        source, wished = send(x.device, pairs(draw.partner(len(x))), lam)
        more = {name: getattr(self, name) for name in keywords} | ({"draw": draw} if draws else {})
        made = function(x, take(x, source[:, 1]), wished.view(-1, 1, 1, 1).to(x.dtype), **more)
        mixed, weight, mask = _parts(made, function.__name__)
        _check(function.__name__, x, mixed, weight, mask)
        own = wished if weight is None else weight.float().view(-1)
        return Mixed(mixed, source, pair_weights(own), mask)

    return mix


def _parts(made: Any, name: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not all(isinstance(part, Tensor) for part in parts):
        what = "mixed, (mixed, weight) or (mixed, weight, mask), all tensors"
        raise UsageError(f"{name} must return {what}; got {', '.join(type(part).__name__ for part in parts)}")
    mixed, weight, mask = (*parts, None, None)[:3]
    return mixed, weight, mask


def _check(name: str, x: Tensor, mixed: Tensor, weight: Tensor | None, mask: Tensor | None) -> None:
    """Shapes and kind; values are what `audit` is for, since to look at them here would make every step wait."""
    if mixed.shape != x.shape or mixed.dtype != x.dtype:
        want, got = f"{tuple(x.shape)} {x.dtype}", f"{tuple(mixed.shape)} {mixed.dtype}"
        raise UsageError(f"{name} must return images like those it got, {want}; got {got}")
    if weight is not None and weight.numel() != len(x):
        raise UsageError(f"{name} must return a weight for each of {len(x)} images, got shape {tuple(weight.shape)}")
    expected = (len(x), 1, *x.shape[2:])
    if mask is not None and (mask.shape != expected or torch.is_complex(mask)):
        raise UsageError(f"{name} must return a mask (B, 1, H, W), here {expected}, got shape {tuple(mask.shape)}")

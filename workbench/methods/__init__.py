"""The table of mixup methods.

To add one: copy the nearest file, add a line to METHODS, a row to the settings of the contract test and a colour to
`style.PALETTE`; the contract test names whichever is missing. In a notebook, `METHODS["mine"] = Mine` is enough.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from workbench.config import Range, UsageError, choose, hints, nearest, unpack
from workbench.methods.adautomix import AdAutoMix
from workbench.methods.alignmix import AlignMix
from workbench.methods.attentivemix import AttentiveMix
from workbench.methods.automix import AutoMix
from workbench.methods.base import Method, Mixed, Paper, soft_cross_entropy
from workbench.methods.comixup import CoMixup
from workbench.methods.cutmix import CutMix
from workbench.methods.decouplemix import DecoupleMix
from workbench.methods.deit import DeiT
from workbench.methods.fmix import FMix
from workbench.methods.gridmix import GridMix
from workbench.methods.manifoldmix import ManifoldMix
from workbench.methods.mixup import Mixup
from workbench.methods.puzzlemix import PuzzleMix
from workbench.methods.resizemix import ResizeMix
from workbench.methods.saliencymix import SaliencyMix
from workbench.methods.samix import SAMix
from workbench.methods.smmix import SMMix
from workbench.methods.smoothmix import SmoothMix
from workbench.methods.transmix import TransMix
from workbench.methods.vanilla import Vanilla

__all__ = [
    "BUILT_IN",
    "METHODS",
    "AdAutoMix",
    "AlignMix",
    "AttentiveMix",
    "AutoMix",
    "CoMixup",
    "CutMix",
    "DecoupleMix",
    "DeiT",
    "FMix",
    "GridMix",
    "ManifoldMix",
    "Method",
    "Mixed",
    "Mixup",
    "Paper",
    "Parameter",
    "PuzzleMix",
    "ResizeMix",
    "SAMix",
    "SMMix",
    "SaliencyMix",
    "SmoothMix",
    "TransMix",
    "Vanilla",
    "build",
    "describe",
    "soft_cross_entropy",
]

METHODS: dict[str, type[Method]] = {
    "vanilla": Vanilla,
    "mixup": Mixup,
    "cutmix": CutMix,
    "deit": DeiT,
    "smoothmix": SmoothMix,
    "gridmix": GridMix,
    "resizemix": ResizeMix,
    "fmix": FMix,
    "manifoldmix": ManifoldMix,
    "saliencymix": SaliencyMix,
    "attentivemix": AttentiveMix,
    "puzzlemix": PuzzleMix,
    "comixup": CoMixup,
    "alignmix": AlignMix,
    "automix": AutoMix,
    "samix": SAMix,
    "adautomix": AdAutoMix,
    "transmix": TransMix,
    "smmix": SMMix,
    "decouplemix": DecoupleMix,
}
BUILT_IN: Mapping[str, type[Method]] = dict(METHODS)
"""What comes with the workbench; all else in METHODS is the user's own."""


def build(method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Method:
    """A method by its key, with its parameters: `build("cutmix", alpha=0.5)`."""
    cls = choose(METHODS, method, "method")
    values = {**(params or {}), **more}
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    kinds = {name: unpack(hint)[0] for name, hint in hints(cls).items()}
    for name in values:
        if name not in known:
            raise UsageError(f"{method} has no parameter {name!r}{nearest(name, known)}")
    return cls(**{name: _built(value) if kinds[name] is Method else value for name, value in values.items()})


def _built(value: Any) -> Any:
    """A method that is a parameter of another: given whole, by its key, or as a mapping with the key `method`."""
    if isinstance(value, str):
        return build(value)
    if isinstance(value, Mapping):
        if "method" not in value:
            raise UsageError(f"a method as a mapping needs the key 'method', got {', '.join(map(repr, value)) or '{}'}")
        return build(**value)
    return value


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a method: what an explorer needs to draw its slider."""

    name: str
    kind: Any
    default: Any
    bounds: Range | None


def describe(method: str) -> list[Parameter]:
    """The parameters of a method with defaults and bounds."""
    cls = choose(METHODS, method, "method")
    fields = [f for f in dataclasses.fields(cls) if f.init and f.name != "num_classes"]
    kinds = {name: unpack(hint) for name, hint in hints(cls).items()}
    return [Parameter(f.name, kinds[f.name][0], _default(f), kinds[f.name][1]) for f in fields]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()

"""A fixed colour, marker and line for every method."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

INK, MUTED, FAINT = "#222222", "#666666", "#b8b8b8"
"""Text and axes; secondary text; guide lines and frames."""

LABELS: Mapping[str, str] = {
    "vanilla": "Vanilla",
    "mixup": "Mixup",
    "cutmix": "CutMix",
    "deit": "DeiT",
    "smoothmix": "SmoothMix",
    "gridmix": "GridMix",
    "resizemix": "ResizeMix",
    "fmix": "FMix",
    "manifoldmix": "ManifoldMix",
    "saliencymix": "SaliencyMix",
    "attentivemix": "AttentiveMix+",
    "puzzlemix": "PuzzleMix",
    "comixup": "Co-Mixup",
    "alignmix": "AlignMix",
    "automix": "AutoMix",
    "samix": "SAMix",
    "adautomix": "AdAutoMix",
    "transmix": "TransMix",
    "smmix": "SMMix",
    "decouplemix": "DecoupleMix",
}
"""Display names, in the order in which tables and legends list the methods."""

# Searched for the largest smallest distance (OKLab) between any two, seen with normal, protan and deutan vision;
# vanilla, mixup, cutmix, manifoldmix and automix also lie a tenth of the lightness scale apart.
PALETTE: Mapping[str, str] = {
    "vanilla": "#808080",
    "mixup": "#17458f",
    "cutmix": "#f2a81d",
    "deit": "#1774a1",
    "smoothmix": "#80b5fb",
    "gridmix": "#9f9a1d",
    "resizemix": "#b66610",
    "fmix": "#fd7a6f",
    "manifoldmix": "#27b594",
    "saliencymix": "#35600a",
    "attentivemix": "#7ce588",
    "puzzlemix": "#408df2",
    "comixup": "#b687c8",
    "alignmix": "#1ce3ee",
    "automix": "#bd1747",
    "samix": "#630055",
    "adautomix": "#7f55ce",
    "transmix": "#5b2a0b",
    "smmix": "#824c74",
    "decouplemix": "#eeb3c1",
}

# Twenty colours can't all be told apart, by anybody: the marker is each method's own, the line tells its kind.
MARKERS: Mapping[str, Any] = {
    "vanilla": "o",
    "mixup": "s",
    "cutmix": "^",
    "deit": "p",
    "smoothmix": "8",
    "gridmix": "P",
    "resizemix": "v",
    "fmix": "h",
    "manifoldmix": "D",
    "saliencymix": "<",
    "attentivemix": ">",
    "puzzlemix": "X",
    "comixup": "d",
    "alignmix": "H",
    "automix": "*",
    "samix": (6, 1, 0),
    "adautomix": (4, 1, 0),
    "transmix": (4, 1, 45),
    "smmix": (8, 1, 0),
    "decouplemix": (5, 0, 180),
}
_PIXELS, _SALIENCY, _FEATURES, _LEARNED, _LABELS = (
    "-",
    (0, (5, 1.2)),
    (0, (1.2, 1)),
    (0, (6, 1.2, 1.2, 1.2)),
    (0, (3, 1)),
)
LINES: Mapping[str, Any] = {
    **dict.fromkeys(("vanilla", "mixup", "cutmix", "deit", "smoothmix", "gridmix", "resizemix", "fmix"), _PIXELS),
    **dict.fromkeys(("saliencymix", "attentivemix", "puzzlemix", "comixup"), _SALIENCY),
    **dict.fromkeys(("manifoldmix", "alignmix"), _FEATURES),
    **dict.fromkeys(("automix", "samix", "adautomix"), _LEARNED),
    **dict.fromkeys(("transmix", "smmix", "decouplemix"), _LABELS),
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, everywhere."""

    color: str
    marker: Any
    line: Any

    @property
    def size(self) -> float:
        """Marker size in points: thin shapes are drawn larger, to weigh the same."""
        star = self.marker == "*" or (isinstance(self.marker, tuple) and self.marker[1] == 1)
        return 5.5 if star else 3.5


def look(method: str) -> Look:
    """The look of a method; one that the tables don't know (a user's own) gets one that depends on its name alone."""
    if method in PALETTE:
        return Look(PALETTE[method], MARKERS[method], LINES[method])
    seed = zlib.crc32(method.encode())
    markers = list(MARKERS.values())
    return Look(_own_color(seed), markers[seed % len(markers)], _LABELS)


def dark(color: str) -> str:
    """A darker shade of a colour, for text."""
    return "#" + "".join(f"{round(0.65 * 255 * part):02x}" for part in _rgb(color))


def label(method: str) -> str:
    """Display name of a method; a user's own keeps its name."""
    return LABELS.get(method, method)


def rank(method: str) -> tuple[int, str]:
    """Sort key: the order of LABELS, then unknown methods by name."""
    known = list(LABELS)
    return (known.index(method) if method in known else len(known), method)


def _own_color(seed: int) -> str:
    """Of 64 colours drawn with the seed, the one farthest from the palette."""
    drawn = np.random.default_rng(seed).integers(30, 200, (64, 3)) / 255
    known = oklab(np.array([_rgb(c) for c in PALETTE.values()]))
    distance = np.linalg.norm(oklab(drawn)[:, None] - known[None], axis=-1).min(1)
    red, green, blue = np.round(drawn[distance.argmax()] * 255).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rgb(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def oklab(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB in [0, 1] -> OKLab (lightness, green-red, blue-yellow), where distances are about as seen.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_cones.T) @ to_lab.T

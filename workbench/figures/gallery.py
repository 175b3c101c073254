"""The gallery: what every method makes of the same photographs at the same lambda, with masks and label weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.figures.samples import footnotes, framed, percent, pictures_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 13.0
"""Inches: a page to look at on a screen, not a figure for a column."""


def gallery(entries: Mapping[str, Mapping[str, Any]], lam: float) -> Figure:
    """A row a method, in two blocks under the photographs: each mix, the label weights under it, and beside it where
    the photograph itself shows (white) or its partner does (black); without a mask, the place stays empty.

    entries: by the method's key, what `workbench.runs.samples.mixed_arrays` gives.
    """
    marks = footnotes([str(arrays.get("note", "")) for arrays in entries.values()])
    first = max(entries.values(), key=lambda arrays: arrays["sources"].shape[2])
    own = pictures_of(first["sources"])
    both = [picture for i, partner in enumerate(first["partner"]) for picture in (own[i], own[partner])]
    head = style.GridRow("Photographs", both, ["A", "B"] * len(own))
    rows = [_row(key, arrays, marks) for key, arrays in entries.items()]
    half = -(-len(rows) // 2)
    blocks = [[head, *rows[i : i + half]] for i in range(0, len(rows), half)]
    notes = [
        f"Each method at lambda {lam:g}, A with B. Under a mix: label weights of A and B in percent (+ those of other "
        "photographs). Beside it: where A shows (white). A lambda that is realised by area can differ from the wished.",
        *(f"{mark} {note[0].upper()}{note[1:]}." for note, mark in marks.items()),
    ]
    with style.paper("cvpr", 2):
        return style.image_grid(blocks, WIDTH, notes=notes)


def _row(key: str, arrays: Mapping[str, Any], marks: Mapping[str, str]) -> style.GridRow:
    mixed = pictures_of(arrays["mixed"])
    masks = [framed(mask[0]) for mask in arrays["mask"]] if "mask" in arrays else [np.ones((1, 1))] * len(mixed)
    return style.GridRow(
        label=style.LABELS[key] + marks.get(str(arrays.get("note", "")), ""),
        pictures=[p for pair in zip(mixed, masks, strict=True) for p in pair],
        captions=[text for weight in arrays["weight"] for text in (percent(weight), "")],
    )

"""One step of a training, replayed: the first pictures of the batch as they were drawn, and as they were mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.figures.samples import framed, percent, pictures_of
from workbench.runs import Replay
from workbench.runs.samples import as_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8
LONGEST = 12
"""Characters of a class's name under a picture."""


def replayed(shown: Replay, *, venue: str = "cvpr", columns: int = 2) -> Figure:
    """The first eight pictures of a replayed step: as drawn, where they show in the mix, and the mix, with the label's
    weights in percent and the partner's class."""
    number = min(SHOWN, len(shown.x))
    rows = [style.GridRow("image", _pictures(shown.x[:number]), [_class(shown, i) for i in range(number)])]
    if shown.mixed.mask is not None:
        masks = shown.mixed.shares()[:number, 0].numpy()
        rows.append(style.GridRow("mask", [framed(mask) for mask in masks]))
    rows.append(style.GridRow("mixed", _pictures(shown.mixed.x[:number]), [_mix(shown, i) for i in range(number)]))
    where = "" if shown.mixed.mask is None else " Mask: white is the image."
    note = (
        f"{shown.run}, epoch {shown.epoch}, step {shown.step}: {shown.note}. Under a mix: label weights of image and "
        f"partner in percent, and the partner's class.{where}"
    )
    with style.paper(venue, columns) as width:
        return style.image_grid([rows], width, notes=[note])


def _pictures(images: object) -> list[np.ndarray]:
    return pictures_of(as_bytes(images))  # type: ignore[arg-type]


def _class(shown: Replay, row: int) -> str:
    return shown.classes[int(shown.y[row])][:LONGEST]


def _mix(shown: Replay, row: int) -> str:
    """ "57:43 astronaut": the weights of image and partner, and the partner's class."""
    weight, source = shown.mixed.weight[row].numpy(), shown.mixed.source[row]
    if len(weight) < 2:
        return _class(shown, int(source[0]))
    return f"{percent(weight)} {_class(shown, int(source[1]))}"

"""Contact sheets: a few images of every class of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.data import ImageSet, load
from workbench.data.imageset import Split
from workbench.figures import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, ROWS = 10, 20


def contact_figure(name: str, split: Split = "train", root: str | None = None, per_class: int = 5) -> Figure:
    """A row of images for each of the first classes of a data set, two blocks side by side."""
    images = load(name, split, root=root)
    with style.paper("cvpr", 2) as width:
        rows = [_row(images, k, per_class) for k in range(min(len(images.classes), ROWS))]
        half = -(-len(rows) // 2)
        return style.image_grid([rows[:half], rows[half:]] if len(rows) > 1 else [rows], width, notes=[repr(images)])


def _row(images: ImageSet, k: int, number: int) -> style.GridRow:
    chosen = (images.labels == k).nonzero()[:number, 0]
    pictures = [p[0] if len(p) == 1 else np.moveaxis(p, 0, -1) for p in images.pictures(chosen).numpy()]
    return style.GridRow(images.classes[k], pictures)


def contact_sheet(name: str, root: str | None, out: Path) -> Path:
    """Write the contact sheet of a data set as a picture; returns its path."""
    kind = out.suffix.removeprefix(".") or "png"
    return save(contact_figure(name, root=root), out.with_suffix(""), formats=(kind,))[0]

"""Mixed samples: what each method makes of the same pairs of test pictures at lambda 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.analysis import StoredRun
from workbench.analysis.groups import Group, group
from workbench.config import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = ("*", "\N{DAGGER}", "\N{DOUBLE DAGGER}", "\N{SECTION SIGN}", "\N{PILCROW SIGN}")
SMALLEST_PICTURE = 0.34
"""Inches; as many pictures are shown as fit."""
FRAME = 0.4
"""Grey of the edge around a mask, from 0 (black) to 1."""
LABEL_COLUMN = 0.75
"""Inches for the methods' names, about."""
ROOMY, MANY = 4.5, 12
"""Inches, and methods, from which the methods stand in two blocks: one of more than twelve is longer than a page."""


def samples(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1, pictures: int | None = None) -> Figure:
    """The two sources on top, then a row a method (its first seed): the mixed picture, under it in percent how much
    of each source the label says, and, where pixels are mixed by a mask that is not even, the mask: white is
    the first picture.

    Where there is room, or there are many, the methods stand in two blocks, each under the sources. Methods that
    leave the pictures as they are (vanilla) have no row. `pictures`: how many columns; as many as fit.
    """
    groups = [g for g in group(runs) if not _plain(_samples(g))]
    if not groups:
        raise UsageError("figure samples needs a run of a method that mixes, got vanilla alone; add one")
    first = _samples(groups[0])
    for g in groups[1:]:
        _same_pairs(g, _samples(g), groups[0], first)
    marks = footnotes([str(_samples(g).get("note", "")) for g in groups])
    with style.paper(venue, columns) as width:
        blocks = 2 if len(groups) > (1 if width >= ROOMY else MANY) else 1
        number = min(pictures or int((width / blocks - LABEL_COLUMN) / SMALLEST_PICTURE), len(first["sources"]))
        own, other = first["sources"][:number], first["sources"][first["partner"][:number]]
        head = [style.GridRow("Picture A", pictures_of(own)), style.GridRow("Picture B", pictures_of(other))]
        rows = [_row(g, _samples(g), number, marks) for g in groups]
        half = -(-len(rows) // blocks)
        filled = [head + rows[i : i + half] for i in range(0, len(rows), half)]
        return style.image_grid(filled, width, notes=_notes(rows, marks))


def _samples(g: Group[StoredRun]) -> Mapping[str, Any]:
    found = g.items[0].samples()
    if found is None:
        raise UsageError(f"run {g.items[0].name} has no samples.npz; finish it with `workbench resume`")
    return found


def _plain(stored: Mapping[str, Any]) -> bool:
    return np.array_equal(stored["mixed"], stored["sources"])


def _same_pairs(g: Group, stored: Mapping[str, Any], other: Group, reference: Mapping[str, Any]) -> None:
    if all(np.array_equal(stored[key], reference[key]) for key in ("sources", "partner")):
        return
    raise UsageError(
        f"figure samples needs the same pairs of pictures in all runs, but {g.label} ({g.setting}) and "
        f"{other.label} ({other.setting}) have different ones; choose runs of one setting"
    )


def framed(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) with a thin grey edge around it: white would not show on white paper."""
    return np.pad(mask, max(1, len(mask) // 100), constant_values=FRAME)


def footnotes(notes: Sequence[str]) -> dict[str, str]:
    """A footnote mark for every note there is."""
    different = list(dict.fromkeys(note for note in notes if note))
    return {note: MARKS[i % len(MARKS)] * (1 + i // len(MARKS)) for i, note in enumerate(different)}


def _row(g: Group, stored: Mapping[str, Any], number: int, marks: Mapping[str, str]) -> style.GridRow:
    mark = marks.get(str(stored.get("note", "")), "")
    masks = stored["mask"][:number, 0] if stored.get("mask") is not None else np.empty((0, 1, 1))
    even = len(masks) == 0 or np.ptp(masks, axis=(1, 2)).max() < 0.01  # as mixup's: the numbers say it all
    return style.GridRow(
        label=g.label + mark,
        pictures=pictures_of(stored["mixed"][:number]),
        captions=[percent(weight) for weight in stored["weight"][:number]],
        small=[] if even else list(masks),
    )


def percent(weight: np.ndarray) -> str:
    """Label shares in percent: "70:30", or "40:35+25" where other pictures than A and B have a share too."""
    own, other, *further = np.round(100 * weight).astype(int)
    return f"{own}:{other}" + "".join(f"+{share}" for share in further if share > 0)


def pictures_of(batch: np.ndarray) -> list[np.ndarray]:
    """(P, C, H, W) uint8 -> pictures as matplotlib takes them, (H, W, 3) or grey (H, W)."""
    return [x[0] if len(x) == 1 else np.moveaxis(x[:3], 0, -1) for x in batch]


def _notes(rows: Sequence[style.GridRow], marks: Mapping[str, str]) -> list[str]:
    masked = any(len(row.small) for row in rows)
    further = ", + those of other pictures" if any("+" in caption for row in rows for caption in row.captions) else ""
    numbers = f"Numbers: label weights of A and B in percent{further}." + (" Masks: white is A." if masked else "")
    return [numbers, *(f"{mark} {note[0].upper()}{note[1:]}." for note, mark in marks.items())]

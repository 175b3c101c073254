"""The fonts of figures, and which characters they lack.

STIX first, DejaVu Sans for what it lacks: both ship inside matplotlib, so figures are the same everywhere. What neither
has (Chinese, Japanese, Korean) comes from the first font of WIDE that this machine has.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

ALWAYS = ("STIXGeneral", "DejaVu Sans")
WIDE = (
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "Arial Unicode MS", "Microsoft YaHei", "Yu Gothic"),
    *("Malgun Gothic", "SimHei"),
)
"""Fonts with many scripts, as Linux, macOS and Windows bring them."""


@cache
def families() -> tuple[str, ...]:
    """The fonts that a character is looked for in, first to last."""
    from matplotlib.font_manager import fontManager

    regular = {font.name: font.fname for font in fontManager.ttflist if font.weight in (400, "normal", "regular")}
    return *ALWAYS, *(name for name in WIDE if name in regular and _has_outlines(Path(regular[name])))


def lacking(text: str, names: Iterable[str]) -> str:
    """The characters of `text` that none of these fonts has: each would be drawn as a box."""
    from matplotlib.font_manager import FontProperties, findfont

    present = set().union(*(_characters(findfont(FontProperties(family=[name]))) for name in names))
    return "".join(dict.fromkeys(c for c in text if not c.isspace() and ord(c) not in present))


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(path).get_charmap())


def _has_outlines(path: Path) -> bool:
    """Whether the file has TrueType outlines: a PDF with the other kind (CFF, OTTO) opens without those letters."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith(b"ttcf"):  # a collection: where its first font begins
                file.seek(int.from_bytes(head[12:], "big"))
                head = file.read(4)
    except OSError:  # matplotlib remembers fonts that are gone
        return False
    return not head.startswith(b"OTTO")

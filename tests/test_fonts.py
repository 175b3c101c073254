"""Fonts: what STIX lacks comes from DejaVu Sans, and what none has is told instead of drawn as a box."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from workbench import style
from workbench.figures import lint
from workbench.style import fonts

CAT = "\N{CJK UNIFIED IDEOGRAPH-732B}"
BUBBLE = "\N{EGYPTIAN HIEROGLYPH A001}"  # no font of matplotlib's has it


def _font(path: Path, kind: str) -> str:
    """A font with one square as the glyph of CAT; TrueType outlines or CFF."""
    builder = FontBuilder(1000, isTTF=kind == "ttf")
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(CAT): "cat"})
    pens = {name: TTGlyphPen(None) if kind == "ttf" else T2CharStringPen(1000, None) for name in (".notdef", "cat")}
    for pen in pens.values():
        pen.moveTo((100, 0))
        for corner in ((100, 700), (900, 700), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
    if kind == "ttf":
        builder.setupGlyf({name: pen.glyph() for name, pen in pens.items()})
    else:
        builder.setupCFF("Cat", {}, {name: pen.getCharString() for name, pen in pens.items()}, {})
    builder.setupHorizontalMetrics({name: (1000, 100) for name in pens})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": fonts.WIDE[0], "styleName": "Regular", "psName": "Cat"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def test_characters_that_stix_lacks_come_from_dejavu() -> None:
    words = "cat, \u05d7\u05ea\u05d5\u05dc, \u0642\u0637 \N{PLUS-MINUS SIGN}"  # Hebrew, Arabic
    assert fonts.lacking(words, fonts.ALWAYS) == ""
    assert fonts.lacking(words, ["STIXGeneral"]) == "\u05d7\u05ea\u05d5\u05dc\u0642\u0637"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_lint_tells_in_one_line_which_characters_are_boxes() -> None:
    with style.paper() as width:
        figure = style.new_figure(width, 1, layout="none")
        figure.text(0.1, 0.6, f"a {BUBBLE}")
        assert lint.faults(figure) == [
            f"no font here has {BUBBLE!r}: Text 'a {BUBBLE}' (looked for: {', '.join(fonts.WIDE)})"
        ]
        figure.text(0.1, 0.2, BUBBLE)
        (fault,) = lint.faults(figure)
        assert "and 1 more" in fault


@pytest.mark.parametrize("kind", ["ttf", "otf"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_font_of_this_machine_helps_out_if_a_pdf_can_hold_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [font for font in fontManager.ttflist if font.name not in fonts.WIDE]
    monkeypatch.setattr(fontManager, "ttflist", others)
    fontManager.addfont(_font(tmp_path / f"cat.{kind}", kind))
    monkeypatch.setattr(fonts, "families", fonts.families.__wrapped__)  # asked anew
    with style.paper() as width:
        figure = style.new_figure(width, 1, layout="none")
        figure.text(0.1, 0.5, f"a cat: {CAT}")
        faults = (
            []
            if kind == "ttf"
            else [f"no font here has {CAT!r}: Text 'a cat: {CAT}' (looked for: {', '.join(fonts.WIDE)})"]
        )
        assert lint.faults(figure) == faults
        figure.savefig(tmp_path / "cat.pdf")
    assert lint.file_faults(tmp_path / "cat.pdf", width) == []
    assert (b"+Cat" in (tmp_path / "cat.pdf").read_bytes()) == (kind == "ttf")

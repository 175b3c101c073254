"""The lint finds what is wrong with a figure, and only that."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from workbench import style
from workbench.figures import lint, save


def test_lint_sees_what_is_cut_covered_or_small() -> None:
    figure = style.new_figure(3, 2, layout="none")
    ax = figure.add_axes((0.2, 0.3, 0.7, 0.6))
    ax.set(xlabel="fits", xlim=(0, 1))
    assert lint.faults(figure) == []
    figure.text(0.9, 0.95, "too long to fit")
    assert lint.faults(figure) == ["cut off: Text 'too long to fit'"]
    figure.texts[0].set_visible(False)
    figure.text(0.5, 0.5, "over")
    figure.text(0.55, 0.5, "lapping", fontsize=5)
    assert lint.faults(figure) == [
        "on each other: Text 'over' and Text 'lapping'",
        "5 pt, too small: Text 'lapping'",
    ]


def test_lint_sees_cut_axes_and_legends_but_nothing_hidden() -> None:
    figure = style.new_figure(3, 2, layout="none")
    ax = figure.add_axes((0.2, 0.3, 0.9, 0.6))
    ax.plot([0, 1], label="line")
    ax.set(xticks=(0, 5), xticklabels=("", "far outside"), yticks=())
    ax.set_xlim(0, 0.5)
    ax.text(9, 9, "not shown", visible=False)
    assert lint.faults(figure) == ["cut off: Axes"]
    ax.set_position((0.2, 0.3, 0.7, 0.6))
    assert lint.faults(figure) == []
    ax.legend(loc="lower left", bbox_to_anchor=(1.0, 0))
    assert "cut off: Legend" in lint.faults(figure)
    ax.axis("off")
    ax.set_ylabel("an axis that is off draws no label", fontsize=30)
    ax.legend_.remove()
    assert lint.faults(figure) == []


def test_lint_sees_colours_that_some_readers_take_for_one() -> None:
    figure = style.new_figure(3, 2)
    ax = figure.add_subplot()
    red, green = ax.plot([0, 1], label="a", color="#a65f20"), ax.plot([1, 0], label="b", color="#7a7418")
    assert lint.faults(figure) == ["told apart by colour alone, alike to protan vision: Line2D 'a' and Line2D 'b'"]
    red[0].set_marker("s")
    assert lint.faults(figure) == []
    red[0].set_marker("None")
    green[0].set_linestyle((0, (3, 1)))
    assert lint.faults(figure) == []
    green[0].set_linestyle("-")
    ax.text(0.2, 0.2, "a")
    assert lint.faults(figure) == []  # it is named where it stands
    ax.texts[0].remove()
    red[0].set_color("#17458f")
    assert lint.faults(figure) == []
    ax.bar([0, 1], [1, 1], color="#17458f", label="c")
    ax.bar([2, 3], [1, 1], color="#17458f", label="d")
    assert len(lint.faults(figure)) == 1
    ax.containers[-1].patches[0].set_hatch("//")
    assert lint.faults(figure) == []


def test_lint_sees_ticks_of_a_logarithmic_axis_that_are_not_drawn() -> None:
    figure = style.new_figure(3, 2)
    ax = figure.add_subplot()
    ax.set(yscale="log", ylim=(2e-7, 10), xlim=(0, 1))
    ax.set_yticks([1e-60, 1e-6, 1])
    assert lint.faults(figure) == []


def test_lint_reads_the_files(tmp_path: Path) -> None:
    figure = style.new_figure(3, 2)
    figure.text(0.3, 0.5, "words", family="STIXGeneral")
    good = save(figure, tmp_path / "good", ("pdf", "svg", "png"))
    assert [lint.file_faults(path, 3) for path in good] == [[], [], []]
    assert [lint.file_faults(path, 3.25) for path in good] == [
        ["page is 216.00 pt wide, not 234.00 pt"],
        ["page is 216.00 pt wide, not 234.00 pt"],
        ["page is 3.000 in wide, not 3.25 in"],
    ]
    with matplotlib.rc_context({"pdf.fonttype": 3}):
        figure.savefig(tmp_path / "bad.pdf")
    (fault,) = lint.file_faults(tmp_path / "bad.pdf", 3)
    assert fault.endswith("STIXGeneral-Regular is Type3, not TrueType (Type 42)")
    with matplotlib.rc_context({"pdf.use14corefonts": True, "font.family": "Helvetica"}):
        core = style.new_figure(3, 2)
        core.text(0.3, 0.5, "words")
        core.savefig(tmp_path / "core.pdf")
    assert lint.file_faults(tmp_path / "core.pdf", 3) == ["font Helvetica is Type1, not TrueType (Type 42)"]
    embedded = good[0].read_bytes().replace(b"/FontFile2", b"/FontFile3")
    (tmp_path / "cff.pdf").write_bytes(embedded)
    assert "FontFile3, not TrueType" in lint.file_faults(tmp_path / "cff.pdf", 3)[0]

"""Every method has a formula that can be set, in lines that fit a column."""

from __future__ import annotations

import pytest

from workbench import style
from workbench.methods import METHODS
from workbench.methods.formulas import FORMULAS, formula


def test_every_method_has_one() -> None:
    assert set(FORMULAS) == set(METHODS)
    assert formula("a method of my own") == ()


@pytest.mark.parametrize("key", FORMULAS)
def test_lines_fit_the_narrowest_column(key: str) -> None:
    with style.paper("cvpr", 1) as width:
        figure = style.new_figure(width, 1, layout="none")
        for line in formula(key):
            assert style.text_size(figure, line, style.SMALLEST)[0] < width - 0.1, line

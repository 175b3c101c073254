"""What analyses of several nets on the same images share: how the nets are checked, and names that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench import style
from workbench.analysis.inputs import Examples, check_fit
from workbench.config import UsageError
from workbench.models import Net

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Nets = Sequence[tuple[str, Net]]
"""Nets by name."""


def check_nets(nets: Nets, data: Examples) -> None:
    """Refuse no nets, two of one name, and data that one of them can't take."""
    if not nets:
        raise UsageError("expected at least one net, as (name, net), got none")
    names = [name for name, _ in nets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"expected one net a name, got {name} twice; leave one out or give another name")
    for _, net in nets:
        check_fit(net, data)


def fitting(figure: Figure, text: str, width: float, size: float) -> str:
    """The text in lines of at most `width` inches; what is too long even so loses its middle."""
    return "\n".join(cut(figure, line, width, size) for line in style.wrap(figure, text, width, size))


def cut(figure: Figure, line: str, width: float, size: float) -> str:
    """The line without its middle where it is longer than `width` inches."""
    kept, shown = len(line), line
    while kept > 2 and style.text_size(figure, shown, size)[0] > width:
        kept -= 1
        shown = f"{line[: -(-kept // 2)]}…{line[len(line) - kept // 2 :]}"
    return shown

"""What analyses of several nets on the same images share: how the nets are checked, and names that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from workbench import style
from workbench.analysis.inputs import Examples, check_fit
from workbench.config import UsageError, naming, shown
from workbench.models import Net

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Nets = Sequence[tuple[str, Net]]
"""Nets by name."""


def by_name(nets: Nets | Net) -> Nets:
    """The nets by name, one alone by its own. UsageError for anything else."""
    if isinstance(nets, nn.Module):
        return [(getattr(nets, "name", type(nets).__name__), nets)]
    if not isinstance(nets, Sequence) or not all(map(_is_pair, nets)):
        raise UsageError(f"expected nets as [(name, net), ...], or one net, got {shown(nets)}")
    return list(nets)


def check_nets(nets: Nets | Net, data: Examples) -> Nets:
    """The nets by name. Refuses no nets, two of one name, and data that one of them can't take."""
    nets = by_name(nets)
    if not nets:
        raise UsageError("expected at least one net, as (name, net), got none")
    names = [name for name, _ in nets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"expected one net a name, got {name} twice; leave one out or give another name")
    check_all_fit(nets, data)
    return nets


def check_all_fit(nets: Nets, data: Examples) -> None:
    """Refuse data that one of the nets can't take, and name it."""
    for name, net in nets:
        with naming(name):
            check_fit(net, data)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], str)


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

"""What analyses of several nets on the same images share: how the nets are checked, and what they are called."""

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


def short_names(names: Sequence[str]) -> list[str]:
    """Names of runs without what all have in common: `photos-resnet8-cutmix-s0-1f2e3d4c` beside that of Mixup becomes
    `CutMix`. Of the parts between the dashes that differ as many as tell the names apart, the method first."""
    parts = [name.split("-") for name in names]
    if len(names) == 1:
        return [_only_method(parts[0])]
    if len({len(p) for p in parts}) > 1:
        return list(names)
    differing = [i for i in range(len(parts[0])) if len({p[i] for p in parts}) > 1]
    differing.sort(key=lambda i: not all(p[i] in style.LABELS for p in parts))
    for number in range(1, len(differing) + 1):
        kept = [" ".join(style.label(p[i]) for i in differing[:number]) for p in parts]
        if len(set(kept)) == len(kept):
            return kept
    return list(names)


def _only_method(parts: Sequence[str]) -> str:
    """The method in a single run's name; the whole name where there is none."""
    known = [style.label(part) for part in parts if part in style.LABELS]
    return known[0] if len(known) == 1 else "-".join(parts)


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

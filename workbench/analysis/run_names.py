"""What runs are called in figures and printed tables: the names of their folders without what all have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workbench import style

SEED = re.compile(r"s\d+")


def short_names(names: Sequence[str]) -> list[str]:
    """Names of runs without what all have in common: `photos-resnet8-cutmix-s0-1f2e3d4c` beside that of Mixup becomes
    `CutMix`. Of the parts between the dashes that differ as many as tell the names apart, the method first."""
    parts = [name.split("-") for name in names]
    if len(names) == 1:
        return [run_name(names[0])]
    if len({len(p) for p in parts}) > 1:
        return list(names)
    differing = [i for i in range(len(parts[0])) if len({p[i] for p in parts}) > 1]
    differing.sort(key=lambda i: not all(p[i] in style.LABELS for p in parts))
    for number in range(1, len(differing) + 1):
        kept = [" ".join(style.label(p[i]) for i in differing[:number]) for p in parts]
        if len(set(kept)) == len(kept):
            return kept
    return list(names)


def run_name(name: str) -> str:
    """What one run alone is called: its method and seed, `CutMix s0`; the whole name where it holds no method."""
    parts = name.split("-")
    known = [i for i, part in enumerate(parts) if part in style.LABELS]
    if len(known) != 1:
        return name
    return " ".join([style.label(parts[known[0]]), *filter(SEED.fullmatch, parts[known[0] + 1 : known[0] + 2])])

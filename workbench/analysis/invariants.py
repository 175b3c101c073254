"""What every mixing function must keep, as checks that can be run on any: see `audit`.

A check calls the function on images that reveal the answer, and returns why it passed, or raises `Broken` or
`NotApplicable`. Telling images: image i is 1 in channel i and 0 elsewhere, so the channels of a mixed pixel ARE the
shares of the batch's rows in it.

B rows of a batch, R mixed rows, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.methods import Mixed

ROUNDS = 6
"""Seeds that a check of labels against pixels goes through."""
CLOSE = 1e-4
"""By how much shares and weights may differ in float32."""
COARSE = 0.02
"""By how much they may differ in half precision."""
CALLS = 400
"""Batches that a probability is judged by."""


class Evidence(NamedTuple):
    """What a failure looks like: image, partner, mix, and what was expected."""

    shares: np.ndarray
    """(4, H, W, C) of telling images: in each pixel, the share of every row of the batch."""
    caption: str


class Broken(Exception):
    """The check failed; its text is one line, with a picture where there is one."""

    def __init__(self, reason: str, evidence: Evidence | None = None) -> None:
        super().__init__(reason)
        self.evidence = evidence


class NotApplicable(Exception):
    """The check has no meaning for this function; its text says why."""


class Outcome(NamedTuple):
    """What a mixing function returned, in one form."""

    images: Tensor
    labels: Tensor
    """(R, classes) float64, label smoothing taken out."""
    mask: Tensor | None
    """(R, B, H, W) the share of every row of the batch, where the function tells it."""
    by_ids: bool
    """Whether labels came as two class ids and a weight."""


@dataclass(frozen=True)
class Subject:
    """The function under test, and what it is known to want."""

    call: Callable[[Tensor, Tensor, int], Any]
    """(images, labels, seed) -> whatever it returns."""
    classes: int = 8
    channels: int = 8
    fixed_channels: bool = False
    """Whether no other number of channels can be tried, because a net looks at the images."""
    size: int = 32
    smoothing: float = 0.0
    prob: float | None = None
    per_sample: bool = True
    learns: bool = False
    """Whether the function has weights of its own, so that what it returns has a gradient."""
    lam_of: Literal["own", "partner"] = "own"
    """Whose weight is told by functions that return (ids, partners' ids, weight)."""

    def __call__(self, x: Tensor, y: Tensor, seed: int = 0, classes: int | None = None) -> Outcome:
        return self.read(self.call(x, y, seed), y, classes or self.classes)

    def read(self, raw: Any, y: Tensor, classes: int) -> Outcome:
        """Any of the known forms of a result, in one form."""
        if isinstance(raw, Mixed):
            return Outcome(raw.x, raw.soft_labels(y, classes).double(), _row_shares(raw, len(y)), False)
        parts = list(raw) if isinstance(raw, tuple | list) else [raw]
        if len(parts) == 2 and isinstance(parts[1], tuple | list):
            parts = [parts[0], *parts[1]]
        if len(parts) < 2 or not all(isinstance(p, Tensor) for p in parts[:2]):
            raise Broken(f"returned {type(raw).__name__} of {len(parts)}, expected (images, labels)")
        images, targets = parts[:2]
        if len(parts) == 4:
            return Outcome(images, self._of_pair(targets, parts[2], parts[3], classes), None, True)
        if targets.shape[-1:] == (3,) and (classes != 3 or targets.dim() == 3):
            own, partner, lam = _kornia(targets)
            return Outcome(images, self._of_pair(own, partner, lam, classes), None, True)
        mask = _pair_mask(parts[2], images) if len(parts) == 3 else None
        return Outcome(images, self._plain(targets, classes), mask, False)

    def _of_pair(self, own: Tensor, partner: Tensor, lam: Any, classes: int) -> Tensor:
        weight = torch.as_tensor(lam).double().flatten()[:, None]
        weight = weight if self.lam_of == "own" else 1 - weight
        return weight * one_hot(own, classes) + (1 - weight) * one_hot(partner, classes)

    def _plain(self, targets: Tensor, classes: int) -> Tensor:
        if targets.dim() == 2 and targets.shape[1] != classes:
            raise Broken(f"returned labels of {targets.shape[1]} columns for {classes} classes")
        hard = one_hot(targets, classes)
        return (hard - self.smoothing / classes) / (1 - self.smoothing) if targets.dim() == 2 else hard


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(R, classes) float64 of class ids (R,), whatever their type, or of soft labels as they are."""
    if labels.dim() == 2:
        return labels.double()
    ids = labels.long()
    if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < classes):
        raise Broken(f"class ids must lie from 0 to {classes - 1}, got {int(ids.min())} to {int(ids.max())}")
    return F.one_hot(ids, classes).double()


def _kornia(targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, partners' ids, weight) from (R, 3) or (1, R, 3)."""
    if targets.dim() == 3 and len(targets) != 1:
        raise Broken(f"labels of {len(targets)} mixes in a row can't be read; take num_mix=1")
    own, partner, lam = (targets[0] if targets.dim() == 3 else targets).unbind(-1)
    return own, partner, lam


def _row_shares(mixed: Mixed, rows: int) -> Tensor | None:
    if mixed.mask is None:
        return None
    shares = mixed.shares()
    whole = shares.new_zeros(len(shares), rows, *shares.shape[2:])
    return whole.scatter_add_(1, mixed.source[:, :, None, None].expand_as(shares), shares)


def _pair_mask(mask: Any, images: Tensor) -> Tensor:
    """(R, 1, H, W) the share of the row itself, from anything that broadcasts to it."""
    own = torch.as_tensor(mask).to(images)
    own = own[:, None] if own.dim() == 3 else own
    return own.broadcast_to(len(images), 1, *images.shape[2:])


# ------------------------------------------------------------------------------------------------- what is looked at


def telling(
    subject: Subject, rows: int | None = None, height: int | None = None, width: int | None = None
) -> tuple[Tensor, Tensor]:
    """Images (rows, C, H, W) whose channels tell their row, and labels that differ as far as there are classes."""
    rows = rows or subject.channels
    if rows > subject.channels:
        raise NotApplicable(f"images of {subject.channels} channels tell no more than {subject.channels} rows apart")
    height, width = height or subject.size, width or subject.size
    x = torch.eye(rows, subject.channels)[:, :, None, None].expand(-1, -1, height, width).contiguous()
    return x, torch.arange(rows) % subject.classes


def noise(subject: Subject, rows: int = 8, channels: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(rows, channels or subject.channels, subject.size, subject.size, generator=generator)
    return x, torch.arange(rows) % subject.classes


def in_pixels(outcome: Outcome, y: Tensor, classes: int) -> Tensor:
    """(R, classes) what share of the pixels of a mix of telling images each class has."""
    shares = outcome.images.double().mean((2, 3))[:, : len(y)]
    return shares @ one_hot(y, classes)


def shown(values: Tensor) -> str:
    """The classes of one row that have a weight, such as `3: 0.70, 5: 0.30`."""
    return ", ".join(f"class {i}: {v:.2f}" for i, v in enumerate(values.tolist()) if abs(v) > 0.005) or "nothing"


def evidence(x: Tensor, outcome: Outcome, row: int, expected: Tensor, caption: str) -> Evidence:
    """The four pictures of one row. x: telling images; expected: (B, H, W) shares."""
    own = row % len(x)
    mixed = outcome.images[row].float()
    other = torch.maximum(mixed.mean((1, 2)), expected.mean((1, 2)).to(mixed))
    other[own] = -1
    pictures = torch.stack([x[own], x[int(other.argmax())], mixed, expected.to(mixed)])
    return Evidence(pictures.permute(0, 2, 3, 1).cpu().numpy(), caption)


def as_area(weights: Tensor, y: Tensor, like: Tensor) -> Tensor:
    """(C, H, W) a telling picture whose columns are divided among the rows as a label (classes,) divides its weight."""
    channels, height, width = like.shape
    edges = (weights.clamp(0, 1).cumsum(0) * width).round().tolist()
    area, start = torch.zeros(channels, height, width), 0
    for label, edge in enumerate(edges):
        row = (y == label).nonzero()
        if len(row) and edge > start:
            area[int(row[0]), :, int(start) : int(edge)] = 1
        start = max(start, edge)
    return area


def check_labels(subject: Subject, x: Tensor, y: Tensor, seed: int, tolerance: float = CLOSE) -> None:
    """Broken where the label of any row is not what its pixels are."""
    outcome = subject(x.clone(), y.clone(), seed)
    seen = in_pixels(outcome, y, subject.classes)
    check_rows(outcome, y)
    off = (outcome.labels - seen).abs().amax(1)
    row = int(off.argmax())
    if not off[row] <= tolerance:
        raise _mismatch(subject, x, y, outcome, row, seen[row])


def _mismatch(subject: Subject, x: Tensor, y: Tensor, outcome: Outcome, row: int, seen: Tensor) -> Broken:
    label = outcome.labels[row]
    reason = f"row {row}: label has {shown(label)}; pixels have {shown(seen)}"
    if outcome.by_ids and _swapped(label, seen):
        told, other = ("own", "partner") if subject.lam_of == "own" else ("partner", "own")
        reason += f"; swapped: read as the {told} weight; if it is the other's, give lam_of={other!r}"
    return Broken(reason, evidence(x, outcome, row, as_area(label, y, x[0]), "the label, as area"))


def _swapped(label: Tensor, seen: Tensor) -> bool:
    two = ((label > CLOSE) | (seen > CLOSE)).nonzero().flatten()
    return len(two) == 2 and bool((label[two.flip(0)] - seen[two]).abs().max() < CLOSE)


def check_rows(outcome: Outcome, y: Tensor) -> None:
    if len(outcome.labels) != len(outcome.images) or len(outcome.images) % len(y):
        got = f"{len(outcome.images)} images and {len(outcome.labels)} labels"
        raise Broken(f"{got} came of a batch of {len(y)}")


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference; infinite where shapes differ or anything is nan."""
    if a.shape != b.shape:
        return math.inf
    value = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
    return math.inf if math.isnan(value) else value


Check = Callable[[Subject], str]
CHECKS: dict[str, Check] = {}
"""Every check by what it says, in the order in which they are shown."""


def check(says: str) -> Callable[[Check], Check]:
    """Puts a check into the table."""

    def put(function: Check) -> Check:
        CHECKS[says] = function
        return function

    return put


def run(function: Check, subject: Subject) -> tuple[str, str, Evidence | None]:
    """(pass, fail or n/a; one line of reason; picture). What the function raises is a failure, with its message."""
    try:
        return "pass", function(subject), None
    except NotApplicable as reason:
        return "n/a", str(reason), None
    except Broken as broken:
        return "fail", str(broken), broken.evidence
    except Exception as error:  # any error of a stranger's code is what the audit is there to tell
        return "fail", f"raised {type(error).__name__}: {' '.join(str(error).split())}"[:200], None

"""Is a mixing function right? Some twenty invariants, run on any: ours, a user's, torchvision's, timm's, kornia's.

    audit(my_mix)                                  # a function (images, labels) -> (mixed images, labels)
    audit("cutmix"), audit(CutMix(alpha=0.5))      # one of our methods
    audit(v2.CutMix(num_classes=8))                # torchvision; timm's Mixup and kornia's alike

Every check passes, fails or has no meaning, with a line of reason, and `.plot()` shows the first failure: the image,
its partner, the mix, and what was expected. The checks themselves are in `checks`.

What may be returned: (images, soft labels (B, classes)); with a mask as a third, the share of the row itself; (images,
ids, partners' ids, weight), also as (images, (ids, partners' ids, weight)); kornia's labels (B, 3) or (1, B, 3); or a
`Mixed`.
"""

from __future__ import annotations

import copy
import random
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.checks import CHECKS
from workbench.analysis.invariants import Subject, run
from workbench.config import UsageError, shown
from workbench.draw import Draw
from workbench.methods import Method, build
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LOOKS = {
    "pass": ("\N{CHECK MARK}", style.MUTED),
    "fail": ("\N{MULTIPLICATION X}", "#b3261e"),
    "n/a": ("–", style.FAINT),
}
ROW, STRIP = 0.118, 0.95
"""Inches of a line of the table, and of the pictures below it."""
CHARACTERS = 74
"""Of a reason on a line of the table."""
TITLES = ("image", "partner", "mix")


@dataclass(frozen=True)
class Audit(Result):
    """What came of each check, in the order in which they were run."""

    name: str
    says: tuple[str, ...]
    status: tuple[str, ...]
    """pass, fail or n/a."""
    reason: tuple[str, ...]
    pictures: np.ndarray
    """(4, H, W, B) image, partner, mix, and what was expected, of the first failure that can be shown: the share of
    every row of the batch in each pixel; (0,) where there is none."""
    pictured: str
    """Which check they are of, ..."""
    caption: str
    """... and what the fourth one is."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return "fail" not in self.status

    @property
    def failures(self) -> dict[str, str]:
        """The failed checks, and why."""
        rows = zip(self.says, self.status, self.reason, strict=True)
        return {says: reason for says, status, reason in rows if status == "fail"}

    def to_frame(self) -> pd.DataFrame:
        """One line a check."""
        import pandas as pd

        columns = {"check": self.says, "status": self.status, "reason": self.reason}
        return pd.DataFrame({"name": self.name, **columns})

    @property
    def height(self) -> float:
        from matplotlib import pyplot as plt

        inches = ROW * (len(list(self._lines())) + 2) + (STRIP if len(self.pictures) else 0)
        return inches / plt.rcParams["figure.figsize"][0]

    def draw(self, ax: Axes) -> None:
        """The checks, a line each, with the reason below where one failed; and the pictures of the first failure."""
        counts = ", ".join(f"{self.status.count(s)} {s}" for s in LOOKS if s in self.status)
        ax.set_title(f"{self.name}: {counts}" if self.name else counts)
        ax.set(xticks=(), yticks=(), xlim=(0, 1), ylim=(1, 0))
        ax.spines[:].set_visible(False)
        lines = list(self._lines())
        inches = ROW * (len(lines) + 1) + (STRIP if len(self.pictures) else 0)
        for i, (mark, text, color, indent) in enumerate(lines):
            y = ROW * (i + 0.5) / inches
            ax.text(0.0, y, mark, color=color, va="center", fontsize=style.SMALLEST, family="DejaVu Sans")
            ax.text(0.05 + indent, y, text, color=color, va="center", fontsize=style.SMALLEST)
        ax.plot([], [])
        if len(self.pictures):
            self._pictures(ax, STRIP / inches)

    def _lines(self) -> Iterator[tuple[str, str, str, float]]:
        """(mark, text, colour, indent) of each line."""
        for says, status, reason in zip(self.says, self.status, self.reason, strict=True):
            mark, color = LOOKS[status]
            yield mark, says, color if status == "fail" else style.INK if status == "pass" else style.MUTED, 0.0
            if status == "fail":
                for line in textwrap.wrap(reason, CHARACTERS):
                    yield "", line, style.MUTED, 0.03

    def _pictures(self, ax: Axes, strip: float) -> None:
        for i, (picture, title) in enumerate(zip(self.pictures, (*TITLES, self.caption), strict=True)):
            inset = ax.inset_axes((0.25 * i + 0.01, 0, 0.23, 0.8 * strip))
            inset.imshow(painted(picture), interpolation="nearest")
            inset.set(xticks=(), yticks=())
            inset.spines[:].set(visible=True, linewidth=0.4, edgecolor=style.MUTED)
            inset.set_title(title, fontsize=style.SMALLEST, pad=2)


def painted(shares: np.ndarray) -> np.ndarray:
    """(H, W, 3) a picture of (H, W, B) shares: a colour a row of the batch, mixed as they are; black where nothing."""
    from matplotlib.colors import to_rgb

    names = ("mixup", "cutmix", "automix", "manifoldmix", "alignmix", "decouplemix", "saliencymix", "adautomix")
    colors = np.array([to_rgb(style.PALETTE[name]) for name in names])
    rows = shares.shape[2]
    return np.clip(np.nan_to_num(shares) @ np.resize(colors, (rows, 3)), 0, 1)


def audit(
    my_mix: Callable[..., Any] | Method | str,
    *,
    net: Net | None = None,
    classes: int | None = None,
    channels: int | None = None,
    size: int = 32,
    prob: float | None = None,
    per_sample: bool | None = None,
    label_smoothing: float | None = None,
    lam_of: Literal["own", "partner"] | None = None,
    name: str = "",
) -> Audit:
    """Run every check on a mixing function: it is called with images (B, C, H, W) and class ids (B,), many times.

    net: for those of our methods that look into one. classes: how many the function makes soft labels for; left out,
    its own `num_classes`, or 8. channels: of the images, 8 by default, which is also the size of the batch. size:
    pixels a side. prob: how often a row is to be mixed, if that is below 1. per_sample: whether each row should have
    its own lambda. label_smoothing: how much of it is in the labels, if the function has no such attribute. lam_of:
    whose weight is told where ids and a weight come back, the row's own or its partner's (kornia).

    The numbers of PyTorch, NumPy and Python are seeded for each call and left as found; our methods get a `Draw`. The
    checks are on the CPU, or where the net is.
    """
    mix = build(my_mix) if isinstance(my_mix, str) else my_mix
    if not callable(mix):
        raise UsageError(f"audit takes a function (images, labels) -> (mixed, labels), got {shown(mix)}")
    if isinstance(mix, Method):
        subject = _of_method(mix, net)
        channels = channels or subject.channels
    else:
        subject = Subject(_seeded(mix), lam_of=_whose(mix), smoothing=getattr(mix, "label_smoothing", 0.0) or 0.0)
    known = getattr(mix, "num_classes", None)
    given = {
        "classes": classes or (known if isinstance(known, int) else 8),
        "channels": channels or 8,
        "size": size,
        "prob": prob if prob is not None else subject.prob,
        "per_sample": per_sample if per_sample is not None else getattr(mix, "mode", "sample") != "batch",
        "smoothing": label_smoothing if label_smoothing is not None else subject.smoothing,
        "lam_of": lam_of or subject.lam_of,
    }
    _check(given, net)
    return _audited(Subject(**(vars(subject) | given)), name or _name(my_mix))


def _check(given: dict[str, Any], net: Net | None) -> None:
    for what, least in (("classes", 2), ("channels", 2), ("size", 8)):
        if not isinstance(given[what], int) or given[what] < least:
            raise UsageError(f"{what} must be a whole number from {least}, got {shown(given[what])}")
    if given["lam_of"] not in ("own", "partner"):
        raise UsageError(f"lam_of must be 'own' or 'partner', got {shown(given['lam_of'])}")
    for what in ("prob", "smoothing"):
        if given[what] is not None and not 0 <= given[what] <= 1:
            raise UsageError(f"{what} must be from 0 to 1, got {given[what]}")
    if net is not None and (given["channels"], given["classes"]) != (net.channels, net.num_classes):
        wanted = f"{net.channels} channels and {net.num_classes} classes"
        raise UsageError(f"{net.name} takes {wanted}, got channels={given['channels']}, classes={given['classes']}")


def _audited(subject: Subject, name: str) -> Audit:
    found = {says: run(function, subject) for says, function in CHECKS.items()}
    pictured = next((says for says, (_, _, picture) in found.items() if picture is not None), "")
    picture = found[pictured][2] if pictured else None
    return Audit(
        name,
        tuple(found),
        tuple(status for status, _, _ in found.values()),
        tuple(reason for _, reason, _ in found.values()),
        np.zeros(0) if picture is None else picture.shares,
        pictured,
        "" if picture is None else picture.caption,
    )


def _of_method(method: Method, net: Net | None) -> Subject:
    """One of our methods: its draw is the seed, and its record tells the mask."""
    if method.needs_net and net is None:
        raise UsageError(f"{type(method).__name__} looks into a net; give audit(..., net=...) one")

    copied = copy.deepcopy(method)  # a teacher's batch norms follow every batch: not those of the caller
    if net is not None and not any(True for _ in copied.parameters()):
        copied.attach(net)  # learned parts that are there already stay
    state = copy.deepcopy(copied.state_dict())

    def call(images: Tensor, labels: Tensor, seed: int) -> Any:
        copied.load_state_dict(state)  # each call is the first one
        if net is not None:
            images, labels = images.to(net.mean.device), labels.to(net.mean.device)
        return copied.mix(images, labels, net, Draw(seed))

    learned = any(p.requires_grad for p in copied.parameters())
    channels, classes = (8, 8) if net is None else (net.channels, net.num_classes)
    prob = getattr(method, "prob", None)
    return Subject(call, classes, channels, net is not None, prob=prob, learns=learned)


def _seeded(mix: Callable[..., Any]) -> Callable[[Tensor, Tensor, int], Any]:
    def call(images: Tensor, labels: Tensor, seed: int) -> Any:
        with _global_numbers(seed):
            return mix(images, labels)

    return call


@contextmanager
def _global_numbers(seed: int) -> Iterator[None]:
    """Inside, the generators that strangers draw from follow from the seed; outside, they are as before."""
    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _whose(mix: Any) -> Literal["own", "partner"]:
    """kornia tells the weight of the partner, but for CutMix with `use_correct_lambda`; others tell the row's own."""
    kornia = type(mix).__module__.startswith("kornia.")
    return "partner" if kornia and not getattr(mix, "use_correct_lambda", False) else "own"


def _name(mix: Any) -> str:
    if isinstance(mix, str):
        return style.label(mix)
    plain = not isinstance(mix, nn.Module) and hasattr(mix, "__name__")
    return str(mix.__name__) if plain else type(mix).__name__

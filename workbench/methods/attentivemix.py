"""AttentiveMix+: the cells that a teacher responds to most, pasted onto the partner at their own places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import timm
import torch
from torch import Tensor

from workbench.config import Range, UsageError, nearest, shown
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, enlarged, pair_weights, pairs
from workbench.models import Net
from workbench.models.stored import load_net
from workbench.saliency import activation, resized


@dataclass(eq=False)
class AttentiveMix(Method):
    """The k of N cells of the row itself with the highest scores stay, the partner shows everywhere else.

    A cell's score is the mean over channels of a teacher's last feature map, at the teacher's own resolution, brought
    to the grid: averaged if it is finer, interpolated if it is coarser. k = floor(N lambda0), at least 1, with lambda0
    from Beta(alpha, beta): the row itself has a fifth of the image on average. The paper (Attentive CutMix) has k = 6
    of 49; to draw k is the "+".

    The teacher is frozen and in evaluation mode. It is read from where it is, not stored with the method: a run that
    is resumed or mixed with again needs it there. Without one, the net that is being trained scores its own images, in
    evaluation mode and before each step; that is no paper's, but needs no download and gets better as the net does.

    Where we differ from the benchmark's code (Westlake-AI/openmixup): that draws from Beta(alpha, alpha), since its
    setting `beta` reaches no argument, and so keeps half of the row; its teacher is in training mode, which makes the
    scores of an image depend on the others and moves the teacher's batch norms; and it enlarges every image to 224
    pixels for the teacher (`teacher_size=224`; at 32 pixels that triples the price). The code of a third party that is
    in use for the paper reads one channel instead of their mean. k is one a row; `mode="batch"`: one a batch, as there.
    """

    paper = Paper(
        "Attentive CutMix: An Enhanced Data Augmentation Approach for Deep Learning Based Image Classification",
        "Walawalkar, Shen, Liu, Savvides",
        "ICASSP 2020",
        "2003.13048",
    )
    family: ClassVar[str] = "saliency"
    needs_net = True

    alpha: Annotated[float, Range(0.05, 20)] = 2.0
    """First parameter of the Beta distribution of the share that the row itself keeps."""
    beta: Annotated[float, Range(0.05, 20)] = 8.0
    """Its second parameter; the mean is alpha / (alpha + beta)."""
    grid: Annotated[int, Range(1, 64)] = 7
    """Cells along each side of the image; the paper's 7 are what a ResNet makes of 224 pixels. The nearest number that
    divides the side is taken, so that cells are alike and lambda = k / N: of 32 pixels, 8 cells of 4."""
    teacher: str | None = None
    """Who scores: a model of timm (its pretrained weights are then downloaded), the folder of a finished run, or, left
    out, the net that is being trained."""
    teacher_size: Annotated[int, Range(0, 1024)] = 0
    """Side in pixels for which a teacher of timm is built; images are resized to it. 0: the side of the images."""
    mode: Mode = "sample"
    """One k a sample, or one for the whole batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_net = self.teacher is None
        # Within a tuple it is no submodule: no mode, optimiser or state dict reaches it.
        self._loaded: tuple[Net, ...] = ()

    def attach(self, net: Net) -> None:
        if self.teacher is not None:
            self._loaded = (load_teacher(self.teacher, net.channels, self.teacher_size or net.size),)

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        rows, columns = (cells_of(side, self.grid) for side in x.shape[2:])
        # A share of k / N must give k, and times N it can come out just below.
        kept = (self._shares(draw, len(x)) * (rows * columns) + 1e-6).astype(np.int64).clip(1)
        source, kept_cells = send(x.device, pairs(draw.partner(len(x))), kept)
        mask = top_cells(to_grid(self._scores(x, net), rows, columns), kept_cells)
        wide = enlarged(mask, x.shape[2:])
        return Mixed(blend(x, source[:, 1], wide), source, pair_weights(wide.mean((1, 2, 3))), mask)

    def _shares(self, draw: Draw, n: int) -> np.ndarray:
        """(n,) the wished share of the row itself."""
        if draw.pinned_lam is not None:
            return np.full(n, draw.pinned_lam)
        return draw.spread(draw.rng.beta(self.alpha, self.beta, n if self.mode == "sample" else 1), n)

    def _scores(self, x: Tensor, net: Net | None) -> Tensor:
        """(B, h, w) scores by the teacher, which sees images at its own size, or by the net."""
        if self.teacher is None:
            if net is None:
                raise UsageError("AttentiveMix: give mix the net that scores the images, or a teacher as parameter")
            return activation(net, x)
        if not self._loaded:
            self._loaded = (load_teacher(self.teacher, x.shape[1], self.teacher_size or x.shape[2]),)
        teacher = self._loaded[0]
        if teacher.mean.device != x.device:
            teacher.to(x.device)
        return activation(teacher, resized(x, (teacher.size, teacher.size)))


def cells_of(side: int, wished: int) -> int:
    """The number of equal cells along a side that comes nearest to `wished`, from half to double of it; where no such
    number divides the side, `wished` cells, that differ by a pixel."""
    equal = [cells for cells in range(1, side + 1) if side % cells == 0 and wished <= 2 * cells <= 4 * wished]
    return min(equal, key=lambda cells: abs(cells - wished), default=min(wished, side))


def top_cells(scores: Tensor, k: Tensor) -> Tensor:
    """(B, 1, h, w) float32: 1 on the k (B,) cells of highest score (B, h, w), 0 elsewhere; of equal cells the first."""
    order = scores.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(1)
    return (rank < k[:, None]).float().view_as(scores)[:, None]


def to_grid(scores: Tensor, rows: int, columns: int) -> Tensor:
    """(B, rows, columns) from (B, h, w): a coarser map is interpolated between its centres, a finer one averaged."""
    return resized(scores[:, None], (rows, columns))[:, 0]


def load_teacher(name: str, channels: int, size: int) -> Net:
    """A frozen net in evaluation mode, on the CPU: timm's pretrained weights by name, for images of `channels` and
    `size`, or the net of a run folder, which keeps the size it was trained with."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn before the stored ones replace them
        teacher = _pretrained(name, channels, size) if name.split(".")[0] in timm.list_models() else _of_run(name)
    if teacher.channels != channels:
        got = f"{name} has one of {teacher.channels}"
        raise UsageError(
            f"AttentiveMix needs a teacher of images with {channels} channels, {got}; give another teacher"
        )
    return teacher.eval().requires_grad_(False)


def _pretrained(name: str, channels: int, size: int) -> Net:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the model has not
        known = ", ".join(timm.list_pretrained(f"{name.split('.')[0]}.*")[:5])
        raise UsageError(f"AttentiveMix: timm has no weights {name}; there are {known}") from None
    statistics = {what: getattr(config, what) for what in ("mean", "std")} if config is not None else {}
    if channels != 3:
        statistics = {what: (sum(values) / len(values),) for what, values in statistics.items()}
    return Net(name, 1000, channels=channels, size=size, pretrained=True, **statistics)


def _of_run(folder: str) -> Net:
    if not Path(folder).exists():
        wanted = "the folder of a finished run or a pretrained model of timm, such as resnet18"
        raise UsageError(
            f"AttentiveMix: teacher must be {wanted}, got {shown(folder)}{nearest(folder, timm.list_models())}"
        )
    return load_net(folder)

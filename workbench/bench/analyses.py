"""What analyses cost, as multiples of the plain work that they can't do without, or of a library that does the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from workbench.analysis.attribution import attribute
from workbench.analysis.calibration import bin_table, calibration
from workbench.analysis.curvature import Curvature, PyHessian, differentiable
from workbench.analysis.inputs import Examples
from workbench.analysis.landscape import landscape
from workbench.analysis.probabilities import scores_of
from workbench.analysis.robustness.corruptions import CORRUPTIONS, corrupt
from workbench.analysis.robustness.draws import generator
from workbench.bench.mixing import batch
from workbench.bench.timing import check_counts, clock, headline, interleaved, spread, warm_heap, write_table
from workbench.models import Net
from workbench.runs.folder import make_folder

LOGITS = (50_000, 1000)
POINTS = 5


class Pair(NamedTuple):
    """Ours, and what it is held against."""

    what: str
    against: str
    ours: Callable[[], Any]
    other: Callable[[], Any]


def bench_analyses(
    rounds: int = 3, out: str | Path = "out/bench", *, logits: tuple[int, int] = LOGITS, side: int = 224, rows: int = 32
) -> str:
    """Time ours and the other in turn and report the ratio of each round; returns a table, writes `analyses.csv`.

    logits: samples and classes of the calibration error. side, rows: of the images of Grad-CAM; corruptions have 4
    times as many images of 32 pixels, a landscape 8 times, the eigenvalue twice as many.
    """
    check_counts(rounds=rounds, side=side, rows=rows, samples=logits[0], classes=logits[1])
    heap, device = warm_heap(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make_folder(Path(out))
    table = pd.DataFrame([_measured(pair, rounds, device) for pair in _pairs(logits, side, rows, device)])
    write_table(table, Path(out) / "analyses.csv", device, heap=heap)
    return _text(table, headline(device, heap=heap))


def _measured(pair: Pair, rounds: int, device: torch.device) -> dict[str, Any]:
    works = {"ours": pair.ours, "other": pair.other}
    for work in works.values():
        work()
    seconds = interleaved(list(works), rounds, pair.what, lambda name, _index: clock(works[name], device))
    ratios = [ours / other for ours, other in zip(seconds["ours"], seconds["other"], strict=True)]
    return {"analysis": pair.what, "against": pair.against, **spread(ratios), "rounds": rounds}


def _pairs(logits: tuple[int, int], side: int, rows: int, device: torch.device) -> Iterator[Pair]:
    """One after the other, so that what one needs is gone before the next is built."""
    yield from _calibration(*logits)
    yield _grad_cam(side, rows, device)
    yield _corruptions(4 * rows, device)
    yield _landscape(8 * rows, device)
    yield _eigenvalue(2 * rows, device)


def _net(name: str, side: int, device: torch.device) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(name, 10, mean=[0.5] * 3, std=[0.25] * 3, size=side).to(device).eval()


def _examples(rows: int, device: torch.device) -> Examples:
    x, y = batch(32, rows, device)
    return Examples(x.cpu(), y.cpu() % 10)


def _calibration(samples: int, classes: int) -> Iterator[Pair]:
    from torchmetrics.functional.classification import multiclass_calibration_error

    numbers = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(samples, classes, generator=numbers)
    y = (z - torch.rand(z.shape, generator=numbers).log().neg_().log_()).argmax(1)  # drawn from the softmax of z
    edges = np.linspace(0, 1, 16)

    def error_alone() -> None:
        scores = scores_of(z.numpy(), y.numpy())
        bin_table(scores["confidence"], scores["right"], edges)

    other = "torchmetrics' calibration error"
    for what, ours in (("calibration error", error_alone), ("calibration, all of it", lambda: calibration(z, y))):
        yield Pair(
            f"{what}, {samples} x {classes}",
            other,
            ours,
            lambda: multiclass_calibration_error(z, y, classes, n_bins=15),
        )


def _grad_cam(side: int, rows: int, device: torch.device) -> Pair:
    from captum.attr import LayerGradCam

    net = _net("resnet18", side, device)
    x, y = batch(side, rows, device)
    library = LayerGradCam(net, net.backbone.layer4)
    return Pair(
        f"Grad-CAM, {rows} images of {side} pixels",
        "captum's LayerGradCam, enlarged",
        lambda: attribute(net, x, y % 10, "gradcam"),
        lambda: F.interpolate(library.attribute(x, y % 10, relu_attributions=True), (side, side), mode="bilinear"),
    )


def _corruptions(rows: int, device: torch.device) -> Pair:
    x, _ = batch(32, rows, device)

    def together() -> None:
        for kind in CORRUPTIONS:
            corrupt(x, kind, 3, generator(0, kind))

    def one_by_one() -> None:
        for kind in CORRUPTIONS:
            for i in range(len(x)):
                corrupt(x[i : i + 1], kind, 3, generator(0, kind, i))

    return Pair(f"15 corruptions of {rows} images", "the same, image by image", together, one_by_one)


def _landscape(rows: int, device: torch.device) -> Pair:
    net, data = _net("resnet18", 32, device), _examples(rows, device)

    def plain() -> None:
        with torch.no_grad():
            for _ in range(POINTS):
                for x, y in data.batches(rows, device):
                    F.cross_entropy(net(x), y)

    return Pair(
        f"landscape, {POINTS} points",
        f"{POINTS} evaluations of its images",
        lambda: landscape([("net", net)], data, points=POINTS, images=len(data)),
        plain,
    )


def _eigenvalue(rows: int, device: torch.device) -> Pair:
    """The products that the top eigenvalue takes are counted first, and as many bare ones are the measure."""
    net, data = _net("resnet8", 32, device), _examples(rows, device)

    def found() -> int:
        with differentiable(net):
            library = PyHessian(Curvature(net, data), 0, lambda: None)
            library.eigenvalues(1)
            return len(library.quotients)

    products = found()

    def bare() -> None:
        with differentiable(net):
            curvature = Curvature(net, data)
            vector: Sequence[torch.Tensor] = [torch.ones_like(p) for p in curvature.weights]
            for _ in range(products):
                curvature.times(vector)

    return Pair("top eigenvalue", f"its {products} Hessian-vector products", found, bare)


def _text(table: pd.DataFrame, head: str) -> str:
    lines = [
        f"{row['analysis']:42s} {row['ratio']:6.2f} ({row['lowest']:.2f} to {row['highest']:.2f}) of {row['against']}"
        for row in table.to_dict("records")
    ]
    return "\n".join([head, *lines])

"""Where do nets look? Maps of several nets on the same images, and how well the maps point at the object.

One kind of map (`attribution.MAPS`) for the logit of one class an image: its label, or what the net predicts. Scores
against the object's mask where the data knows it (`faithfulness.mask_scores`); always insertion and deletion curves
(Petsiuk et al., arXiv:1806.07421): the probability of the class while pixels come or go in the order of the map.
Insertion starts from the image blurred with a standard deviation of a twentieth of its side; deletion ends in the mean
colour of the net's training data. A good map has a high area under insertion and a low one under deletion.

R nets, N images, C channels, H W pixels, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.analysis import faithfulness
from workbench.analysis.attribution import MAPS, attribute, blank, to_unit
from workbench.analysis.base import Result
from workbench.analysis.chunks import chunk_of
from workbench.analysis.inputs import Data, Examples, device_of, examples
from workbench.analysis.pace import progress, warm
from workbench.analysis.side_by_side import Nets, check_nets
from workbench.config import choose, whole
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STEPS = 20
"""Points of the insertion and deletion curves after the first."""
SCORES = ("pointing", "energy", "iou", "insertion", "deletion")
TARGETS = {"label": "the image's label", "prediction": "the class that the net predicts"}


@dataclass(frozen=True)
class Cam(Result):
    """Images, maps and scores. Scores are from 0 to 1; those against masks are nan where no object is known."""

    name: str
    runs: tuple[str, ...]
    """(R,) names of the nets."""
    kind: str
    """A key of `attribution.MAPS`."""
    target: str
    images: np.ndarray
    """(N, C, H, W) uint8."""
    labels: np.ndarray
    """(N,) class ids."""
    classes: tuple[str, ...]
    """Names of the classes; empty where the data has none."""
    masks: np.ndarray
    """(N, H, W) uint8, 1 on the object; (0, H, W) where the data has none."""
    maps: np.ndarray
    """(R, N, H, W) float32, each map's highest value being 1; one without anything above zero is zero."""
    asked: np.ndarray
    """(R, N) the class whose logit the map belongs to."""
    probability: np.ndarray
    """(R, N) of that class on the whole image."""
    pointing: np.ndarray
    """(R, N) whether the highest pixel lies on the object."""
    energy: np.ndarray
    """(R, N) share of the map's sum on the object."""
    iou: np.ndarray
    """(R, N) of the object and the map from `threshold` upwards."""
    threshold: np.ndarray
    """(R,) share of a map's highest value: the one with the best mean IoU over these images, so slightly kind."""
    share: np.ndarray
    """(S + 1,) of the pixels that have come or gone."""
    insertion_curve: np.ndarray
    """(R, N, S + 1) probability of the class."""
    deletion_curve: np.ndarray

    @property
    def insertion(self) -> np.ndarray:
        """(R, N) area under the insertion curve; high is good."""
        return faithfulness.area(self.insertion_curve, self.share)

    @property
    def deletion(self) -> np.ndarray:
        """(R, N) area under the deletion curve; low is good."""
        return faithfulness.area(self.deletion_curve, self.share)

    def class_name(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else f"class {index}"

    def to_frame(self) -> pd.DataFrame:
        """One row a net (`name`) and image: label, asked class, its probability, the scores."""
        import pandas as pd

        r, n = self.asked.shape
        columns = {
            "name": np.repeat(self.runs, n),
            "kind": self.kind,
            "image": np.tile(np.arange(n), r),
            "label": np.tile([self.class_name(int(i)) for i in self.labels], r),
            "asked": [self.class_name(int(i)) for i in self.asked.ravel()],
            "probability": self.probability.ravel(),
        }
        return pd.DataFrame(columns | {key: getattr(self, key).ravel() for key in SCORES})

    def summary(self) -> pd.DataFrame:
        """One row a net: mean and standard error (`..._se`, nan for one image) of each score over the images."""
        import pandas as pd

        rows = []
        for i, run in enumerate(self.runs):
            row = {"name": run, "kind": self.kind, "images": len(self.labels), "threshold": float(self.threshold[i])}
            for key in SCORES:
                row[key], row[f"{key}_se"] = _mean_and_error(getattr(self, key)[i])
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def height(self) -> float:
        import matplotlib

        from workbench.analysis.cam_grid import shape

        return shape(self, matplotlib.rcParams["figure.figsize"][0])

    def draw(self, ax: Axes) -> None:
        """One row an image, one column a net: the maps over the images, the outline of the object, what was asked."""
        from workbench.analysis.cam_grid import grid

        grid(ax, self)


def cam(
    nets: Nets | Net,
    data: Data,
    *,
    images: int = 8,
    kind: str = "gradcam",
    target: str = "label",
    seed: int = 0,
    name: str = "",
) -> Cam:
    """Maps of several nets, given as (name, net), or of one, on the same images.

    `kind`: a key of `attribution.MAPS`; `target`: whose logit is asked, that of the "label" or of the "prediction".
    `seed` chooses the images, and the order of pixels that a map has equal. UsageError for nets or data that don't fit.
    """
    entry = choose(MAPS, kind, "kind of map")
    choose(TARGETS, target, "target")
    if images is not None:
        images = whole("images", images, 1)
    data = examples(data, images, seed)
    nets = check_nets(nets, data)
    found = []
    with progress(len(nets) * len(data), entry.title, _seconds(nets, data, kind), unit="map") as bar:
        for _, net in nets:

            def look(start: int, number: int, net: Net = net) -> dict[str, np.ndarray]:
                part = _look(net, *data.batch(start, number, device_of(net)), kind, target, seed)
                bar.update(number)
                return part

            parts = chunk_of(net, data, 32, MAPS["gradient"].compute).over(len(data), look)
            found.append({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    looked = {key: np.stack([f[key] for f in found]) for key in found[0]}
    return Cam(
        name=name,
        runs=tuple(run for run, _ in nets),
        kind=kind,
        target=target,
        images=_bytes(data.images),
        labels=data.labels.numpy(),
        classes=tuple(data.classes),
        masks=_masks(data),
        share=np.array(_counts(data)) / _counts(data)[-1],
        **looked,
        **_against(looked["maps"], _masks(data)),
    )


def _look(net: Net, images: Tensor, labels: Tensor, kind: str, target: str, seed: int) -> dict[str, np.ndarray]:
    """Maps, asked classes, probabilities and curves of one chunk, (n, ...) each."""
    with net.probing(), torch.no_grad():
        probability = net(images).float().softmax(1)
    asked = labels if target == "label" else probability.argmax(1)
    maps = to_unit(attribute(net, images, asked, kind))
    ranks = faithfulness.order(maps, seed)
    counts = faithfulness.counts_of(images[0, 0].numel(), STEPS)

    def curve(before: Tensor, after: Tensor) -> Tensor:
        return faithfulness.perturbation_curve(net, before, after, ranks, asked, counts, len(images) * 4)

    arrays = {
        "maps": maps,
        "asked": asked,
        "probability": probability.gather(1, asked[:, None])[:, 0],
        "insertion_curve": curve(faithfulness.blurred(images), images),
        "deletion_curve": curve(images, blank(net, images).expand_as(images)),
    }
    return {key: values.cpu().numpy() for key, values in arrays.items()}


def _against(maps: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of maps (R, N, H, W) against masks (N, H, W), nan where there are none."""
    if not len(masks):
        masks = np.zeros(maps.shape[1:], np.uint8)
    scores = [faithfulness.mask_scores(m, masks) for m in maps]
    best = [faithfulness.best_threshold(iou) for _, _, iou in scores]
    return {
        "pointing": np.stack([pointing for pointing, _, _ in scores]),
        "energy": np.stack([energy for _, energy, _ in scores]),
        "iou": np.stack([iou[b] for b, (_, _, iou) in zip(best, scores, strict=True)]),
        "threshold": faithfulness.THRESHOLDS[best] if masks.any() else np.full(len(maps), np.nan),
    }


def _seconds(nets: Sequence[tuple[str, Net]], data: Examples, kind: str) -> float:
    """An estimate from one pass of each net."""
    passes = MAPS[kind].passes + 2 * (STEPS + 1) + 1
    return passes * len(data) * sum(_pass(net, data) for _, net in nets)


def _pass(net: Net, data: Examples) -> float:
    """Seconds of a forward pass of one image."""
    images = data.batch(0, 8, device_of(net))[0]
    with net.probing(), torch.no_grad():
        return warm(lambda: net(images).cpu()) / len(images)


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over the known values and its standard error; nan where there are none, or only one."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan
    return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else np.nan


def _counts(data: Examples) -> list[int]:
    return faithfulness.counts_of(data.images[0, 0].numel(), STEPS)


def _bytes(images: Tensor) -> np.ndarray:
    return (images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)).numpy()


def _masks(data: Examples) -> np.ndarray:
    return np.zeros((0, *data.images.shape[2:]), np.uint8) if data.masks is None else data.masks.numpy()

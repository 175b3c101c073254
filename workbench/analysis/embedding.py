"""What do the features look like? The penultimate features of several nets, of the same images.

One map for all nets: each net's features are brought into one frame without changing the distances within a net (see
`geometry.shared_frame`), the rows of all nets are put below each other, and one t-SNE (van der Maaten and Hinton, JMLR
2008) or UMAP (McInnes, Healy and Melville, arXiv:1802.03426) lays them out. So panels can be compared: the same place
means the same neighbours. Either shows who is near whom; distances between clusters and their sizes mean nothing, and
the numbers do not come from it.

Numbers come from the features themselves: debiased linear CKA between nets and, if asked for, their layers; alignment,
uniformity and effective rank of each net.

R nets, N images, L places (a net's features, or one of its depths).
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.analysis import geometry
from workbench.analysis.base import Result
from workbench.analysis.chunks import chunk_of
from workbench.analysis.inputs import Data, Examples, device_of, examples
from workbench.analysis.pace import Bar, progress, warm
from workbench.analysis.side_by_side import Nets, check_nets
from workbench.config import UsageError, choose, is_number, shown
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CELLS = 4
"""Cells along a side to which the maps inside a net are averaged for CKA: coarse places stay, memory is small."""
FEWEST = 4
"""Images from which debiased CKA has a value, and a map something to lay out."""
FEATURES = "features"
"""Name of the place before the last linear layer."""
VIEWS = {"map": "the shared map, a panel a net", "cka": "the matrix of CKA"}
METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
SECONDS_PER_POINT = {"tsne": 0.006, "umap": 0.004}
"""Of a map on one core, for the estimate."""
UMAP_BEGINS = 30.0
"""Seconds that UMAP takes to be imported and compiled, once a process."""


@dataclass(frozen=True)
class Embedding(Result):
    """A place for every image in every net, and numbers about the features."""

    name: str
    runs: tuple[str, ...]
    """(R,) names of the nets."""
    labels: np.ndarray
    """(N,) class ids."""
    classes: tuple[str, ...]
    """Names of the classes; empty where the data has none."""
    position: np.ndarray
    """(R, N, 2) on the shared map; its unit means nothing."""
    method: str
    """What made the map, a key of METHODS."""
    perplexity: float
    """Of the t-SNE, as used: at most a third of the points; of UMAP the number of neighbours."""
    divergence: float
    """Kullback-Leibler divergence that the t-SNE ended with; nan for UMAP."""
    place_runs: tuple[str, ...]
    """(L,) net of each row of `cka`, ..."""
    place_layers: tuple[str, ...]
    """(L,) ... and where in it: a depth, or "features"."""
    cka: np.ndarray
    """(L, L) debiased linear CKA; nan for constant features."""
    alignment: np.ndarray
    """(R,) mean squared distance of two images of a class on the unit sphere; low is good; nan where no two are
    of a class."""
    uniformity: np.ndarray
    """(R,) log mean exp(-2 distance^2) of all pairs on the unit sphere; low is good."""
    effective_rank: np.ndarray
    """(R,) exponential of the entropy of the centred features' singular values."""
    view: str = "map"
    """What `plot` draws: the "map", or the matrix of "cka"."""

    def class_name(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else f"class {index}"

    def to_frame(self) -> pd.DataFrame:
        """One row a net (`name`) and image: label and place on the map."""
        import pandas as pd

        r, n = self.position.shape[:2]
        return pd.DataFrame(
            {
                "name": np.repeat(self.runs, n),
                "image": np.tile(np.arange(n), r),
                "label": np.tile([self.class_name(int(i)) for i in self.labels], r),
                "x": self.position[..., 0].ravel(),
                "y": self.position[..., 1].ravel(),
            }
        )

    def summary(self) -> pd.DataFrame:
        """One row a net: alignment, uniformity, effective rank, and the CKA of its features with the first net's."""
        import pandas as pd

        features = [i for i, place in enumerate(self.place_layers) if place == FEATURES]
        return pd.DataFrame(
            {
                "name": self.runs,
                "images": len(self.labels),
                "alignment": self.alignment,
                "uniformity": self.uniformity,
                "effective_rank": self.effective_rank,
                "cka_with_first": self.cka[features[0], features],
            }
        )

    def cka_frame(self) -> pd.DataFrame:
        """One row a pair of places: name, layer, other_name, other_layer, cka."""
        import pandas as pd

        count = len(self.place_runs)
        return pd.DataFrame(
            {
                "name": np.repeat(self.place_runs, count),
                "layer": np.repeat(self.place_layers, count),
                "other_name": np.tile(self.place_runs, count),
                "other_layer": np.tile(self.place_layers, count),
                "cka": self.cka.ravel(),
            }
        )

    @property
    def height(self) -> float:
        from workbench.analysis.embedding_plot import height

        return height(self)

    def figures(self) -> Mapping[str, Callable[[], Axes]]:
        """The other view; the matrix of CKA where it has more than one place."""
        other = "cka" if self.view == "map" else "map"
        return {other: replace(self, view=other).plot} if other == "map" or len(self.place_runs) > 1 else {}

    def draw(self, ax: Axes) -> None:
        """The map, one panel a net and one colour a class, or the matrix of CKA; see `view`."""
        from workbench.analysis.embedding_plot import matrix, panels

        (panels if self.view == "map" else matrix)(ax, self)


def embedding(
    nets: Nets | Net,
    data: Data,
    *,
    images: int = 500,
    layers: bool = False,
    method: str = "tsne",
    perplexity: float = 30.0,
    seed: int = 0,
    view: str = "map",
    name: str = "",
) -> Embedding:
    """The features of several nets, given as (name, net), or of one, on the same images.

    `layers`: CKA of every named depth too. `method`: of the map, "tsne" or "umap" (`pip install workbench[umap]`).
    `perplexity`: of the t-SNE, about the neighbours that count; of UMAP, their number. `view`: what `plot` draws, "map"
    or "cka". UsageError for nets or data that don't fit, for fewer than four images, and where UMAP is not installed.
    """
    choose(VIEWS, view, "view")
    title = choose(METHODS, method, "method of the map")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise UsageError("method umap needs umap-learn, which is not here: pip install 'workbench[umap]', or take tsne")
    if not is_number(perplexity) or not perplexity >= 1:
        raise UsageError(f"perplexity must be a number from 1, got {shown(perplexity)}")
    data = examples(data, images, seed)
    if len(data) < FEWEST:
        raise UsageError(f"embedding needs at least {FEWEST} images to compare features, got {len(data)}; take more")
    nets = check_nets(nets, data)
    labels, points = data.labels.numpy(), len(nets) * len(data)
    with progress(2 * points, "embedding", _seconds(nets, data, method), unit="image") as bar:
        read = _read(nets, data, layers, bar)
        clouds = [found[FEATURES] for found in read]
        bar.set_description(f"embedding: {title}")
        points_of_all = np.concatenate(geometry.shared_frame(clouds))
        position, used, divergence = lay_out(points_of_all, perplexity, seed, method)
        bar.update(points)
    places = [(run, place) for (run, _), found in zip(nets, read, strict=True) for place in found]
    return Embedding(
        name=name,
        runs=tuple(run for run, _ in nets),
        labels=labels,
        classes=tuple(data.classes),
        position=position.reshape(len(nets), len(data), 2),
        method=method,
        perplexity=used,
        divergence=divergence,
        place_runs=tuple(run for run, _ in places),
        place_layers=tuple(place for _, place in places),
        cka=geometry.cka([geometry.gram(cloud) for found in read for cloud in found.values()]),
        alignment=np.array([geometry.alignment(cloud, labels) for cloud in clouds]),
        uniformity=np.array([geometry.uniformity(cloud) for cloud in clouds]),
        effective_rank=np.array([geometry.effective_rank(cloud) for cloud in clouds]),
        view=view,
    )


def lay_out(points: np.ndarray, perplexity: float, seed: int, method: str = "tsne") -> tuple[np.ndarray, float, float]:
    """(P, 2) float32 map of points (P, D), the perplexity (UMAP: number of neighbours) used, and the divergence left.

    It starts from the first two principal components, so little depends on the seed. At least four points.
    """
    u, s, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    plane = np.pad((u * s)[:, :2], ((0, 0), (0, max(0, 2 - len(s)))))
    start = (plane / (plane[:, 0].std() or 1)).astype(np.float32)
    layout = _umap if method == "umap" else _tsne
    return layout(points.astype(np.float32), start, perplexity, seed)


def _tsne(points: np.ndarray, start: np.ndarray, perplexity: float, seed: int) -> tuple[np.ndarray, float, float]:
    from sklearn.manifold import TSNE

    used = min(float(perplexity), (len(points) - 1) / 3)
    tsne = TSNE(2, perplexity=used, init=1e-4 * start, random_state=seed, learning_rate="auto", method="barnes_hut")
    return tsne.fit_transform(points), used, float(tsne.kl_divergence_)


def _umap(points: np.ndarray, start: np.ndarray, perplexity: float, seed: int) -> tuple[np.ndarray, float, float]:
    """With a seed UMAP works on one thread, and gives the same map again."""
    from umap import UMAP

    used, threads = max(2, min(round(perplexity), len(points) - 1)), torch.get_num_threads()
    umap = UMAP(n_neighbors=used, init=10 * start, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_jobs value")  # that a seed means one thread, as we wish
            return umap.fit_transform(points), float(used), np.nan
    finally:  # numba sets OpenMP's threads to all cores, for the whole process: a training would end with other digits
        torch.set_num_threads(threads)


def _seconds(nets: Nets, data: Examples, method: str) -> float:
    """About how long features and map will take, from a pass of a few images."""
    passes = 0.0
    for _, net in nets:
        images = data.batch(0, 8, device_of(net))[0]
        passes += warm(partial(_places, net, images, False)) / len(images)
    begins = UMAP_BEGINS if method == "umap" and "umap" not in sys.modules else 0.0
    return begins + len(data) * (passes + SECONDS_PER_POINT[method] * len(nets))


def _read(nets: Nets, data: Examples, layers: bool, bar: Bar) -> list[dict[str, np.ndarray]]:
    """Place -> (N, D) float32 features, for each net; the penultimate features come last."""
    found = []
    for _, net in nets:

        def read(start: int, number: int, net: Net = net) -> dict[str, np.ndarray]:
            part = _places(net, data.batch(start, number, device_of(net))[0], layers)
            bar.update(number)
            return part

        parts = chunk_of(net, data).over(len(data), read)
        found.append({place: np.concatenate([part[place] for part in parts]) for place in parts[0]})
    return found


def _places(net: Net, images: Tensor, layers: bool) -> dict[str, np.ndarray]:
    """Features of one chunk, in one pass."""
    kept: dict[str, Tensor] = {}

    def keeping(depth: str) -> Callable[[Tensor], Tensor]:
        def keep(h: Tensor) -> Tensor:
            kept[depth] = _coarse(net.as_map(h, depth))
            return h

        return keep

    with net.probing(), torch.no_grad(), ExitStack() as stack:
        for depth in net.depths[1:] if layers else ():
            stack.enter_context(net.edit(depth, keeping(depth)))
        features = net.embed(images).flatten(1)
    ordered = {depth: kept[depth] for depth in net.depths if depth in kept} | {FEATURES: features}
    return {place: values.float().cpu().numpy() for place, values in ordered.items()}


def _coarse(h: Tensor) -> Tensor:
    """(B, C * cells) mean of a map (B, C, h, w) in at most CELLS x CELLS cells."""
    side: tuple[Any, Any] = (min(CELLS, h.shape[2]), min(CELLS, h.shape[3]))
    return F.adaptive_avg_pool2d(h.float(), side).flatten(1)

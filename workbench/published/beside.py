"""Own finished runs beside published numbers: how far off, how sure, and what was done differently.

A published accuracy q comes from m trainings (3 where the mean of three is printed, else 1) and without a spread. An
own one, p, is the mean of k seeds with sample standard deviation s. Both are shares of the images of a test set, n of
own's, N of theirs. In points, with d = p - q:

    seed error   S^2 = s^2 (1/k + 1/m)                      the published training taken to spread as own ones do
    image error  I^2 = p (100 - p) / n + q (100 - q) / N    two nets on test images drawn anew
    z = d / sqrt(S^2 + I^2)

On the very same test images the image error is smaller than that, as nets stumble over the same pictures, so z errs
towards "no difference". With one own seed, s and S are unknown (nan): z then is d / I, and |z| an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from workbench.analysis import StoredRun, analyse
from workbench.analysis.compare import Comparison
from workbench.analysis.groups import Group, group
from workbench.config import UsageError
from workbench.published import names
from workbench.published.protocol import differences, missing

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Beside:
    """An own method over its seeds, beside the published number that it comes nearest to. Accuracies, differences and
    errors in percent and points; nan where there is none."""

    label: str
    method: str
    setting: str
    """What was trained, in words."""
    seeds: int
    own: float
    own_sd: float
    """Sample standard deviation over seeds; nan for one seed."""
    published: float
    """nan if the tables have no number of this method."""
    published_epochs: float
    published_setting: str
    difference: float
    """Own minus published."""
    seed_error: float
    """S above; nan for one seed."""
    image_error: float
    """I above."""
    z: float
    differs: tuple[str, ...]
    """Fields of the protocol, each with the own and the published value."""


def beside(runs: Sequence[StoredRun], frame: pd.DataFrame) -> list[Beside]:
    """Each group of runs (a method and its settings over seeds) beside the number of `frame`, published results of one
    data set, whose protocol differs in the fewest fields, and of these the one with the nearest length of training.

    UsageError without runs, and for runs of other data sets than the frame's.
    """
    found: Comparison = analyse(list(runs), "compare")
    (dataset,) = frame["dataset"].unique()
    rows = []
    for i, own in enumerate(group(runs)):
        if names.key_of(own.config.data) != dataset:
            raise UsageError(
                f"the table is of {dataset}, run {own.items[0].name} of {own.config.data}; choose runs of one data set"
            )
        rows.append(_row(own, found, i, _nearest(own, frame)))
    return rows


def to_frame(rows: Sequence[Beside]) -> pd.DataFrame:
    """One row a group; `differs` as one text."""
    import pandas as pd

    return pd.DataFrame([asdict(row) | {"differs": "; ".join(row.differs)} for row in rows])


def z_score(
    own: float, own_sd: float, seeds: int, images: float, published: float, published_images: float, trainings: int = 1
) -> tuple[float, float, float]:
    """(seed error S, image error I, z) by the formulas on top; percent and points. S is nan for one seed, I
    and z are for an unknown number of images (nan)."""
    seed = own_sd * math.sqrt(1 / seeds + 1 / trainings) if seeds > 1 else math.nan
    image = math.sqrt(own * (100 - own) / images + published * (100 - published) / published_images)
    total = math.hypot(0 if math.isnan(seed) else seed, image)
    return seed, image, (own - published) / total if total else math.nan


def _nearest(own: Group, frame: pd.DataFrame) -> pd.Series | None:
    """The published row to stand beside."""
    rows = frame[(frame["method"] == own.method) & (frame["metric"] == "top1") & frame["preferred"]]
    if rows.empty:
        return None
    fields = [len(differences(own.config, row)) for _, row in rows.iterrows()]
    apart = [math.inf if missing(e) else abs(math.log(e / own.config.epochs)) for e in rows["epochs"]]
    return rows.iloc[min(range(len(rows)), key=lambda i: (fields[i], apart[i]))]


def _row(own: Group, found: Comparison, i: int, row: pd.Series | None) -> Beside:
    p, sd, seeds = 100 * float(found.accuracy[i]), 100 * float(found.accuracy_sd[i]), int(found.seeds[i])
    q, epochs, setting = math.nan, math.nan, ""
    differs: tuple[str, ...] = ()
    seed, image, z = math.nan, math.nan, math.nan
    if row is not None:
        q, setting, differs = float(row["value"]), row["setting"], differences(own.config, row)
        epochs = math.nan if missing(row["epochs"]) else float(row["epochs"])
        trainings = 3 if row["score_rule"] == "mean_of_best_3trials" else 1
        images = names.DATASETS[row["dataset"]].images or math.nan
        seed, image, z = z_score(p, sd, seeds, int(found.test_images[i]), q, images, trainings)
    return Beside(
        label=found.label[i], method=own.method, setting=own.setting, seeds=seeds, own=p, own_sd=sd, published=q,
        published_epochs=epochs, published_setting=setting, difference=p - q, seed_error=seed, image_error=image, z=z,
        differs=differs,
    )  # fmt: skip

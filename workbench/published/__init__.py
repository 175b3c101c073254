"""Published numbers of mixup methods, with their protocols, to stand beside one's own.

    results("cifar100", "resnet18", method="cutmix")       # a pandas table, columns as in COLUMNS["results"]
    recipes("cifar100"), hyperparameters("cifar100")       # what they were trained with
    beside.beside(runs, results("cifar100", "resnet18"))   # own runs: difference, z-score, what differs

The files lie in `data/published/`, where `data/README.md` says where they come from. Sources may disagree: every number
is kept, `preferred` tells the one to quote. In the tables that come back, texts are blank and numbers are missing
(`<NA>`, nan) where the source states nothing.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import UsageError, choose
from workbench.published import names
from workbench.published.columns import COLUMNS, DECIMAL, WHOLE, YES_NO

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "REPOSITORY", "available", "folder", "hyperparameters", "recipes", "results"]

REPOSITORY = "Westlake-AI/openmixup"
"""On GitHub; all paths in the tables are paths inside it."""


def results(
    dataset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    metric: str | None = None,
    epochs: int | None = None,
    *,
    task: str | None = None,
    setting: str | None = None,
    preferred: bool = True,
) -> pd.DataFrame:
    """The published numbers that fit all that is given, one a row; columns as in COLUMNS["results"].

    dataset, backbone: names of this project (cifar100, resnext50_32x4d), of the tables (resnext50) or as people write
    them (CIFAR-100). preferred: only the number to quote of each row; False adds what other sources say. UsageError
    where no number fits, with what there is.
    """
    frame = _read("results")
    if preferred:
        frame = frame[frame["preferred"]]
    wanted: dict[str, Any] = {
        "dataset": None if dataset is None else names.dataset(dataset, frame["dataset"].unique()),
        "backbone": None if backbone is None else names.backbone(backbone),
        "task": task,
        "setting": setting,
        "method": method,
        "metric": metric,
        "epochs": epochs,
    }
    return _narrow(frame, wanted, "published numbers").reset_index(drop=True)


def recipes(dataset: str | None = None, backbone: str | None = None, setting: str | None = None) -> pd.DataFrame:
    """What the nets were trained with, a row a setting and length; columns as in COLUMNS["recipes"]."""
    return _settings("recipes", dataset, backbone, setting, None)


def hyperparameters(
    dataset: str | None = None, backbone: str | None = None, setting: str | None = None, method: str | None = None
) -> pd.DataFrame:
    """Tuned parameters of the methods and what they change of the recipe; columns as in COLUMNS["hyperparameters"]."""
    return _settings("hyperparameters", dataset, backbone, setting, method)


def available(dataset: str | None = None) -> pd.DataFrame:
    """Which tables there are: a row for every data set, backbone and task, with its number of methods, its lengths of
    training and its number of rows (those of other sources included); the mixup benchmark first."""
    import pandas as pd

    frame = results(dataset, preferred=False)
    keys = ["dataset", "backbone", "task"]
    found = pd.DataFrame(
        [
            {
                **dict(zip(keys, key, strict=True)),
                "benchmark": (part["group"] == "mixup_benchmark").any(),
                "methods": part["method"].nunique(),
                "epochs": ", ".join(str(e) for e in sorted(part["epochs"].dropna().unique())),
                "rows": len(part),
            }
            for key, part in frame.groupby(keys, sort=False)
        ]
    )
    order = {key: i for i, key in enumerate(names.DATASETS)}
    rank = found["dataset"].map(lambda key: order.get(key, len(order)))
    found = found.assign(rank=rank).sort_values(["benchmark", "rank", "backbone"], ascending=[False, True, True])
    return found.drop(columns="rank").reset_index(drop=True)


def folder() -> Path:
    """Where the tables lie: inside the installed package, or in `data/published` of a checkout."""
    here = Path(__file__).parent
    places = (here / "tables", here.parents[1] / "data" / "published")
    for place in places:
        if (place / "results.csv").is_file():
            return place
    raise UsageError(f"expected results.csv in {' or '.join(map(str, places))}, found none; reinstall the package")


def _settings(
    table: str, dataset: str | None, backbone: str | None, setting: str | None, method: str | None
) -> pd.DataFrame:
    frame = _read(table)
    wanted = {
        "dataset": None if dataset is None else names.dataset(dataset, frame["dataset"].unique()),
        "backbone": None if backbone is None else names.backbone(backbone),
        "setting": setting,
        "method": method,
    }
    return _narrow(frame, wanted, f"published {table}").reset_index(drop=True)


def _narrow(frame: pd.DataFrame, wanted: dict[str, Any], what: str) -> pd.DataFrame:
    """The rows that fit, column by column; a mistake is told with what the rows that are left would have fitted."""
    so_far: list[str] = []
    for column, value in wanted.items():
        if value is None:
            continue
        frame = frame[frame[column] == _entry(frame[column], value, f"{column} of {' '.join([what, *so_far])}")]
        so_far.append(("on " if column == "dataset" else "") + str(value))
    return frame


def _entry(column: pd.Series, value: Any, what: str) -> Any:
    """The entry of a column that is meant: names as people write them too (CutMix). UsageError with the nearest."""
    there = column.dropna().unique()
    if column.name in WHOLE:
        if value not in there:
            near = min(there, key=lambda known: (abs(known - value), known))
            known = ", ".join(map(str, sorted(there)))
            raise UsageError(f"unknown {what} {value}; the nearest is {near} (known: {known})")
        return value
    folded = {names.fold(str(key)): key for key in there}
    exact = {str(key): key for key in there}
    return exact[value] if value in exact else folded.get(names.fold(str(value))) or choose(exact, str(value), what)


@functools.cache
def _read(table: str) -> pd.DataFrame:
    """A file with its types; kept, so it must not be written into."""
    import pandas as pd

    path = folder() / f"{table}.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(frame.columns) != list(COLUMNS[table]):
        odd = sorted(set(frame.columns) ^ set(COLUMNS[table]))
        raise UsageError(
            f"{path}: expected the columns of COLUMNS[{table!r}], differing in {', '.join(odd) or 'order'}"
        )
    for column in frame:
        if column in WHOLE:
            frame[column] = pd.to_numeric(frame[column].replace("", None)).astype("Int64")
        elif column in DECIMAL:
            frame[column] = frame[column].replace("", "nan").map(float)  # to the last digit, unlike pandas' own
        elif column in YES_NO:
            frame[column] = frame[column] == "True"
    return frame

"""What a published number was trained with, field by field, and where a run of one's own differs from it."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.config import RunConfig, is_number
from workbench.published import hyperparameters, names, recipes

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("model", "size", "epochs", "score", "batch size", "optimizer", "lr", "min lr", "schedule", "warm-up epochs",
          "weight decay", "no decay on", "momentum", "clip grad", "label smoothing", "EMA decay", "drop path",
          "precision", "augment", "start", "alpha", "lambda drawn")  # fmt: skip
"""The fields that are compared, as they are named to the reader."""

OVERRIDDEN = {"base_lr": "lr", "min_lr": "min lr", "grad_clip_norm": "clip grad", "warmup_epochs": "warm-up epochs",
              "drop_path_effective": "drop path", "weight_decay": "weight decay"}  # fmt: skip
"""Fields of a recipe that a method's row may change -> fields here."""

CROPS: Mapping[str, str] = {
    "none": "",
    "crop": "RandomCrop",
    "crop-flip": "RandomCrop + RandomHorizontalFlip",
    "auto": "RandomCrop + RandomHorizontalFlip",
}
"""Our augmentations in the words of the recipes; those data sets that the tables know are flipped."""


DECAY_FREE = {True: "biases and norms", False: "nothing"}


def differences(config: RunConfig, row: pd.Series) -> tuple[str, ...]:
    """Where a run's settings differ from the protocol of a published number (a row of the results), each as
    `epochs 20, published 200`; fields of which nothing was published are left out."""
    own, theirs = of_run(config), published(row)
    return tuple(
        f"{field} {_shown(own[field])}, published {_shown(theirs[field])}"
        for field in FIELDS
        if field in own and field in theirs and not _same(own[field], theirs[field])
    )


def of_run(config: RunConfig) -> dict[str, Any]:
    """The fields of FIELDS that a run decides."""
    optimizer = {"momentum": "sgd", "sgd": "sgd with Nesterov momentum"}.get(config.optimizer, config.optimizer)
    found: dict[str, Any] = {
        "model": names.backbone(config.model),
        "epochs": config.epochs,
        "score": config.score,
        "batch size": config.batch_size,
        "optimizer": optimizer,
        "lr": config.lr,
        "min lr": config.min_lr,
        "schedule": config.schedule,
        "warm-up epochs": config.warmup_epochs,
        "weight decay": config.weight_decay,
        "clip grad": config.clip_grad or "none",
        "EMA decay": config.ema_decay or "none",
        "drop path": config.model_args.get("drop_path_rate", 0.0),
        "precision": "fp32" if config.precision == "fp32" else "mixed",
        "augment": CROPS[config.augment],
        "start": "pretrained" if config.pretrained else "scratch",
        "no decay on": DECAY_FREE[True],  # as `RunConfig.weight_decay` says
    }
    if "sgd" in optimizer:
        found["momentum"] = config.momentum
    size = config.size or _own_size(config.data)
    return found | ({"size": size} if size else {}) | _parameters(config)


def published(row: pd.Series) -> dict[str, Any]:
    """The fields of FIELDS that are known of a published number: from its own row, the recipe of its setting, and
    what its method changes of that. A field with several documented values holds them as a set."""
    recipe, method = _recipe(row), _method(row)
    found = {
        "model": row["backbone"],
        "epochs": None if missing(row["epochs"]) else int(row["epochs"]),
        "size": None if missing(row["input_size"]) else int(row["input_size"]),
        "score": row["score_rule"] or None,
        "alpha": row["alpha"] or None,
        "lambda drawn": "once a batch" if row["group"] == "mixup_benchmark" and row["alpha"] else None,
    }
    if recipe is not None:
        found |= _of_recipe(recipe)
    found |= method
    if not missing(row["batch_size"]):
        found["batch size"] = int(row["batch_size"])
    return {field: value for field, value in found.items() if value is not None}


def _of_recipe(recipe: pd.Series) -> dict[str, Any]:
    nesterov = " with Nesterov momentum" if recipe["nesterov"] else ""
    augment = " + ".join(re.findall(r"(?:^|\+ )(\w+)", recipe["train_augment"]))
    return {
        "batch size": None if missing(recipe["batch_size_total"]) else int(recipe["batch_size_total"]),
        "optimizer": recipe["optimizer"] + nesterov,
        "lr": recipe["base_lr"],
        "min lr": None if missing(recipe["min_lr"]) else recipe["min_lr"],
        "schedule": recipe["scheduler"],
        "warm-up epochs": recipe["warmup_epochs"],
        "weight decay": recipe["weight_decay"],
        "no decay on": DECAY_FREE["bias" in recipe["no_decay_on"]],
        "momentum": float(recipe["momentum"]) if recipe["momentum"] else None,
        "clip grad": _or_none(recipe["grad_clip_norm"]),
        "label smoothing": _or_none(recipe["label_smoothing"]),
        "EMA decay": _or_none(recipe["ema_momentum"]),
        "drop path": recipe["drop_path_effective"],
        "precision": "mixed" if recipe["amp"] else "fp32",
        "augment": augment,
        "start": "scratch" if recipe["init"] == "scratch" else "pretrained",
    }


def _recipe(row: pd.Series) -> pd.Series | None:
    """The recipe of a number's setting and length of training, if there is one."""
    frame = _tables()[0]
    epochs = -1 if missing(row["epochs"]) else row["epochs"]
    fits = frame[["dataset", "backbone", "setting"]].eq(row[["dataset", "backbone", "setting"]]).all(axis=1)
    found = frame[fits & (frame["epochs"] == epochs)]
    return None if found.empty else found.iloc[0]


def _method(row: pd.Series) -> dict[str, Any]:
    """What the method's own rows change of the recipe: those of the same length where there are any."""
    frame = _tables()[1]
    keys = ["dataset", "backbone", "setting", "method", "variant"]
    found = frame[frame[keys].eq(row[keys]).all(axis=1)]
    exact = found[found["epochs"].eq(row["epochs"]).fillna(False)] if not missing(row["epochs"]) else found[:0]
    changed: dict[str, set[float]] = {}
    for _, other in (found if exact.empty else exact).iterrows():
        pairs = dict(part.split("=", 1) for part in other["recipe_overrides"].split(";") if part)
        special = other["weight_decay_special"]
        pairs |= {} if missing(special) else {"weight_decay": str(special)}
        for field, value in pairs.items():
            if field in OVERRIDDEN:
                changed.setdefault(OVERRIDDEN[field], set()).add(float(value))
    return {field: values.pop() if len(values) == 1 else values for field, values in changed.items()}


def _parameters(config: RunConfig) -> dict[str, Any]:
    """Alpha as the tables print it, how often lambda is drawn, and label smoothing, from the run's settings and the
    method's defaults."""
    from workbench.methods import METHODS

    kind = METHODS.get(config.method)
    own = {f.name: f.default for f in dataclasses.fields(kind)} if kind and dataclasses.is_dataclass(kind) else {}
    own |= config.params
    alphas = [value for key, value in own.items() if "alpha" in key and is_number(value)]
    smoothing = own.get("label_smoothing", 0.0) if config.label_smoothing is None else config.label_smoothing
    found = {"label smoothing": smoothing or "none"}
    found |= {"alpha": ",".join(f"{alpha:g}" for alpha in alphas)} if alphas else {}
    drawn = {"sample": "for every image", "batch": "once a batch"}.get(str(own.get("mode")))
    return found | ({"lambda drawn": drawn} if drawn else {})


def _own_size(data: str) -> int | None:
    """Side of the images of one of our data sets."""
    from workbench.data import DATASETS

    entry = DATASETS.get(data.partition(":")[0])
    return None if entry is None else entry.size


@functools.cache
def _tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return recipes(), hyperparameters()


def missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _or_none(value: float) -> float | str:
    return "none" if missing(value) else value


def _same(own: Any, theirs: Any) -> bool:
    if isinstance(theirs, set):
        return any(_same(own, value) for value in theirs)
    if isinstance(own, str) and isinstance(theirs, str) and re.fullmatch(r"[\d.,]+", own + theirs):
        return [float(part) for part in own.split(",")] == [float(part) for part in theirs.split(",")]
    if is_number(own) and is_number(theirs):
        return math.isclose(own, theirs, rel_tol=1e-9)
    return bool(own == theirs)


def _shown(value: Any) -> str:
    if isinstance(value, set):
        return " or ".join(_shown(v) for v in sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"

"""Analyses: one question each, from stored runs or from plain arrays.

    analyse(run, "calibration", bins=10)     # a result, kept in the run's folder for the next time
    analyse([run, run, ...], "compare")      # one result over several runs
    calibration.calibration(logits, labels)  # the same mathematics on anybody's arrays

This file alone knows runs; the modules beside it take arrays and return frozen results with `.to_frame()` and
`.plot(ax=None)`.

To add an analysis, say `sharpness`:
1. write `analysis/sharpness.py`: a frozen dataclass that extends `base.Result` (fields: arrays, numbers, texts), and a
   pure function `sharpness(...)` that returns it, its options keyword-only and plain values;
2. add it to ANALYSES below, with what it needs of a run (an entry of NEEDS; write a new one if none fits);
3. add a row of small inputs to SETTINGS in `tests/analysis/test_contract.py`, and an independent check of the numbers
   in `tests/analysis/test_sharpness.py`. The contract test names whatever is missing.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from workbench.analysis import base, calibration, compare
from workbench.analysis.base import Result, StoredRun
from workbench.config import RunFailed, UsageError, choose, nearest

__all__ = ["ANALYSES", "NEEDS", "Analysis", "Need", "Result", "StoredRun", "analyse", "score"]


@dataclass(frozen=True)
class Need:
    """What an analysis takes from a run: how to get it, and the file of the run folder that it comes from."""

    fetch: Callable[[StoredRun], tuple]
    file: str


@dataclass(frozen=True)
class Analysis:
    """A row of the table."""

    compute: Callable[..., Result]
    result: type[Result]
    summary: str
    needs: str
    """An entry of NEEDS; or "scores" for an analysis over several runs, which is not cached."""
    version: int = 1
    """Raised when the same input gives other numbers than before, so that older caches are not read."""


NEEDS: Mapping[str, Need] = {"predictions": Need(lambda run: _predictions(run), "predictions.npz")}

ANALYSES: Mapping[str, Analysis] = {
    "calibration": Analysis(
        calibration.calibration,
        calibration.Calibration,
        "do the probabilities mean what they say: ECE, MCE, signed gap, Brier, NLL, temperature",
        needs="predictions",
    ),
    "compare": Analysis(
        compare.compare,
        compare.Comparison,
        "accuracy, calibration and cost by method, with spread over seeds and differences to vanilla",
        needs="scores",
    ),
}


def analyse(run: StoredRun | Sequence[StoredRun], name: str, **options: Any) -> Any:
    """The result of an analysis on a run, computed once and then read from its folder.

    With several runs: one result where the analysis compares runs, otherwise a list with one a run. `options` are
    those of the analysis's function. UsageError for an unknown name or option, or a run that lacks what is needed.
    """
    entry = choose(ANALYSES, name, "analysis")
    runs = list(run) if isinstance(run, Sequence) else [run]
    if entry.needs == "scores":
        _options(entry, name, options)
        return entry.compute([score(r) for r in runs], **options)
    chosen = _options(entry, name, options)
    results = [_cached(r, name, entry, chosen) for r in runs]
    return results if isinstance(run, Sequence) else results[0]


def score(run: StoredRun) -> compare.Score:
    """What a finished run came to, its calibration error included. UsageError if it has not finished."""
    result = run.result
    if not result or "accuracy" not in result:
        raise UsageError(f"run {run.name} has no result yet; resume it, or leave it out")
    return compare.Score(
        config=run.config,
        accuracy=float(result["accuracy"]),
        ece=analyse(run, "calibration").ece,
        seconds_per_step=_number(result.get("seconds_per_step")),
        memory_bytes=_number(result.get("memory_bytes")),
        test_images=int(result["test_images"]),
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _predictions(run: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = run.predictions()
    return logits, labels


def _options(entry: Analysis, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the analysis, the defaults filled in, so that `bins=15` and nothing are one cache entry."""
    known = {
        p.name: p.default
        for p in inspect.signature(entry.compute).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "name"
    }
    for key in given:
        if key not in known:
            raise UsageError(f"{name} has no option {key!r}{nearest(key, known)}")
    return known | dict(given)


def _cached(run: StoredRun, name: str, entry: Analysis, options: Mapping[str, Any]) -> Result:
    """The stored result if it was made from these options and this file; otherwise a new one, stored if possible."""
    need = choose(NEEDS, entry.needs, "need of an analysis")
    source = Path(run.path) / need.file
    if not source.is_file():
        raise UsageError(f"run {run.name} has no {need.file}, which {name} needs; finish it with `workbench resume`")
    path = Path(run.path) / "analysis" / f"{name}-{_digest(source, entry.version, options)}.npz"
    found = _read(entry.result, path)
    if found is None:
        found = entry.compute(*need.fetch(run), **options, name=run.name)
        try:
            base.save(found, path)
        except (OSError, RunFailed) as error:  # a full disk, a folder that may only be read
            warnings.warn(f"{name} of {run.name} is not kept for the next time: {error}", stacklevel=3)
    return replace(cast(Any, found), name=run.name)  # every result of one run has a name


def _digest(source: Path, version: int, options: Mapping[str, Any]) -> str:
    with source.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps([version, content, options], sort_keys=True).encode()).hexdigest()[:12]


def _read(kind: type[Result], path: Path) -> Result | None:
    """A stored result, or None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return base.load(kind, path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path.name} is damaged and is made again: {error}", stacklevel=4)
        return None

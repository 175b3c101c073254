"""Analyses: one question each, from stored runs or from plain arrays.

    analyse(run, "calibration", bins=10)     # a result, kept in the run's folder for the next time
    analyse([run, run, ...], "compare")      # one result over several runs
    stored(runs, "hessian")                  # what was found already; never computes, needs no net
    calibration.calibration(logits, labels)  # the same mathematics on anybody's arrays

Runs are known here, in `needs` (what an analysis takes of one) and in `cache` (results in its folder); all other
modules take arrays and return frozen results with `.to_frame()` and `.plot(ax=None)`.

To add an analysis, say `sharpness`:
1. write `analysis/sharpness.py`: a frozen dataclass that extends `base.Result` (fields: arrays, numbers, texts), and a
   pure function `sharpness(...)` that returns it, its options keyword-only and plain values;
2. add it to ANALYSES in `table.py`, with what it needs of a run: `predictions`: logits and labels; `net`: a net and
   the test images (see `inputs`); `method`: the method too; `nets`: several runs' nets by name, and their images;
3. add a row of small inputs to SETTINGS in `tests/analysis/settings.py`, and an independent check of the numbers
   in `tests/analysis/test_sharpness.py`. The contract test names whatever is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.analysis import compare, ranking
from workbench.analysis.base import Result, StoredRun
from workbench.analysis.cache import cached, stored
from workbench.analysis.needs import hardware, predictions, settings_beside
from workbench.analysis.options import complete
from workbench.analysis.table import ANALYSES, Analysis
from workbench.config import UsageError, choose

__all__ = ["ACROSS", "ANALYSES", "Analysis", "Result", "StoredRun", "analyse", "score", "stored"]


def analyse(run: StoredRun | Sequence[StoredRun], name: str, **options: Any) -> Any:
    """The result of an analysis on a run, computed once and then read from its folder.

    With several runs: one result where the analysis compares runs, otherwise a list with one a run. `options` are
    those of the analysis's function; some are taken from the run where they are left out (`Analysis.of_run`).
    UsageError for an unknown name or option, or a run that lacks what is needed.
    """
    entry = choose(ANALYSES, name, "analysis")
    runs = list(run) if isinstance(run, Sequence) else [run]
    if entry.needs in ACROSS:
        complete(entry.compute, name, options)
        beside = settings_beside(runs)
        return entry.compute([replace(ACROSS[entry.needs](r), beside=beside) for r in runs], **options)
    if entry.joint:
        return cached(runs, name, entry, complete(entry.compute, name, options))
    asked = [{key: getattr(r.config, key) for key in entry.of_run} | options for r in runs]
    chosen = [complete(entry.compute, name, one) for one in asked or [options]]
    results = [cached([r], name, entry, one) for r, one in zip(runs, chosen, strict=False)]
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
        hardware=hardware(run),
    )


def outcome(run: StoredRun) -> ranking.Outcome:
    """What a finished run got right, test image by test image."""
    logits, labels = predictions(run)
    return ranking.Outcome(run.config, logits.argmax(1) == labels)


ACROSS: Mapping[str, Callable[[StoredRun], Any]] = {"scores": score, "outcomes": outcome}
"""What an analysis over several runs takes of each."""


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)

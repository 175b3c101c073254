"""Analyses: one question each, from stored runs or from plain arrays.

    analyse(run, "calibration", bins=10)     # a result, kept in the run's folder for the next time; or its path
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
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np

from workbench.analysis import compare, ranking
from workbench.analysis.base import Result, StoredRun
from workbench.analysis.cache import kept_result, new_result, stored
from workbench.analysis.needs import hardware, predictions, settings_beside
from workbench.analysis.options import complete
from workbench.analysis.pace import progress
from workbench.analysis.table import ANALYSES, Analysis
from workbench.config import UsageError, choose, naming, shown

__all__ = ["ACROSS", "ANALYSES", "Analysis", "Result", "StoredRun", "analyse", "score", "stored"]

T = TypeVar("T")
AnyRun: TypeAlias = StoredRun | str | Path
"""A run, or the path of its folder."""


def analyse(run: AnyRun | Sequence[AnyRun], name: str, **options: Any) -> Any:
    """The result of an analysis on a run, or on the path of its folder; computed once and then read from there.

    With several runs: one result where the analysis compares runs, otherwise a list with one a run. `options` are
    those of the analysis's function; some are taken from the run where they are left out (`Analysis.of_run`).
    UsageError for an unknown name or option, no run, or one that lacks what is needed, which is then named.
    """
    entry = choose(ANALYSES, name, "analysis")
    alone = isinstance(run, str) or not isinstance(run, Sequence)
    runs = [_opened(one) for one in cast("Sequence[AnyRun]", [run] if alone else run)]
    if not runs:
        raise UsageError(f"{name} needs at least one finished run, got none")
    if entry.needs in ACROSS:
        asked, beside = complete(entry.compute, name, options), settings_beside(runs)
        looked = _each(runs, ACROSS[entry.needs], name, named=len(runs) > 1)
        return entry.compute([replace(one, beside=beside) for one in looked], **asked)
    if entry.joint:
        asked = complete(entry.compute, name, options)
        found = kept_result(runs, name, entry, asked)
        return new_result(runs, name, entry, asked) if found is None else found
    results = _of_each(runs, name, entry, options)
    return results[0] if alone else results


def _opened(run: AnyRun) -> StoredRun:
    """A run, from the path of its folder too."""
    if isinstance(run, str | Path):
        from workbench.runs import Run

        return Run(run)
    if not hasattr(run, "path"):
        raise UsageError(f"expected a run, such as Run('out/runs/...'), or the path of its folder, got {shown(run)}")
    return run


def _each(runs: Sequence[StoredRun], look: Callable[[StoredRun], T], what: str, named: bool) -> list[T]:
    """What is found of each run, with a bar over them, whose first one tells how long the others will take. `named`: a
    mistake in one says in which."""
    found = []
    with progress(len(runs), what, unit="run") as bar:
        for run in runs:
            with naming(f"run {run.name}") if named else nullcontext():
                found.append(look(run))
            bar.update()
    return found


def _of_each(runs: Sequence[StoredRun], name: str, entry: Analysis, options: Mapping[str, Any]) -> list[Result]:
    """A result of each run; those that are stored cost no time, and count for none in the estimate."""

    def asked(run: StoredRun) -> dict[str, Any]:
        return complete(entry.compute, name, {**{key: getattr(run.config, key) for key in entry.of_run}, **options})

    complete(entry.compute, name, options)  # a mistake here is of no run
    several = len(runs) > 1
    found = dict(_each(runs, lambda run: (run.path, kept_result([run], name, entry, asked(run))), name, several))
    missing = {run.path: run for run in runs if found[run.path] is None}
    made_now = _each(list(missing.values()), lambda run: new_result([run], name, entry, asked(run)), name, several)
    found |= dict(zip(missing, made_now, strict=True))
    return [cast(Result, found[run.path]) for run in runs]


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

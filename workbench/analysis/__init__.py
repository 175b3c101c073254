"""Analyses: one question each, from stored runs or from plain arrays.

    analyse(run, "calibration", bins=10)     # a result, kept in the run's folder for the next time
    analyse([run, run, ...], "compare")      # one result over several runs
    calibration.calibration(logits, labels)  # the same mathematics on anybody's arrays

This file alone knows runs; the modules beside it take arrays and return frozen results with `.to_frame()` and
`.plot(ax=None)`.

To add an analysis, say `sharpness`:
1. write `analysis/sharpness.py`: a frozen dataclass that extends `base.Result` (fields: arrays, numbers, texts), and a
   pure function `sharpness(...)` that returns it, its options keyword-only and plain values;
2. add it to ANALYSES below, with what it needs of a run: `predictions`: logits and labels; `net`: a net and the test
   images (see `inputs`); `method`: the method too; `nets`: several runs' nets by name, and their test images;
3. add a row of small inputs to SETTINGS in `tests/analysis/test_contract.py`, and an independent check of the numbers
   in `tests/analysis/test_sharpness.py`. The contract test names whatever is missing.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import platform
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from workbench.analysis import base, compare, ranking
from workbench.analysis.base import Result, StoredRun
from workbench.config import RunFailed, UsageError, choose, nearest, shown

if TYPE_CHECKING:
    from workbench.data import ImageSet
    from workbench.methods import Method
    from workbench.models import Net
    from workbench.runs import Run

__all__ = ["ANALYSES", "NEEDS", "Analysis", "Need", "Result", "StoredRun", "analyse", "score"]


@dataclass(frozen=True)
class Need:
    """What an analysis takes from a run: how to get it, and the file of the run folder that it comes from."""

    fetch: Callable[[Any], tuple]
    file: str


@dataclass(frozen=True)
class Analysis:
    """A row of the table."""

    place: str
    """Module below this one that holds the function (named as the module) and the class of its results, ..."""
    kind: str
    """... and the name of that class. Both are imported when they are asked for: most need torch, figures do not."""
    summary: str
    needs: str
    """An entry of NEEDS, for one result a run; "nets" for one result over the nets of several runs of one data set; or
    one of ACROSS for an analysis over what several runs came to, which is not cached."""
    version: int = 1
    """Raised when the same input gives other numbers than before, so that older caches are not read."""
    of_machine: bool = False
    """Whether the numbers are the machine's too, so that they are not read on another one."""

    @property
    def compute(self) -> Callable[..., Result]:
        """The public function."""
        found: Callable[..., Result] = getattr(self._module, self.place.rpartition(".")[2])
        return found

    @property
    def result(self) -> type[Result]:
        """What it returns."""
        found: type[Result] = getattr(self._module, self.kind)
        return found

    @property
    def _module(self) -> ModuleType:
        return importlib.import_module(f"{__name__}.{self.place}")


def _predictions(run: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = run.predictions()
    return logits, labels


def _net(run: Run) -> tuple[Net, ImageSet]:
    """The net, on a GPU if there is one, and the test images."""
    return _on_device(run.net()), _test_images(run)


def _method(run: Run) -> tuple[Method, Net, ImageSet]:
    """The method with what it learned, its net, and the test images."""
    net = _on_device(run.net())
    return run.method().to(net.mean.device), net, _test_images(run)


def _on_device(net: Net) -> Net:
    import torch

    return net.to(torch.accelerator.current_accelerator(check_available=True) or "cpu")


def _test_images(run: Run) -> ImageSet:
    from workbench.data import load

    config = run.config
    return load(config.data, "test", size=config.size, damaged=config.damaged)


WEIGHTS = "weights.safetensors"
NEEDS: Mapping[str, Need] = {
    "predictions": Need(_predictions, "predictions.npz"),
    "net": Need(_net, WEIGHTS),
    "method": Need(_method, WEIGHTS),
}

ANALYSES: Mapping[str, Analysis] = {
    "calibration": Analysis(
        "calibration",
        "Calibration",
        "do the probabilities mean what they say: ECE, MCE, signed gap, Brier, NLL, temperature",
        needs="predictions",
        version=2,
    ),
    "compare": Analysis(
        "compare",
        "Comparison",
        "accuracy, calibration and cost by method, with spread over seeds and differences to vanilla",
        needs="scores",
    ),
    "ranking": Analysis(
        "ranking",
        "Ranking",
        "which method is better, beyond the luck of seeds and test images: intervals, tests, critical differences",
        needs="outcomes",
    ),
    "hessian": Analysis(
        "hessian",
        "Hessian",
        "how sharp is the minimum: top eigenvalues, trace and spectral density of the loss's Hessian",
        needs="net",
    ),
    "landscape": Analysis(
        "landscape",
        "Landscape",
        "the loss around nets along one random direction or a plane, and on the line between two of them",
        needs="nets",
    ),
    "cam": Analysis(
        "cam",
        "Cam",
        "where nets look: maps of their logits side by side, against the object's mask, insertion and deletion",
        needs="nets",
    ),
    "embedding": Analysis(
        "embedding",
        "Embedding",
        "what the features look like: one map for several nets, CKA, alignment, uniformity, effective rank",
        needs="nets",
    ),
    "robustness": Analysis(
        "robustness",
        "Robustness",
        "accuracy under the fifteen common corruptions, made here (C-style) or from the published files",
        needs="net",
    ),
    "adversarial": Analysis(
        "robustness.adversarial",
        "Adversarial",
        "accuracy under attack: FGSM and PGD, in pixel units",
        needs="net",
    ),
    "occlusion": Analysis(
        "robustness.occlusion",
        "Occlusion",
        "accuracy with patches hidden, and with patches shuffled",
        needs="net",
    ),
    "fourier": Analysis(
        "robustness.fourier",
        "Fourier",
        "error under noise of each frequency",
        needs="net",
    ),
    "ood": Analysis(
        "robustness.ood",
        "Ood",
        "does the net notice images of another data set: maximum probability and energy, AUROC, FPR95",
        needs="net",
    ),
    "fidelity": Analysis(
        "fidelity",
        "Fidelity",
        "does the label tell what can be seen: its weights against the visible share of each source's object",
        needs="method",
    ),
    "cost": Analysis(
        "cost",
        "Cost",
        "parameters, FLOPs, time and memory of one training step, beside plain training of the same net",
        needs="method",
        of_machine=True,
    ),
}


def analyse(run: StoredRun | Sequence[StoredRun], name: str, **options: Any) -> Any:
    """The result of an analysis on a run, computed once and then read from its folder.

    With several runs: one result where the analysis compares runs, otherwise a list with one a run. `options` are
    those of the analysis's function. UsageError for an unknown name or option, or a run that lacks what is needed.
    """
    entry = choose(ANALYSES, name, "analysis")
    runs = list(run) if isinstance(run, Sequence) else [run]
    if entry.needs in ACROSS:
        _options(entry, name, options)
        return entry.compute([ACROSS[entry.needs](r) for r in runs], **options)
    chosen = _options(entry, name, options)
    if entry.needs == "nets":
        return _cached(runs, name, entry, chosen)
    results = [_cached([r], name, entry, chosen) for r in runs]
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


def outcome(run: StoredRun) -> ranking.Outcome:
    """What a finished run got right, test image by test image."""
    logits, labels = _predictions(run)
    return ranking.Outcome(run.config, logits.argmax(1) == labels)


ACROSS: Mapping[str, Callable[[StoredRun], Any]] = {"scores": score, "outcomes": outcome}
"""What an analysis over several runs takes of each."""


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


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
    kinds = get_type_hints(entry.compute)
    return known | {key: _fitting(f"{name}: {key}", value, kinds[key]) for key, value in given.items()}


def _fitting(what: str, value: Any, kind: Any) -> Any:
    """The value of an option, held to its annotation; one alone stands for a list of one."""
    wanted = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in wanted:
        inner = get_args(one)
        if get_origin(one) in (Sequence, tuple, list) and inner:
            items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
            if all(_is(item, inner[0]) for item in items):
                return items if isinstance(value, list) or not isinstance(value, Sequence) else value
        elif _is(value, one):
            return value
    raise UsageError(
        f"{what} must be {' or '.join(getattr(k, '__name__', str(k)) for k in wanted)}, got {shown(value)}"
    )


def _is(value: Any, kind: Any) -> bool:
    if kind in (Any, None, type(None)):
        return kind is Any or value is None
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _cached(runs: Sequence[StoredRun], name: str, entry: Analysis, options: Mapping[str, Any]) -> Result:
    """The stored result if it was made from these options and files; otherwise a new one, stored if possible.

    A result over several runs lies in the folder of the first.
    """
    if not runs:
        raise UsageError(f"{name} needs at least one finished run, got none")
    joint = entry.needs == "nets"
    need = NEEDS["net"] if joint else choose(NEEDS, entry.needs, "need of an analysis")
    sources = [_source(run, name, need.file) for run in runs]
    learned = Path(runs[0].path) / "method.safetensors"
    sources += [learned] if entry.needs == "method" and learned.is_file() else []
    label = ", ".join(run.name for run in runs)
    about = [run.name for run in runs] if joint else _machine() if entry.of_machine else []
    path = Path(runs[0].path) / "analysis" / f"{name}-{_digest(sources, entry.version, options, about)}.npz"
    found = _read(entry.result, path)
    if found is None:
        given = _nets(runs) if joint else need.fetch(runs[0])
        with _kept_beside(path, options) as complete:
            found = entry.compute(*given, **complete, name=label)
        try:
            base.save(found, path)
        except (OSError, RunFailed) as error:  # a full disk, a folder that may only be read
            warnings.warn(f"{name} of {label} is not kept for the next time: {error}", stacklevel=3)
    return found if joint else replace(cast(Any, found), name=label)  # every result of one run has a name


@contextmanager
def _kept_beside(path: Path, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The options; those of an analysis that can keep partial results say where: beside what is stored in the end. The
    file goes when all is done, and stays where the work was broken off."""
    if options.get("keep", True):
        yield options
        return
    part = path.with_suffix(".part.npz")
    with suppress(OSError):  # a folder that may only be read: then nothing is kept, as the caller will be told
        part.parent.mkdir(exist_ok=True)
    yield {**options, "keep": str(part) if os.access(part.parent, os.W_OK) else ""}
    part.unlink(missing_ok=True)


def _source(run: StoredRun, name: str, file: str) -> Path:
    source = Path(run.path) / file
    if not source.is_file():
        raise UsageError(f"run {run.name} has no {file}, which {name} needs; finish it with `workbench resume`")
    return source


def _nets(runs: Sequence[Any]) -> tuple[list[tuple[str, Net]], ImageSet]:
    """The nets of several runs by name, and the test images that all of them were tested on."""
    settings = {(run.config.data, run.config.size) for run in runs}
    if len(settings) > 1:
        listed = "; ".join(sorted(f"{data} at {size or 'its own'} px" for data, size in settings))
        raise UsageError(f"runs of one data set and size are needed to look at them together, got {listed}")
    return [(run.name, _on_device(run.net())) for run in runs], _test_images(runs[0])


def _machine() -> list[str]:
    """What times and memory depend on."""
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    gpu = torch.cuda.get_device_name() if device is not None and device.type == "cuda" else str(device)
    return [gpu, platform.node(), platform.machine(), torch.__version__, str(torch.get_num_threads())]


def _digest(sources: Sequence[Path], version: int, options: Mapping[str, Any], about: Sequence[str] = ()) -> str:
    contents = []
    for source in sources:
        with source.open("rb") as file:
            contents.append(hashlib.file_digest(file, "sha256").hexdigest())
    content = contents[0] if len(contents) == 1 else contents
    asked = {key: value for key, value in options.items() if key != "keep"}
    key = [version, content, asked, *([list(about)] if about else [])]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _read(kind: type[Result], path: Path) -> Result | None:
    """A stored result, or None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return base.load(kind, path)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path.name} is damaged and is made again: {error}", stacklevel=4)
        return None

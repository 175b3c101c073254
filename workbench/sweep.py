"""Methods x seeds under one protocol: an experiment's YAML to run settings, and their runs, several at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from workbench.config import RunConfig, RunFailed, UsageError, from_dict, load_yaml, nearest, shown, whole
from workbench.data.bar import pause
from workbench.methods import handover
from workbench.runs import Run, prepare, resume
from workbench.runs.execute import claimable, start
from workbench.runs.folder import NAME
from workbench.runs.signs import Stopped
from workbench.runs.workers import pool, script_left_alone
from workbench.train import check

FOLDER_NAME = "a text that begins with a letter or digit and goes on with these, '.', '_' or '-'; no slash, no '..'"


@dataclass(frozen=True)
class Experiment:
    """What is compared: methods with their parameters, seeds, and the settings that all share."""

    name: str
    methods: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...] = (0,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    question: str = ""

    def configs(self) -> list[RunConfig]:
        """One run's settings for every method and seed, in the order of the methods: list slow ones first."""
        base = from_dict(self.settings, "settings")
        pairs = [(seed, method) for method in self.methods for seed in self.seeds]
        return [replace(base, method=m, params=dict(self.methods[m] or {}), seed=s) for s, m in pairs]


def load_experiment(path: str | Path) -> Experiment:
    """An experiment from YAML: keys methods (a list, or a mapping to parameters), seeds, settings, name, question.

    Every mistake in it is a UsageError that names the file.
    """
    values = load_yaml(path)
    if not isinstance(values, dict) or "methods" not in values:
        raise UsageError(f"{path}: expected a mapping with the key 'methods'")
    known = {"name", "methods", "seeds", "settings", "question"}
    for key in values:
        if key not in known:
            raise UsageError(f"{path}: unknown key {shown(key)}{nearest(str(key), known)}")
    try:
        experiment = _experiment({"name": Path(path).stem, **values})
        experiment.configs()
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return experiment


def _experiment(values: Mapping[str, Any]) -> Experiment:
    name, question, settings = values["name"], values.get("question", ""), values.get("settings", {})
    _expect(isinstance(name, str) and NAME.fullmatch(name) and ".." not in name, "name", FOLDER_NAME, name)
    _expect(isinstance(question, str), "question", "a text", question)
    _expect(isinstance(settings, dict), "settings", "a mapping of run settings", settings)
    twice = sorted({"method", "params", "seed"} & {str(key) for key in settings})
    _expect(not twice, "settings", "what all runs share; methods and seeds have keys of their own", twice)
    return Experiment(name, _methods(values["methods"]), _seeds(values.get("seeds", [0])), settings, question)


def _methods(given: Any) -> dict[str, Mapping[str, Any]]:
    """Parameters by method, from a list of methods or a mapping."""
    pairs = [(key, {}) for key in given] if isinstance(given, list) else given
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    fits = isinstance(pairs, list) and all(isinstance(k, str) and isinstance(v, dict | None) for k, v in pairs)
    expected = "one or more different methods, as a list or as a mapping to their parameters"
    _expect(fits and pairs and len({key for key, _ in pairs}) == len(pairs), "methods", expected, given)
    return {key: params or {} for key, params in pairs}


def _seeds(given: Any) -> tuple[int, ...]:
    fits = isinstance(given, list) and all(type(seed) is int for seed in given)
    expected = "a list of one or more different whole numbers, such as [0, 1, 2]"
    _expect(fits and given and len(set(given)) == len(given), "seeds", expected, given)
    return tuple(given)


def _expect(fits: object, key: str, expected: str, got: object) -> None:
    if not fits:
        raise UsageError(f"{key} must be {expected}, got {shown(got)}")


def sweep(configs: Sequence[RunConfig], root: str | Path, jobs: int = 1, progress: bool = True) -> list[Run]:
    """Train all settings, `jobs` of them at a time, each in a process apart from this one.

    Finished runs are left as they are and interrupted ones go on. A run that fails does not stop the others; the
    failures are told together at the end.
    """
    paths = _prepared(configs, root, jobs)
    train_all(paths, jobs, progress)
    return [Run(path) for path in paths]


def launch_all(configs: Sequence[RunConfig], root: str | Path, jobs: int = 1) -> list[Run]:
    """The same in a process of its own, which outlives this one; returns handles at once, to watch the runs with.

    What is done, trains already, or waits in another such process is left to itself. The process writes `sweep.log`.
    """
    handles = [Run(path) for path in _prepared(configs, root, jobs)]
    with claimable(handles) as idle:
        if idle:
            start(["workbench", "resume", *map(str, idle), "--jobs", str(jobs)], idle, Path(root) / "sweep.log")
    return handles


def _prepared(configs: Sequence[RunConfig], root: str | Path, jobs: int) -> list[Path]:
    """The run folders; all settings are checked before the first is made."""
    whole("jobs", jobs, 1)
    for config in configs:
        check(config)
    handover.packed(configs)
    return [prepare(config, root) for config in configs]


def train_all(paths: Sequence[Path], jobs: int = 1, progress: bool = True, data_root: str | None = None) -> list[Run]:
    """Train what lies in run folders, as `sweep` does."""
    whole("jobs", jobs, 1)
    handles = [Run(path) for path in {path.resolve(): path for path in paths}.values()]  # each once
    waiting = [handle for handle in handles if handle.state != "done"]
    for handle in waiting:
        check(handle.config)  # a mistake in one is told before hours go into the others
    methods = handover.packed(handle.config for handle in waiting)
    with claimable(waiting), pool(jobs) as workers:
        with script_left_alone():
            futures = [workers.submit(_work, run.path, data_root, methods) for run in waiting]
        try:
            _watch(handles, futures, progress)
        except KeyboardInterrupt:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    _tell_failures(futures)
    return handles


_interrupted = threading.Event()
"""In a worker: it was asked to end, and takes no other run that waits before it already."""


def _work(path: Path, data_root: str | None, methods: bytes) -> None:
    if _interrupted.is_set():
        raise KeyboardInterrupt
    handover.unpack(methods)
    try:
        resume(path, data_root=data_root, progress=False)
    except Stopped:
        raise
    except KeyboardInterrupt:
        _interrupted.set()
        raise


def _watch(handles: Sequence[Run], futures: Sequence[Future[None]], progress: bool) -> None:
    """One bar over the epochs of all runs, until every future is done."""
    total = sum(handle.config.epochs for handle in handles)
    often = pause(0.3)
    with tqdm(total=total, desc="training", unit="epoch", disable=not progress, mininterval=often, miniters=0) as bar:
        while True:
            finished = all(future.done() for future in futures)
            bar.n = sum(_epochs_done(handle) for handle in handles)
            active = [f"{h.label} s{h.config.seed}" for h in handles if h.state == "running"]
            bar.set_postfix_str(", ".join(active), refresh=False)
            bar.update(0)  # shows it when it is time to
            if finished:
                return
            time.sleep(0.3)


def _epochs_done(handle: Run) -> int:
    path = handle.path / "history.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def _tell_failures(futures: Sequence[Future[None]]) -> None:
    failures = list(_errors(futures))
    if not failures:
        return
    told = "; ".join(dict.fromkeys(" ".join(str(error).split()) for error in failures))
    if all(isinstance(error, UsageError) for error in failures):
        raise UsageError(told)
    raise RunFailed(f"{len(failures)} of {len(futures)} runs failed: {told}")


def _errors(futures: Sequence[Future[None]]) -> Iterator[BaseException]:
    for future in futures:
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            yield RunFailed("a training process was killed (out of memory?); run the same command to go on")
        elif error is not None:
            yield error

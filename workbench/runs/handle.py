"""`Run`: a handle on a run folder, for whoever wants to look, in any process, at any time."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.config import RunConfig, RunFailed, UsageError, is_number, load_config
from workbench.runs.folder import is_locked, read_arrays, read_json
from workbench.runs.signs import ask_to_end, is_awaited, was_asked

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from workbench.methods import Method
    from workbench.models import Net


COMPLETE = ("result.json", "weights.safetensors", "predictions.npz", "samples.npz")
REQUIRED = ("accuracy", "score", "test_images", "classes")
MEND = "`workbench resume {}` makes what is missing"


@dataclass(frozen=True)
class Run:
    """A run folder. Everything is read from disk when asked for, so a handle never goes stale."""

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))
        if not (self.path / "config.yaml").is_file():
            raise UsageError(f"{path} is no run folder: it has no config.yaml (`workbench runs` lists the runs)")

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def label(self) -> str:
        """The method's key."""
        return self.config.method

    @cached_property
    def config(self) -> RunConfig:
        """The settings, fully resolved."""
        return load_config(self.path / "config.yaml")

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch that is done, as `history.jsonl` has them."""
        import pandas as pd

        path = self.path / "history.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            return pd.DataFrame([json.loads(line) for line in lines])
        except ValueError:
            raise UsageError(f"{path} is damaged; delete it: {MEND.format(self.path)}") from None

    @property
    def result(self) -> dict[str, Any]:
        """The finished run's numbers; a UsageError if it is not finished."""
        result = read_json(self.path / "result.json")
        if not all(key in result for key in REQUIRED):
            raise UsageError(f"run {self.name} has no whole result: it is {self.state}; {MEND.format(self.path)}")
        if odd := _odd(result):
            raise UsageError(f"{self.path / 'result.json'}: {odd}; delete the file: {MEND.format(self.path)}")
        return result

    @property
    def status(self) -> dict[str, Any]:
        """The latest sign of life: state, epoch, epochs, step, steps, updated, seconds_left, message."""
        return read_json(self.path / "status.json")

    @property
    def state(self) -> str:
        """waiting (a process has it before it), running, done, or what can be resumed: failed, interrupted, or not
        begun (no process that lives is to begin it)."""
        while True:
            status = self.status  # before the lock, or a run that begins in between would pass for interrupted
            if is_locked(self.path):
                return "running"
            if self._is_complete():
                return "done"
            if status == self.status:
                return self._resting(status)

    def _resting(self, status: dict[str, Any]) -> str:
        """The state of a run that is neither done nor trains."""
        last = status.get("state", "waiting")
        if last != "waiting":
            return "failed" if last == "failed" else "interrupted"
        if is_awaited(self.path, status):
            return "waiting"
        history = self.path / "history.jsonl"
        begun = history.exists() and history.stat().st_size > 0
        return "interrupted" if begun or was_asked(self.path) else "not begun"

    def _is_complete(self) -> bool:
        """Whether everything is there that a finished run leaves; what is missing is made again by resuming."""
        result = read_json(self.path / "result.json")
        return all(key in result for key in REQUIRED) and all((self.path / file).exists() for file in COMPLETE)

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, classes) float32 logits and (N,) int64 labels of the test images."""
        stored = self._arrays("predictions.npz", ("logits", "labels"))
        logits, labels = stored["logits"], stored["labels"]
        if logits.ndim != 2 or labels.shape != logits.shape[:1]:
            got = f"logits {logits.shape} and labels {labels.shape}"
            raise UsageError(
                f"{self.path / 'predictions.npz'} must hold logits (N, classes) and labels (N,), got {got}"
            )
        return logits, labels

    def samples(self) -> dict[str, np.ndarray] | None:
        """What the method makes of a few test pictures at lambda 0.5; None if it was not stored."""
        if not (self.path / "samples.npz").exists():
            return None
        return self._arrays("samples.npz", ("sources", "mixed", "partner", "weight"))

    def _arrays(self, file: str, names: Iterable[str]) -> dict[str, np.ndarray]:
        if not (self.path / file).exists():
            raise UsageError(f"run {self.name} has no {file}: it is {self.state}; {MEND.format(self.path)}")
        stored = read_arrays(self.path / file)
        if lacking := [name for name in names if name not in stored]:
            mend = f"delete the file: {MEND.format(self.path)}"
            raise UsageError(f"{self.path / file} has no {' and no '.join(lacking)}, but {', '.join(stored)}; {mend}")
        return stored

    def net(self) -> Net:
        """The trained net, in evaluation mode, on the CPU; nothing of the data set is needed."""
        from workbench.models.stored import load_net

        return load_net(self.path)

    def method(self) -> Method:
        """The method, with what it learned, on the CPU."""
        from workbench.runs.weights import load_method

        return load_method(self)

    def trajectory(self) -> tuple[list[int], list[dict[str, Tensor]]]:
        """Epochs (0: before training) and the net's tensors by name after each of them: those that `keep_weights`
        kept, and the finished net. UsageError if none were kept."""
        from workbench.runs.weights import load_trajectory

        return load_trajectory(self)

    def wait(self, timeout: float | None = None, progress: bool = True) -> Run:
        """Wait until a run ends that trains, or that a process is to train; raises RunFailed if it does not end well,
        or no process is to begin it."""
        from tqdm.auto import tqdm

        end = None if timeout is None else time.monotonic() + timeout
        with tqdm(total=self.config.epochs, desc=self.name, unit="epoch", disable=not progress) as bar:
            while (state := self.state) in ("running", "waiting"):
                bar.update(len(self.history) - bar.n)
                if end is not None and time.monotonic() > end:
                    raise TimeoutError(f"run {self.name} is still {state} after {timeout:g} s")
                time.sleep(0.2)
            bar.update(len(self.history) - bar.n)
        if state != "done":
            begin = f"no process is to begin it; `workbench resume {self.path}` does"
            see = begin if state == "not begun" else f"see {self.path / 'log.txt'}"
            message = self.status.get("message") or see
            raise RunFailed(f"run {self.name} is {state}: {message}")
        return self

    def stop(self) -> None:
        """End a running training, which can be resumed from its last finished epoch, or have one that waits in a sweep
        not begin. Nothing happens to others. UsageError where no process can be told so from here."""
        state = self.state
        if state in ("running", "waiting"):
            ask_to_end(self.path, state == "running")

    def resume(self, progress: bool = True) -> Run:
        """Go on, in this process, from the last checkpoint."""
        from workbench.runs.execute import resume

        return resume(self.path, progress=progress)


def _odd(result: dict[str, Any]) -> str:
    """Which number of a result is none; empty where all are."""
    for key, least, most in (("accuracy", 0, 1), ("test_images", 1, float("inf"))):
        value = result[key]
        if not is_number(value) or not least <= value <= most:
            return f"{key} must be a number from {least} to {most}, got {value!r}"
    return "" if isinstance(result["classes"], list) else f"classes must be a list of names, got {result['classes']!r}"


def runs(root: str | Path = "out/runs") -> list[Run]:
    """All runs below a folder, at any depth, by name: every folder with a `config.yaml`."""
    found = []
    for place, _, files in os.walk(root):  # unlike a glob, it takes folders that vanish meanwhile
        if "config.yaml" in files:
            with suppress(UsageError):  # the file has vanished since
                found.append(Run(place))
    return sorted(found, key=lambda run: run.path)


def labelled(found: Iterable[Run]) -> dict[str, Run]:
    """Runs by name; by path where several of them have the same name."""
    found = list(found)
    count = Counter(run.name for run in found)
    return {run.name if count[run.name] == 1 else str(run.path): run for run in found}


def finished(paths: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """The finished runs in the given folders, at any depth, and of every other run a line that says why not it."""
    found, left_out = [], []
    for run in dict.fromkeys(run for path in paths for run in runs(path)):
        try:
            why = _unfinished(run)
        except (UsageError, OSError) as error:
            why = " ".join(str(error).split())
        if why:
            left_out.append(f"{run.path}: {why}")
        else:
            found.append(run)
    return found, left_out


def _unfinished(run: Run) -> str:
    """Why a run can't be shown as a finished one; empty if it can. UsageError for settings that can't be read."""
    state = run.state if run.config else ""
    if state == "done":
        _ = run.result  # tells what is wrong with its numbers
        return ""
    if state == "running":
        return state
    result = read_json(run.path / "result.json")
    if not result:
        return state
    lacking = [key for key in REQUIRED if key not in result]
    if lacking:
        return f"result.json has no {' and no '.join(lacking)}; expected {', '.join(REQUIRED)}"
    missing = [file for file in COMPLETE if not (run.path / file).exists()]
    return f"{' and '.join(missing)} missing; {MEND.format(run.path)}"

"""Processes that train: a plain script starts them, and they know the methods of one's own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from workbench.config import RunConfig, UsageError
from workbench.methods import BUILT_IN, METHODS, CutMix, Mixup, build, handover
from workbench.methods.own import register
from workbench.runs import launch
from workbench.runs.signs import Stopped
from workbench.runs.workers import script_left_alone, threads
from workbench.sweep import _work, launch_all, sweep

MODULE = '''
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from workbench import METHODS
from workbench.config import Range
from workbench.draw import send
from workbench.methods import Method, Mixed, Paper
from helpers import rows
from workbench.methods.masks import blend, pair_weights, pairs


@dataclass(eq=False)
class Halves(Method):
    alpha: Annotated[float, Range(0.05, 5)] = 1.0


@dataclass(eq=False)
class HalfMix(Halves):
    """The upper part of the image over the lower part of its partner."""

    paper = Paper("Half and half", "You", "here")
    least: Annotated[int, Range(0, 8)] = 0

    def mix(self, x, y, net, draw):
        kept = rows(draw.lam(self.alpha, len(x)), x.shape[2])
        source, kept = send(x.device, pairs(draw.partner(len(x))), kept)
        mask = (torch.arange(x.shape[2], device=x.device) < kept[:, None])[:, None, :, None]
        return Mixed(blend(x, source[:, 1], mask), source, pair_weights(kept / x.shape[2]), mask)


METHODS["halfmix"] = HalfMix
'''
SCRIPT = '''
from __future__ import annotations

import sys
from typing import Annotated

import halves
from workbench import RunConfig, launch
from workbench.config import Range
from workbench.methods.own import register
from workbench.sweep import Experiment, launch_all, sweep

@register
def faded(x, other, lam, *, share: Annotated[float, Range(0, 1)] = 0.5):
    """Never more than a share of the partner."""
    weight = 1 - share * (1 - lam)
    return weight * x + (1 - weight) * other, weight.flatten()

settings = {"data": "digits", "model": "resnet8", "size": 8, "epochs": 1, "batch_size": 512, "device": "cpu"}
methods = {"faded": {"share": 0.2}, "halfmix": {}, "decouplemix": {"base": {"method": "faded"}}}
for run in sweep(Experiment("x", methods, (0,), settings).configs(), sys.argv[1], jobs=2, progress=False):
    print(run.config.method, run.state)
runs = launch_all(Experiment("x", {"halfmix": {}}, (1,), settings).configs(), sys.argv[1])
for run in [*runs, launch(RunConfig(method="faded", seed=2, **settings), sys.argv[1])]:
    run.wait(progress=False)
    print(run.config.method, run.state)
'''


pytestmark = pytest.mark.usefixtures("own_methods")


@pytest.mark.slow
def test_a_script_without_a_guard_trains_methods_of_its_own_in_other_processes(tmp_path: Path) -> None:
    """Also those of a module that only the script's folder has, called from another folder."""
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "helpers.py").write_text("def rows(lam, height):\n    return (lam * height).round()\n")
    (tmp_path / "script" / "halves.py").write_text(MODULE)
    (tmp_path / "script" / "main.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script" / "main.py"), str(tmp_path / "runs")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=500)
    assert found.stdout.split("\n")[:-1] == [
        *("faded done", "halfmix done", "decouplemix done"),  # the sweep's
        *("halfmix done", "faded done"),  # in the background
    ], found.stderr
    kept = [path.suffix for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not {".py", ".pkl", ".pickle"} & set(kept), "a run folder holds no code"


def faded(x: Tensor, other: Tensor, lam: Tensor) -> Tensor:
    return lam * x + (1 - lam) * other


def test_what_the_runs_need_is_handed_over() -> None:
    register(faded)
    runs = [RunConfig(method="decouplemix", params={"base": "faded"}), RunConfig(method="mixup")]
    assert handover.own() == ["faded"]
    data = handover.packed(runs)
    del METHODS["faded"]
    assert handover.packed(runs[1:]) == b""
    handover.unpack(data)
    assert build("faded", alpha=0.3).alpha == 0.3
    handover.unpack(b"")
    assert set(METHODS) == {*BUILT_IN, "faded"}


def test_what_stands_for_a_method_of_ours_goes_along_too() -> None:
    METHODS["cutmix"] = type("Mine", (Mixup,), {})
    METHODS["alias"] = CutMix
    annotations = dict(CutMix.__annotations__)
    data = handover.packed([RunConfig(method="cutmix")])
    METHODS.update(BUILT_IN)
    handover.unpack(data)
    assert METHODS["cutmix"].__name__ == "Mine" and METHODS["alias"] is CutMix
    assert CutMix.__annotations__ == annotations, "ours are left as they are"


def test_what_can_not_be_handed_over_is_told(tmp_path: Path) -> None:
    lock = threading.Lock()

    @register
    def locked(x: Tensor, other: Tensor, lam: Tensor) -> Any:
        with lock:
            return lam * x + (1 - lam) * other

    with pytest.raises(UsageError, match=r"method locked can't be handed to another process \(.*lock.*`run` trains"):
        handover.packed([RunConfig(method="locked")])
    assert handover.packed([RunConfig(method="mixup")]) == b"", "nobody asked for it"
    config = RunConfig(method="locked", data="digits", model="resnet8")
    for start in (launch, lambda config, root: launch_all([config], root), lambda config, root: sweep([config], root)):
        with pytest.raises(UsageError, match="locked can't be handed"):
            start(config, tmp_path)
    assert not list(tmp_path.iterdir()), "no folder is left behind"


def test_several_processes_know_no_method_of_ones_own(tmp_path: Path) -> None:
    register(faded)
    with pytest.raises(UsageError, match="faded is a method of this process"):
        launch(RunConfig(method="faded", data="digits", model="resnet8", device="cpu"), tmp_path, processes=2)


def test_what_does_not_arrive_is_told() -> None:
    """cloudpickle sends some objects of a script by their names, e.g. a function with a cache."""
    methods = pickle.dumps((["/somewhere"], {"mine": b"cworkbench.methods\nnothing\n."}))
    with pytest.raises(UsageError, match=r"method mine can't be handed to another process \(.*nothing"):
        handover.unpack(methods)
    sys.path.remove("/somewhere")


def test_a_worker_that_was_interrupted_takes_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike one of which a single run was stopped."""
    begun: list[Path] = []

    def resume(path: Path, **_: object) -> None:
        begun.append(path)
        raise Stopped if path.name == "stopped" else KeyboardInterrupt

    monkeypatch.setattr("workbench.sweep.resume", resume)
    monkeypatch.setattr("workbench.sweep._interrupted", threading.Event())
    for name in ("stopped", "interrupted", "waiting"):
        with pytest.raises(KeyboardInterrupt):
            _work(tmp_path / name, None, b"")
    assert begun == [tmp_path / "stopped", tmp_path / "interrupted"]


def test_a_script_is_out_of_the_way_while_processes_start() -> None:
    script = sys.modules["__main__"]
    with pytest.raises(ValueError, match="on the way"), script_left_alone():
        assert sys.modules["__main__"] is not script and not hasattr(sys.modules["__main__"], "__file__")
        raise ValueError("on the way")
    assert sys.modules["__main__"] is script


@pytest.mark.parametrize(
    ("jobs", "wished", "share"),
    [(1, None, 6), (2, None, 3), (4, None, 1), (9, None, 1), (1, "2", 2), (4, "2", 1), (1, "4,2", 4), (1, "no", 6)],
)
def test_threads_are_shared_out_within_what_is_granted(
    jobs: int, wished: str | None, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wished is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wished)
    assert threads(jobs) == share

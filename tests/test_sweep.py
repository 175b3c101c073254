"""Sweeps: plans from YAML, failures told together, no training left behind by a killed sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.config import RunConfig, RunFailed, UsageError
from workbench.runs import Run, runs
from workbench.runs.folder import is_locked
from workbench.sweep import Experiment, load_experiment, sweep

SETTINGS = {"data": "digits", "model": "resnet8", "size": 8, "epochs": 1, "batch_size": 512, "device": "cpu"}


def test_a_plan_is_methods_times_seeds() -> None:
    plan = Experiment("x", {"mixup": {"alpha": 0.3}, "cutmix": {}}, (0, 5), SETTINGS).configs()
    assert [(c.method, dict(c.params), c.seed) for c in plan] == [
        ("mixup", {"alpha": 0.3}, 0),
        ("mixup", {"alpha": 0.3}, 5),
        ("cutmix", {}, 0),
        ("cutmix", {}, 5),
    ]
    assert all(c.size == 8 for c in plan)


def test_the_experiments_of_the_repository_load() -> None:
    files = sorted((Path(__file__).parent.parent / "experiments").glob("*.yaml"))
    assert len(files) >= 3
    for path in files:
        experiment = load_experiment(path)
        assert experiment.question and all(isinstance(c, RunConfig) for c in experiment.configs())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a, b]", "key 'methods'"),
        ("methods: [mixup]\nseed: [0]", "did you mean 'seeds'"),
        ("methods: [mixup]\nsettings: {epoch: 3}", "did you mean 'epochs'"),
        ("methods: [mixup\n", "not YAML"),
        ("methods: !!python/object/apply:os.getpid []", "not YAML"),
    ],
)
def test_mistakes_in_an_experiment(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_experiment(tmp_path / "e.yaml").configs()


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    plan = Experiment("x", {"mixup": {}}, (0,), SETTINGS).configs()
    broken = Experiment(
        "x", {"vanilla": {}}, (0,), {**SETTINGS, "lr": 100.0, "weight_decay": 10.0, "epochs": 9}
    ).configs()
    with pytest.raises(RunFailed, match=r"1 of 2 runs failed: .*learning rate"):
        sweep([*broken, *plan], tmp_path, jobs=1, progress=False)
    assert sorted(run.state for run in runs(tmp_path)) == ["done", "failed"]


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_training_behind(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("methods: [vanilla]\nsettings: " + str({**SETTINGS, "epochs": 5000}))
    command = [sys.executable, "-m", "workbench", "sweep", str(tmp_path / "e.yaml"), "--out", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(is_locked(run.path) for run in runs(tmp_path)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = runs(tmp_path)
    while is_locked(run.path):
        assert time.monotonic() < deadline, "the worker goes on without its sweep"
        time.sleep(0.05)
    assert Run(run.path).state == "interrupted"

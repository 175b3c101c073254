"""Sweeps: plans from YAML, failures told together, no training left behind by a killed sweep."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench.config import RunConfig, RunFailed, UsageError
from workbench.runs import Run, prepare, runs
from workbench.runs.folder import is_locked
from workbench.sweep import Experiment, _watch, launch_all, load_experiment, sweep, train_all

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
        ("methods: mixup", "methods must be one or more different methods.*got 'mixup'"),
        ("methods: []", "methods must be"),
        ("methods: {}", "methods must be"),
        ("methods:", "methods must be"),
        ("methods: [{mixup: {alpha: 1}}]", "methods must be"),
        ("methods: [mixup, mixup]", "methods must be"),
        ("methods: {mixup: 0.5}", "methods must be"),
        ("methods: {mixup: [alpha]}", "methods must be"),
        ("methods: [mixup]\nseeds: 3", "seeds must be a list of one or more different whole numbers.*got 3"),
        ("methods: [mixup]\nseeds: []", "seeds must be"),
        ("methods: [mixup]\nseeds: '12'", "seeds must be"),
        ("methods: [mixup]\nseeds: [0.5]", "seeds must be"),
        ("methods: [mixup]\nseeds: [true]", "seeds must be"),
        ("methods: [mixup]\nseeds: [1, 1]", "seeds must be"),
        ("methods: [mixup]\nseeds: [-1]", "seed must be a whole number from 0"),
        ("methods: [mixup]\nsettings: [epochs]", "settings must be a mapping"),
        ("methods: [mixup]\nsettings: {seed: 3}", "settings must be what all runs share.*'seed'"),
        ("methods: [mixup]\nsettings: {epochs: many}", "epochs must be a whole number.*got 'many'"),
        ("methods: [mixup]\nname: ../elsewhere", "name must be a text that begins"),
        ("methods: [mixup]\nname: 3", "name must be a text that begins"),
        ("methods: [mixup]\nquestion: [why]", "question must be a text"),
    ],
)
def test_mistakes_in_an_experiment(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_experiment(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_method_without_parameters_may_stand_with_nothing_behind_it(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("methods:\n  vanilla:\n  mixup: {alpha: 0.5}\n")
    experiment = load_experiment(tmp_path / "e.yaml")
    assert experiment.name == "e" and experiment.methods == {"vanilla": {}, "mixup": {"alpha": 0.5}}


@pytest.mark.parametrize("jobs", [0, -1, 1.5])
def test_no_job_at_all_is_refused_before_anything_is_written(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="jobs must be a whole number from 1"):
        sweep(Experiment("x", {"mixup": {}}, (0,), SETTINGS).configs(), tmp_path / "runs", jobs)
    assert not (tmp_path / "runs").exists()


def test_a_mistake_late_in_the_list_leaves_no_folder(tmp_path: Path) -> None:
    configs = Experiment("x", {"mixup": {}, "cutmxi": {}}, (0,), SETTINGS).configs()
    with pytest.raises(UsageError, match="did you mean 'cutmix'"):
        sweep(configs, tmp_path / "runs", progress=False)
    assert not (tmp_path / "runs").exists()


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
    (tmp_path / "e.yaml").write_text("methods: [vanilla, mixup]\nsettings: " + str({**SETTINGS, "epochs": 5000}))
    command = [sys.executable, "-m", "workbench", "sweep", str(tmp_path / "e.yaml"), "--out", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(len(run.history) for run in runs(tmp_path)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    other, run = sorted(runs(tmp_path), key=lambda run: len(run.history))
    assert (other.state, run.state) == ("waiting", "running")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while is_locked(run.path):
        assert time.monotonic() < deadline, "the worker goes on without its sweep"
        time.sleep(0.05)
    assert Run(run.path).state == "interrupted" and other.state == "not begun"


def wait_until(what: str, holds: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.slow
def test_one_in_the_background_goes_on_when_one_of_its_runs_is_stopped(tmp_path: Path) -> None:
    plan = Experiment(
        "x", {"mixup": {}, "cutmix": {}, "fmix": {}}, settings={**SETTINGS, "epochs": 300, "batch_size": 64}
    )
    configs = plan.configs()
    configs[2] = replace(configs[2], epochs=2)
    first, second, third = handles = launch_all(configs, tmp_path, jobs=1)
    try:
        assert {handle.state for handle in handles} <= {"waiting", "running"}
        wait_until("the first run trains", lambda: len(first.history))
        pid = first.status["pid"]
        launch_all(configs, tmp_path, jobs=1)  # nothing is left to start
        assert first.status["pid"] == pid and second.state == third.state == "waiting"

        second.stop()
        assert second.state == "interrupted", "it waits no more"
        first.stop()
        third.wait(timeout=300, progress=False)

        assert first.state == second.state == "interrupted"
        assert 0 < len(first.history) < 300 and not len(second.history)
        assert third.status["pid"] == pid, "trained by the same worker"
        log = tmp_path / "sweep.log"
        wait_until("the log says so", lambda: f"{second.name} was stopped; `workbench resume" in log.read_text())
    finally:
        for handle in handles:
            handle.stop()


def test_runs_of_a_sweep_that_died_say_how_they_are_begun(tmp_path: Path) -> None:
    (config,) = Experiment("x", {"mixup": {}}, settings=SETTINGS).configs()
    (handle,) = launch_all([config], tmp_path)
    os.kill(handle.status["pid"], signal.SIGKILL)
    wait_until("it is noticed", lambda: handle.state == "not begun")
    assert f"`workbench resume {handle.path}` begins it" in handle.status["message"]
    assert handle.resume(progress=False).state == "done"


def test_of_several_runs_each_is_trained_once_and_a_mistake_in_one_is_told_first(tmp_path: Path) -> None:
    good = prepare(Experiment("x", {"mixup": {}}, settings=SETTINGS).configs()[0], tmp_path)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.yaml").write_text("epoch: 3")
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        train_all([good, bad], progress=False)
    assert Run(good).state == "not begun"
    (handle,) = train_all([good, good / ".." / good.name], progress=False)
    assert handle.state == "done"


@pytest.mark.parametrize("shown_on", ["terminal", "notebook", "file"])
def test_in_a_file_the_bar_leaves_few_lines(
    shown_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    importlib.import_module("ipykernel.zmqshell")  # a script that has it is no notebook yet
    monkeypatch.setattr(sys.stderr, "isatty", lambda: shown_on == "terminal")
    if shown_on == "notebook":
        monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=object()))
    looks = iter([False] * 6 + [True] * 2)

    class Training:
        def done(self) -> bool:
            return next(looks)

    handle = Run(prepare(RunConfig(**SETTINGS), tmp_path))
    _watch([handle], [Training()], progress=True)  # type: ignore[list-item]
    shown = capsys.readouterr().err.count("training:")
    assert shown <= 2 if shown_on == "file" else shown >= 5


def test_one_in_the_background_has_nothing_to_do_where_all_is_done(tmp_path: Path) -> None:
    configs = Experiment("x", {"mixup": {}}, settings=SETTINGS).configs()
    sweep(configs, tmp_path, progress=False)
    (handle,) = launch_all(configs, tmp_path)
    assert handle.state == "done" and not (tmp_path / "sweep.log").exists()

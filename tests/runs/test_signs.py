"""Who is to begin a run: one process at most, seen by all others, and nobody once it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.config import RunConfig, RunFailed
from workbench.runs import Run, execute, prepare, signs
from workbench.runs.folder import locked
from workbench.runs.signs import claimed, leave_word, write_status

CONFIG = RunConfig(
    method="cutmix", data="digits", model="resnet8", epochs=1, size=8, batch_size=512, lr=0.1, device="cpu"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(prepare(CONFIG, tmp_path))


@pytest.fixture
def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_that_nobody_is_to_begin_does_not_wait(run: Run) -> None:
    assert run.state == "not begun"
    with pytest.raises(RunFailed, match=r"is not begun: no process is to begin it; `workbench resume .*` does"):
        run.wait(progress=False)
    run.stop()
    assert not (run.path / "stop").exists(), "it would keep the next process from training"


def test_a_run_waits_as_long_as_the_process_lives_that_is_to_begin_it(run: Run, ended: int) -> None:
    leave_word(run.path, os.getpid())
    assert run.state == "waiting"
    with pytest.raises(TimeoutError, match="still waiting"):
        run.wait(timeout=0.01, progress=False)
    leave_word(run.path, ended, run.path / "log.txt")
    assert run.state == "not begun"
    with pytest.raises(RunFailed, match=r"not begun: its process ended before it began; .*log\.txt"):
        run.wait(progress=False)


def test_of_two_that_come_at_the_same_moment_one_gets_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals: list[object] = []

    def leave_word_late(path: Path, pid: int) -> None:
        monkeypatch.undo()
        rivals.append(signs._claim(path))
        leave_word(path, pid)

    monkeypatch.setattr(signs, "leave_word", leave_word_late)
    with claimed([run.path]) as mine:
        assert mine == [run.path] and rivals == [None]


def test_what_another_process_trains_or_has_before_it_is_left_to_it(run: Run) -> None:
    with locked(run.path), claimed([run.path]) as mine:
        assert mine == []
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        leave_word(run.path, other.pid)
        with claimed([run.path]) as mine:
            assert mine == []
        run.stop()
        with claimed([run.path]) as mine:
            assert mine == [run.path], "the other will leave it, as it was asked to"


def test_what_was_claimed_and_never_begun_is_as_it_was(run: Run) -> None:
    with claimed([run.path]):
        assert run.state == "waiting"
    assert run.state == "not begun"
    write_status(run.path, "failed", message="the loss is nan")
    with pytest.raises(KeyboardInterrupt), claimed([run.path]):
        assert run.state == "waiting"
        raise KeyboardInterrupt
    assert run.state == "failed" and run.status["message"] == "the loss is nan"


def test_what_was_handed_on_stays_with_the_other(run: Run) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        with claimed([run.path]):
            leave_word(run.path, other.pid)
        assert run.state == "waiting" and run.status["pid"] == other.pid


def test_a_launched_process_that_has_ended_is_in_no_table(run: Run, tmp_path: Path) -> None:
    execute.start(["this"], [run.path], tmp_path / "log")
    pid, end = run.status["pid"], time.monotonic() + 300
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists() and run.state == "not begun"


def test_a_stop_holds_for_the_process_that_it_was_asked_of(run: Run, ended: int) -> None:
    leave_word(run.path, os.getpid())
    run.stop()
    with claimed([run.path]) as mine:
        assert mine == [] and run.state == "interrupted"
    with pytest.raises(KeyboardInterrupt, match="was stopped"):
        run.resume(progress=False)

    leave_word(run.path, os.getpid())
    run.stop()
    leave_word(run.path, ended)
    assert run.resume(progress=False).state == "done"

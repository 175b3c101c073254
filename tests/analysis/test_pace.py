"""Long work is announced once: by an estimate, or as soon as its pace shows it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from workbench.analysis import pace
from workbench.analysis.pace import Bar, paced, progress


def running(total: int, for_seconds: float) -> Bar:
    """A bar that was begun some time ago."""
    bar = progress(total, "slice")
    bar.start_t = time.time() - for_seconds
    return bar


def test_an_estimate_is_told_where_it_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    progress(3, "slice", 30.0).close()
    assert "slice: about 30 s\n" in capsys.readouterr().err
    progress(3, "slice", 600.0).close()
    assert "slice: about 10 min\n" in capsys.readouterr().err
    progress(3, "slice", 5.0).close()
    assert "about" not in capsys.readouterr().err


def test_what_was_estimated_short_is_told_when_its_pace_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with running(20, for_seconds=9) as bar:
        bar.update()
        assert "slice: about 3 min\n" in capsys.readouterr().err
    with running(20, for_seconds=5) as bar:
        bar.update()
        assert "slice: about 95 s\n" in capsys.readouterr().err
        bar.update()
        assert "about" not in capsys.readouterr().err, "once is enough"


def test_the_end_of_long_work_and_short_work_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with running(20, for_seconds=100) as bar:
        bar.update(19)  # about five seconds are left
    with running(1000, for_seconds=0.2) as bar:
        bar.update()  # which warmed up, and says nothing about the others
    assert "about" not in capsys.readouterr().err


def test_what_is_part_of_told_work_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(3, "runs", 100.0):
        progress(3, "slice", 30.0).close()
        with running(20, for_seconds=9) as bar:
            bar.update()
    assert capsys.readouterr().err.count("about") == 1
    with progress(3, "runs", 5.0):
        progress(3, "slice", 30.0).close()
        assert "slice: about 30 s" in capsys.readouterr().err
    progress(3, "slice", 30.0).close()
    assert "slice: about 30 s" in capsys.readouterr().err, "what is over covers nothing"


def test_every_step_is_done_in_order() -> None:
    seen: list[int] = []
    paced(range(5), seen.append, "steps")
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("first", "second", "calls"), [(0.5, 0.01, 2), (1.5, 1.0, 1)])
def test_a_short_first_call_only_warms_up(
    first: float, second: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, called = iter((first, second)), []

    def timed(fn: Callable[[], object]) -> float:
        fn()
        return next(taken)

    monkeypatch.setattr(pace, "timed", timed)
    assert pace.warm(lambda: called.append(1)) == (second if calls == 2 else first)
    assert len(called) == calls


def test_a_short_first_step_promises_nothing() -> None:
    assert pace.projected(0.4, 100) is None
    assert pace.projected(2.0, 100) == 200


def test_in_a_notebook_a_line_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workbench.data.bar.in_notebook", lambda: True)
    progress(3, "slice", 30.0).close()
    shown = capsys.readouterr()
    assert shown.out == "slice: about 30 s\n" and "about" not in shown.err

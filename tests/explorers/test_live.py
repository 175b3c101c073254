"""Live training: what stands in run folders is shown, whatever becomes of them; buttons act on the chosen runs only."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fake_runs import write_run
from workbench.config import RunConfig, UsageError
from workbench.explorers import LiveTraining
from workbench.explorers import live as module
from workbench.methods import METHODS
from workbench.methods.own import register
from workbench.runs import Run


def make(root: Path, name: str, method: str = "mixup", **settings: Any) -> Run:
    """A finished run on digits."""
    chosen = {"data": "digits", "size": 16, "model": "resnet8", "epochs": 3} | settings
    found = write_run(root, RunConfig(method=method, **chosen), name)
    (found.path / "weights.safetensors").write_text("weights")
    return Run(found.path)


def unfinish(run: Run, state: str = "running", **status: Any) -> None:
    """Make it one that has done two epochs."""
    (run.path / "result.json").unlink(missing_ok=True)
    lines = (run.path / "history.jsonl").read_text().splitlines(keepends=True)
    (run.path / "history.jsonl").write_text("".join(lines[:2]))
    (run.path / "status.json").write_text(json.dumps({"state": state} | status))


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """As if a process trained there."""
    unfinish(run, epoch=3, epochs=3, step=5, steps=12, seconds_left=7.0)
    with open(run.path / "lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, method in (("a", "mixup"), ("b", "cutmix")):
        make(tmp_path, name, method)
    return tmp_path


@pytest.fixture
def live(root: Path) -> Iterator[LiveTraining]:
    made = LiveTraining(root)
    yield made
    made.close()


def shown(live: LiveTraining) -> bool:
    return live.curves.widget.layout.display != "none"


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_it_shows_table_curves_and_the_last_batch(live: LiveTraining) -> None:
    assert live.failure is None and live.message.value == ""
    assert ">a<" in live.table.value and ">b<" in live.table.value and "3.0 of 3" in live.table.value
    assert shown(live) and pixels(live.curves.widget.value).std() > 5
    assert live.batch.widget.layout.display is None and pixels(live.batch.widget.value).std() > 20
    assert pixels(live.png()).shape[1] > 500


def test_a_choice_is_kept_when_new_runs_come_and_others_go(live: LiveTraining, root: Path) -> None:
    live.choice.value = ("b",)
    make(root, "0-new")
    live._refresh()
    assert [name for _, name in live.choice.options] == ["0-new", "a", "b"]
    assert live.choice.value == ("b",) and ">a<" not in live.table.value
    shutil.rmtree(root / "b")
    live._refresh()
    assert live.choice.value == () and ">a<" in live.table.value and live.failure is None
    shutil.rmtree(root / "a")
    shutil.rmtree(root / "0-new")
    live._refresh()
    assert "no runs yet" in live.table.value and live.failure is None
    live.later()
    assert not shown(live) and live.batch_now.disabled


def test_no_run_at_all(tmp_path: Path) -> None:
    live = LiveTraining(tmp_path / "nowhere")
    assert "no runs yet" in live.table.value and live.failure is None
    assert "image/png" in live._repr_mimebundle_()
    live.batch_now.click()
    assert "start one with launch" in live.message.value
    live.stop.click()
    assert "no run is running" in live.message.value
    live.export.button.click()
    assert "no chosen run has finished an epoch yet" in live.message.value
    live.close()


def test_one_that_can_not_be_read_is_told_and_the_others_are_shown(live: LiveTraining, root: Path) -> None:
    odd = make(root, "<i>odd</i>".replace("/", "|"))
    (odd.path / "config.yaml").write_text("learning: 3\n")
    half = root / "half"
    half.mkdir()
    (half / "config.yaml").write_text("")
    live._refresh()
    live.later()
    assert "unknown key &#x27;learning&#x27;" in live.table.value and "&lt;i&gt;odd" in live.table.value
    assert "expected a mapping of settings, got NoneType" in live.table.value and "<i>odd" not in live.table.value
    assert shown(live) and live.failure is None
    live.choice.value = ("half",)
    assert live.failure is None and not shown(live) and live.batch_now.disabled
    live.png()


def test_why_a_run_failed_is_told(live: LiveTraining, root: Path) -> None:
    unfinish(Run(root / "a"), "failed", message="the loss is nan at step 3 <lr 9>")
    live._refresh()
    assert "the loss is nan at step 3 &lt;lr 9&gt;" in live.table.value
    assert ("failed  ·  a", "a") in live.choice.options and not live.resume.disabled


def test_a_running_one_moves(live: LiveTraining, root: Path) -> None:
    live.choice.value = ("a",)
    with at_work(Run(root / "a")):
        live._refresh()
        live._rested_at = 0
        live._refresh()
        assert "2.4 of 3" in live.table.value and "7 s" in live.table.value and not live.stop.disabled
        before = live.curves.widget.value
        unfinish(Run(root / "a"), epoch=3, step=6, steps=12, seconds_left=6.0)
        live._refresh()
        assert "2.5 of 3" in live.table.value and live.curves.widget.value is before  # a table costs nothing
    live._refresh()
    assert "interrupted" in live.table.value and live.stop.disabled and not live.resume.disabled


def test_without_a_choice_the_running_one_comes_first(live: LiveTraining, root: Path) -> None:
    with at_work(Run(root / "b")):
        live._refresh()
        assert live._names() == ["b", "a"]


def test_the_batch_is_always_of_the_first_chosen_run(live: LiveTraining, root: Path) -> None:
    make(root, "c", "puzzlemix")  # looks into a net: nothing is drawn unasked
    live._refresh()
    live.choice.value = ("b",)
    of_b = live.batch.widget.value
    assert live._batch_of is not None and live._batch_of[0] == root / "b"
    live.choice.value = ("c",)
    assert live.batch.widget.layout.display == "none" and live._batch_of is None
    live.choice.value = ("b",)
    assert live.batch.widget.layout.display is None and live.batch.widget.value == of_b


def test_a_method_that_is_not_known_here(live: LiveTraining, root: Path) -> None:
    """Registered in the process that trained, but not in this one."""

    @register
    def stripes(x: Any, other: Any, lam: Any) -> Any:
        return lam * x + (1 - lam) * other

    run = make(root, "own", "stripes")
    del METHODS["stripes"]
    live._refresh()
    live.choice.value = ("own",)
    assert shown(live) and live.failure is None and run.name in live.table.value
    live.batch_now.click()
    assert "unknown method &#x27;stripes&#x27;" in live.message.value


class Acted(list[str]):
    """The runs that were stopped or resumed."""


@pytest.fixture
def acted(monkeypatch: pytest.MonkeyPatch) -> Acted:
    found = Acted()
    monkeypatch.setattr(Run, "stop", lambda run: found.append(f"stop {run.name}"))
    monkeypatch.setattr(
        module, "launch", lambda config, root, name: found.append(f"{config.method} {root.name} {name}")
    )
    return found


def test_stop_acts_on_the_chosen_runs_only(live: LiveTraining, root: Path, acted: Acted) -> None:
    make(root, "c")
    with at_work(Run(root / "a")), at_work(Run(root / "b")):
        live._refresh()
        live.stop.click()
        assert acted == [] and "2 runs are running or waiting; choose those that are meant" in live.message.value
        live.choice.value = ("b", "c")
        live.stop.click()
        assert acted == ["stop b"] and "stopping b" in live.message.value
        live.choice.value = ("c",)
        assert live.stop.disabled
        live.attempt(live._stop)
        assert acted == ["stop b"] and "no chosen run is running" in live.message.value


def test_the_only_one_that_runs_needs_no_choice(live: LiveTraining, root: Path, acted: Acted) -> None:
    with at_work(Run(root / "a")):
        live._refresh()
        live.stop.click()
    assert acted == ["stop a"]


def test_resume_acts_on_the_chosen_runs_only(live: LiveTraining, root: Path, acted: Acted) -> None:
    unfinish(Run(root / "a"))
    unfinish(Run(root / "b"), "failed")
    make(root, "new")
    for file in ("result.json", "history.jsonl"):
        (root / "new" / file).unlink()
    make(root, "done")
    live._refresh()
    live.resume.click()
    assert acted == [] and "3 runs are interrupted, failed or not begun" in live.message.value
    live.choice.value = ("b", "done", "new")
    assert live.stop.disabled, "no process is to begin the new one"
    live.resume.click()
    assert acted == [f"cutmix {root.name} b", f"mixup {root.name} new"] and "resumed b, new" in live.message.value


def test_runs_and_lists_of_runs_are_taken(root: Path) -> None:
    one, two = Run(root / "a"), Run(root / "b")
    for where, names in ((one, ["a"]), ([one, two], ["a", "b"]), (str(root), ["a", "b"])):
        live = LiveTraining(where, key="given")
        assert [name for _, name in live.choice.options] == names
        live.close()
    with pytest.raises(UsageError, match="takes a folder, a run or a list of runs"):
        LiveTraining(["a", "b"], key="given")  # type: ignore[list-item]


def test_it_repeats_without_holding_the_loop_and_ends_with_close(root: Path) -> None:
    async def live() -> int:
        made = LiveTraining(root)
        for part in (made.choice, made.table, made.curves.widget):
            assert part.comm is not None
        make(root, "later")
        await asyncio.sleep(0.05)
        made.close()
        assert all(part.comm is None for part in (made.choice, made.table, made.curves.widget, made.export.row))
        assert not made._runs and not made._seen
        await asyncio.sleep(0.05)
        return len(asyncio.all_tasks())

    assert asyncio.run(live()) == 1


def test_new_runs_come_by_themselves(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.01)
    monkeypatch.setattr(module, "REST", 0.0)

    async def watch() -> str:
        made = LiveTraining(root)
        make(root, "later")
        end = time.monotonic() + 300
        while ">later<" not in made.table.value and time.monotonic() < end:
            await asyncio.sleep(0.02)
        made.close()
        return made.table.value

    assert ">later<" in asyncio.run(watch())


def test_drawings_that_nobody_asked_for_leave_the_kernel_time(live: LiveTraining, root: Path) -> None:
    before = live.curves.widget.value
    unfinish(Run(root / "a"))
    live._rested_at = time.monotonic() + 1000
    live._refresh()
    assert live.curves.widget.value is before and "interrupted" in live.table.value
    live._rested_at = 0.0
    live._refresh()  # nothing new, but the drawing is late
    assert live.curves.widget.value is not before
    latest = live.curves.widget.value
    live._rested_at = 0.0
    live._refresh()
    assert live.curves.widget.value is latest


def test_made_again_it_replaces_the_older_one(live: LiveTraining, root: Path) -> None:
    newer = LiveTraining(root)
    assert live.closed and not newer.closed
    newer.close()


def test_the_curves_are_written_for_a_paper(live: LiveTraining, tmp_path: Path) -> None:
    live.export.file.value = str(tmp_path / "new" / "curves")
    live.export.button.click()
    assert "Written" in live.message.value and (tmp_path / "new" / "curves.pdf").stat().st_size > 5000

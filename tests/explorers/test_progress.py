"""How trainings stand, from run folders that may be whole, odd, or gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_runs import write_run, write_runs
from workbench.config import RunConfig, UsageError
from workbench.explorers import progress as module
from workbench.explorers.progress import Progress, Watch, duration, progress, render, standing, table
from workbench.figures.lint import faults
from workbench.runs import Run, runs

LINE = {"epoch": 1, "train_loss": 1.0, "test_accuracy": 0.5, "seconds": 2.0, "images": 300}


def made(root: Path, name: str = "one", **settings: Any) -> Run:
    chosen = {"method": "mixup", "data": "photos", "size": 32, "model": "resnet8", "epochs": 4} | settings
    found = write_run(root, RunConfig(**chosen), name)
    (found.path / "weights.safetensors").write_text("weights")
    return Run(found.path)


def write_history(run: Run, *lines: Any) -> None:
    (run.path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_finished_run(tmp_path: Path) -> None:
    run = made(tmp_path)
    found = progress(run)
    assert (found.name, found.state, found.done, found.epochs, found.message) == ("one", "done", 4.0, 4, "")
    assert found.speed == 1280 and found.seconds_left is None
    assert found.accuracy == run.history["test_accuracy"].iloc[-1]


def test_the_part_of_a_running_epoch_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path)
    write_history(run, LINE, LINE)
    (run.path / "status.json").write_text(json.dumps({"epoch": 3, "step": 5, "steps": 20, "seconds_left": 61.0}))
    monkeypatch.setattr(Run, "state", "running")
    found = progress(run)
    assert found.done == 2.25 and found.seconds_left == 61.0 and found.speed == 150


def test_a_run_that_has_not_begun_and_one_that_failed(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run.path / "result.json").unlink()
    (run.path / "history.jsonl").unlink()
    assert progress(run) == Progress("one", "not begun", 0.0, 4, None, None, None, "")
    (run.path / "status.json").write_text(json.dumps({"state": "failed", "message": "loss is nan"}))
    assert (progress(run).state, progress(run).message) == ("failed", "loss is nan")


def test_numbers_that_are_none_are_not_told(tmp_path: Path) -> None:
    run = made(tmp_path)
    write_history(run, LINE | {"test_accuracy": float("nan"), "train_loss": float("nan"), "seconds": 0})
    found = progress(run)
    assert found.accuracy is None and found.speed is None
    assert "nan" not in table([found])
    render([run])


def _status(text: str) -> Callable[[Run], None]:
    def damage(run: Run) -> None:
        (run.path / "result.json").unlink()
        (run.path / "status.json").write_text(text)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda run: (run.path / "config.yaml").write_text(""),
            "config.yaml: expected a mapping of settings, got None",
        ),
        (lambda run: (run.path / "config.yaml").write_text("learning: 3\n"), "unknown key 'learning'"),
        (lambda run: (run.path / "config.yaml").write_bytes(b"\xff\xfe"), "config.yaml is not YAML"),
        (lambda run: (run.path / "history.jsonl").write_text('{"epoch": 1, "tr'), "history.jsonl is damaged"),
        (lambda run: write_history(run, {"epoch": 1, "loss": 2}), "history.jsonl has no train_loss, test_accuracy"),
        (lambda run: write_history(run, 3), "expected epoch, train_loss, test_accuracy, seconds, images"),
        (lambda run: write_history(run, LINE | {"test_accuracy": "good"}), "not as this version writes them"),
        (lambda run: shutil.rmtree(run.path), "no settings file at"),
    ],
)
def test_what_can_not_be_read_is_told_in_a_line(tmp_path: Path, damage: Any, message: str) -> None:
    run = made(tmp_path)
    damage(run)
    found = progress(run)
    assert found.state == "unreadable" and found.epochs == 0
    assert message in found.message and "\n" not in found.message and len(found.message) < 320


@pytest.mark.parametrize("text", ["", "[1]", '{"state": 3}', '{"state": "running", "step": "a"}', "\x00"])
def test_odd_signs_of_life_are_no_error(tmp_path: Path, text: str) -> None:
    run = made(tmp_path)
    _status(text)(run)
    assert progress(run).state == "interrupted"


def test_odd_signs_of_life_of_a_running_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path)
    monkeypatch.setattr(Run, "state", "running")
    for text in ('{"step": 1}', '{"step": 1, "steps": 0, "epoch": 1}', '{"step": "a", "steps": 3, "epoch": 1}'):
        (run.path / "status.json").write_text(text)
        assert progress(run).state == "unreadable"


def test_unchanged_runs_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_runs(tmp_path, ("vanilla", "mixup"), (0, 1))
    one = made(tmp_path)
    read: list[str] = []
    monkeypatch.setattr(module, "progress", lambda run, name: read.append(name) or progress(run, name))
    watch = Watch()
    _, first = watch.look(runs(tmp_path))
    assert len(read) == 5 and first["one"].done == 4
    read.clear()
    write_history(one, LINE)
    _, second = watch.look(runs(tmp_path))
    assert read == ["one"] and second["one"].done == 1


def test_a_running_one_is_read_again_even_if_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed, and then nobody writes that it is interrupted."""
    made(tmp_path)
    watch = Watch()
    with monkeypatch.context() as patched:
        patched.setattr(Run, "state", "running")
        assert watch.look(runs(tmp_path))[1]["one"].state == "running"
    assert watch.look(runs(tmp_path))[1]["one"].state == "done"


def test_runs_of_one_name_are_told_by_their_paths(tmp_path: Path) -> None:
    one = made(tmp_path / "a", "twin", seed=1)
    other = made(tmp_path / "b", "twin", seed=2)
    made(tmp_path / "b", "single")
    found, standings = Watch().look(runs(tmp_path))
    assert set(found) == set(standings) == {str(one.path), str(other.path), "single"}
    assert found[str(other.path)].config.seed == 2 and standings[str(one.path)].name == str(one.path)


def test_names_and_messages_are_escaped() -> None:
    odd = Progress("<b>a</b>", "failed", 1, 2, None, None, None, "<script>alert(1)</script>")
    assert "<b>a" not in table([odd]) and "<script" not in table([odd]) and "&lt;script&gt;" in table([odd])


def test_a_long_table_is_cut_and_says_so() -> None:
    many = [Progress(f"run-{i}", "done", 1, 1, 10.0, None, 0.5, "") for i in range(300)]
    page = table(many)
    assert page.count("<tr>") == module.ROWS and f"and {300 - module.ROWS} more" in page
    assert "no runs yet" in table([])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.2, "0 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (360000, "100 h 0 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("venue", "columns"), [("cvpr", 1), ("cvpr", 2), ("iclr", 1)])
def test_curves_keep_to_a_papers_rules(tmp_path: Path, venue: str, columns: int) -> None:
    found = [Run(run.path) for run in write_runs(tmp_path, ("vanilla", "cutmix", "automix"), (0, 1), epochs=5)]
    figure = render(found, venue, columns)
    assert not faults(figure)
    assert len(figure.axes) == 2 and len(figure.axes[0].lines) == 6
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 100 * found[0].history["test_accuracy"])


def test_curves_of_runs_that_differ_in_more_than_method_and_seed_are_told_apart(tmp_path: Path) -> None:
    found = [made(tmp_path, "slow", lr=0.01), made(tmp_path, "fast $x$", lr=0.5), made(tmp_path, "other", seed=1)]
    texts = [text.get_text() for text in render(found).legends[0].get_texts()]
    assert texts == ["slow", r"fast \$x\$", "Mixup, seed 1"]


def test_many_runs_show_the_first_and_read_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [made(tmp_path, f"run-{i}", seed=i) for i in range(module.SHOWN + 3)]
    write_history(found[0])
    read: list[str] = []
    history = Run.history.fget
    monkeypatch.setattr(Run, "history", property(lambda run: read.append(run.name) or history(run)))
    assert len(render(found).axes[0].lines) == module.SHOWN
    assert len(read) == module.SHOWN + 1  # the first of them has no epoch


def test_no_curve_yet(tmp_path: Path) -> None:
    run = made(tmp_path)
    write_history(run)
    with pytest.raises(UsageError, match="no chosen run has finished an epoch yet"):
        render([run])
    assert [text.get_text() for text in standing([progress(run)]).texts] == ["one: done, 0.0 of 4 epochs"]
    assert standing([]).texts[0].get_text() == "no runs yet"

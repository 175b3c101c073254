"""The results explorer: what is stored is shown, what is not is named with the way to make it, bad folders are told."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests import fake_results
from tests.fake_runs import write_run, write_runs
from workbench.config import RunConfig, UsageError
from workbench.explorers import Results, views
from workbench.runs import Run


def make(root: Path, name: str, method: str = "mixup", **settings: Any) -> Run:
    chosen = {"data": "photos", "size": 32, "model": "resnet8", "epochs": 5} | settings
    found = write_run(root, RunConfig(method=method, **chosen), name)
    (found.path / "weights.safetensors").write_text(name)
    return Run(found.path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, method in (("v", "vanilla"), ("m", "mixup"), ("c", "cutmix")):
        make(tmp_path / "runs", name, method)
    return tmp_path / "runs"


@pytest.fixture
def results(root: Path) -> Iterator[Results]:
    made = Results(root)
    yield made
    made.close()


def visible(results: Results) -> bool:
    return results.screen.widget.layout.display != "none"


def test_it_opens_with_a_figure_of_all_runs(results: Results) -> None:
    assert results.failure is None and results.message.value == "" and visible(results)
    assert list(results.choice.options) == ["c", "m", "v"] and results.choice.value == ()
    assert results.compute.disabled and results.options.disabled  # nothing to compute for a figure
    assert results.png().startswith(b"\x89PNG")


@pytest.mark.parametrize("view", ["figure:curves", "figure:reliability", "analysis:calibration", "analysis:compare"])
def test_a_view_that_takes_no_net_comes_at_once(results: Results, view: str) -> None:
    results.view.value = view
    assert results.failure is None and visible(results) and results.compute.disabled
    assert ("<table" in results.table.value) == (view != "figure:curves")


def test_of_an_analysis_of_single_runs_one_can_be_chosen(results: Results) -> None:
    results.view.value = "analysis:calibration"
    assert list(results.part.options) == ["c", "m", "v"] and results.part.layout.display is None
    first = results.screen.widget.value
    results.part.value = "v"
    assert results.screen.widget.value != first
    results.choice.value = ("c", "v")
    assert list(results.part.options) == ["c", "v"] and results.part.value == "v"  # kept
    results.choice.value = ("c", "m")
    assert results.part.value == "c"
    results.choice.value = ("m",)
    assert results.part.layout.display == "none" and results.part.value is not None
    results.choice.value = ()
    assert results.part.value == "c" and results.failure is None


def test_of_a_figure_of_single_methods_one_can_be_chosen(results: Results) -> None:
    results.view.value = "figure:card"
    assert results.failure is None and visible(results)
    assert list(results.part.options) == ["Vanilla", "Mixup", "CutMix"] and results.part.description == "Of method"
    first = results.screen.widget.value
    results.part.value = "CutMix"
    assert results.failure is None and results.screen.widget.value != first
    results.view.value = "analysis:calibration"
    assert results.part.description == "Of run" and results.part.value == "c"


def test_a_change_of_the_view_is_drawn_once(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    first = results._draw_chosen
    monkeypatch.setattr(results, "_draw_chosen", lambda: drawn.append(results.view.value) or first())
    results.view.value = "analysis:calibration"  # which offers the runs one by one
    assert drawn == ["analysis:calibration"]


def test_what_is_not_stored_is_named_with_the_command_and_the_button(results: Results, root: Path) -> None:
    results.view.value = "analysis:hessian"
    told = results.message.value
    assert f"no stored hessian of 3 of 3 runs: `workbench analyse hessian {root}/c {root}/m {root}/v`" in told
    assert "press Compute" in told and not results.compute.disabled and not visible(results)
    results.view.value = "figure:curves"
    assert results.message.value == "" and visible(results)


def test_what_is_stored_is_shown_without_its_net(root: Path) -> None:
    runs = [Run(path) for path in sorted(root.iterdir())]
    for run in runs:
        fake_results.store([run], "hessian", fake_results.hessian(run))  # type: ignore[list-item, arg-type]
    results = Results(root)
    results.view.value = "analysis:hessian"
    assert results.failure is None and visible(results) and "<table" in results.table.value
    results.close()


def test_no_finished_run(tmp_path: Path) -> None:
    results = Results(tmp_path / "nowhere")
    assert f"no finished run below {tmp_path}/nowhere; `workbench train` makes some" in results.message.value
    assert "no finished run" in results._repr_mimebundle_()["text/plain"]
    results.compute.click()
    assert "no finished run" in results.message.value
    results.export.button.click()
    assert "no finished run" in results.message.value
    results.close()
    make(tmp_path, "half")
    (tmp_path / "half" / "result.json").unlink()
    results = Results(tmp_path)
    assert f"no finished run below {tmp_path}: {tmp_path}/half: interrupted" in results.message.value
    results.close()


def _without(run: Run, *keys: str) -> None:
    path = run.path / "result.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in keys}))


BAD = [
    (
        lambda run: (run.path / "config.yaml").write_text(""),
        "config.yaml: expected a mapping of settings, got NoneType",
    ),
    (lambda run: (run.path / "config.yaml").open("a").write("old: 3\n"), "config.yaml: unknown key 'old'"),
    (
        lambda run: _without(run, "accuracy"),
        "result.json has no accuracy; expected accuracy, score, test_images, classes",
    ),
    (lambda run: (run.path / "weights.safetensors").unlink(), "weights.safetensors missing; `workbench resume"),
    (lambda run: (run.path / "predictions.npz").write_bytes(b"PK"), "predictions.npz is damaged"),
    (lambda run: (run.path / "predictions.npz").write_bytes(b""), "predictions.npz is damaged"),
    (lambda run: (run.path / "samples.npz").write_text("nothing"), "samples.npz is damaged"),
    (lambda run: (run.path / "history.jsonl").write_text('{"epoch": 1, "tr'), "history.jsonl is damaged"),
    (lambda run: (run.path / "history.jsonl").write_text('{"epoch": 1}\n'), "history.jsonl has no train_loss"),
]


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_a_bad_folder_is_told_in_a_line_and_the_others_are_shown(root: Path, damage: Any, message: str) -> None:
    damage(make(root, "<bad>", "automix"))
    results = Results(root)
    for view in ("figure:samples", "figure:curves", "figure:reliability", "analysis:calibration"):
        results.view.value = view
        assert results.failure is None and visible(results), (view, results.message.value)
        if "<bad>" not in results._runs:
            break
    assert set(results._runs) == {"c", "m", "v"}
    (why,) = results._left_out
    assert message in why and "\n" not in why
    assert "left out" in results.message.value and "<bad>" not in results.message.value
    results.close()


def test_left_out_is_no_longer_told_when_nothing_is(results: Results, root: Path) -> None:
    bad = make(root, "bad", seed=3)
    (bad.path / "predictions.npz").write_bytes(b"PK")
    results.again.click()
    results.view.value = "analysis:calibration"
    assert "left out" in results.message.value
    shutil.rmtree(bad.path)
    results.again.click()
    assert results.message.value == "" and results.failure is None


def test_a_run_that_vanishes_is_told(results: Results, root: Path) -> None:
    shutil.rmtree(root / "m")
    results.view.value = "figure:reliability"
    assert results.failure is None and visible(results) and set(results._runs) == {"c", "v"}
    shutil.rmtree(root)
    results.view.value = "figure:curves"
    assert "no finished run" in results.message.value and not visible(results)


def test_runs_of_one_name_are_told_by_their_paths(tmp_path: Path) -> None:
    make(tmp_path / "a", "twin", seed=1)
    make(tmp_path / "b", "twin", seed=2)
    results = Results([tmp_path / "a", tmp_path / "b"])
    assert list(results._runs) == [str(tmp_path / "a" / "twin"), str(tmp_path / "b" / "twin")]
    results.view.value = "analysis:calibration"
    results.part.value = str(tmp_path / "b" / "twin")
    assert results.failure is None
    results.close()


def test_names_with_quotes_and_signs(tmp_path: Path) -> None:
    run = make(tmp_path, 'it\'s "one" $x$ ünï', "cutmix", seed=1)
    result = json.loads((run.path / "result.json").read_text())
    (run.path / "result.json").write_text(json.dumps(result | {"classes": ["Ærø & <b>", "日本", "$a$"] * 3}))
    results = Results(tmp_path)
    for view in ("figure:samples", "figure:curves", "analysis:calibration"):
        results.view.value = view
        assert results.failure is None, results.message.value
    results.view.value = "analysis:hessian"
    assert "&#x27;" in results.message.value  # a path that a shell takes
    results.close()


# ------------------------------------------------------------------------------------------------------- computing


def wait(results: Results, seconds: float = 300) -> list[str]:
    """Poll until the computation has ended; what was told meanwhile."""
    told, end = [], time.monotonic() + seconds
    while results._process is not None and time.monotonic() < end:
        time.sleep(0.1)
        results.attempt(results._poll, unasked=True)
        told.append(results.message.value)
    assert results._process is None
    return told


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of `python -m workbench analyse`; what it does is up to the test. It notes its words."""
    script = tmp_path / "child"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def _says(child: Path, *lines: str) -> None:
    child.write_text("\n".join(["#!/bin/sh", f'printf "%s\\n" "$@" > {child}.words', *lines]) + "\n")


def test_a_computation_that_ends_badly_says_why(results: Results, root: Path) -> None:
    """With the real command: the nets of these runs are no nets."""
    results.view.value = "analysis:hessian"
    results.choice.value = ("m",)
    results.compute.click()
    assert results.compute.disabled and "computing hessian of 1 run ..." in results.message.value
    wait(results)
    assert "wb-mistake" in results.message._dom_classes and "Traceback" not in results.message.value
    assert "weights.safetensors" in results.message.value and "press Compute" not in results.message.value
    results.attempt(results._poll, unasked=True)  # the next look, a second later
    assert "weights.safetensors" in results.message.value
    assert not results.compute.disabled


def test_a_computation_that_ends_well_shows_its_result(results: Results, root: Path, child: Path) -> None:
    go = child.with_name("go")
    _says(
        child,
        'printf "a warning\\nhessian:  40%%|####      | 4/10\\r" >&2',
        f"while ! [ -e {go} ]; do sleep 0.05; done",
    )
    results.view.value = "analysis:hessian"
    results.choice.value = ("c", "m")
    results.options.value = " images=50  seed=1 "
    results.compute.click()
    results.attempt(results._compute)
    assert "is being computed already" in results.message.value
    end = time.monotonic() + 300
    while "40%" not in results.message.value and time.monotonic() < end:
        time.sleep(0.05)
        results.attempt(results._poll, unasked=True)
    assert "computing: hessian:  40%|" in results.message.value
    words = Path(f"{child}.words").read_text().split("\n")[:-1]
    assert words == [
        "-m",
        "workbench",
        "analyse",
        "hessian",
        f"{root}/c",
        f"{root}/m",
        "--options",
        "images=50",
        "seed=1",
    ]
    for run in (Run(root / "c"), Run(root / "m")):
        fake_results.store([run], "hessian", fake_results.hessian(run))  # type: ignore[list-item, arg-type]
    go.touch()
    wait(results)
    assert results.failure is None and results.message.value == "" and visible(results)
    assert not results.compute.disabled


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["echo 'error: no such <option>' >&2", "echo 'a late warning' >&2", "exit 2"], "no such &lt;option&gt;"),
        (["echo 'Traceback' >&2", "echo 'MemoryError: 3 GB' >&2", "exit 1"], "MemoryError: 3 GB"),
        (["exit 7"], "the analysis ended with code 7"),
    ],
)
def test_the_line_of_the_error_is_told(results: Results, child: Path, lines: list[str], message: str) -> None:
    _says(child, *lines)
    results.view.value = "analysis:hessian"
    results.compute.click()
    wait(results)
    assert message in results.message.value and "late" not in results.message.value


def test_in_a_loop_the_error_stays_to_be_read(root: Path, child: Path) -> None:
    _says(child, "echo 'error: out of memory' >&2", "exit 1")

    async def live() -> str:
        results = Results(root)
        results.view.value = "analysis:hessian"
        await asyncio.sleep(0.2)
        results.compute.click()
        end = time.monotonic() + 300
        while results._process is not None and time.monotonic() < end:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.3)  # longer than until the next look
        told = results.message.value
        results.close()
        return told

    assert "out of memory" in asyncio.run(live())


def test_close_ends_the_computation_and_leaves_no_file(results: Results, child: Path, monkeypatch: Any) -> None:
    folder = child.with_name("temporary")
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    _says(child, "exec sleep 60")
    results.view.value = "analysis:hessian"
    results.compute.click()
    process = results._process
    assert process is not None and process.poll() is None and list(folder.iterdir()) == []
    results.close()
    assert process.poll() is not None and list(folder.iterdir()) == []
    results.attempt(results._poll)
    assert not results._runs and all(part.comm is None for part in (results.widget, results.table, results.view))


def test_figure_and_table_are_exported(results: Results, tmp_path: Path) -> None:
    results.view.value = "analysis:calibration"
    results.export.file.value = str(tmp_path / "new" / "calibration")
    results.export.venue.value, results.export.columns.value = "neurips", 1
    results.export.button.click()
    assert "calibration.pdf" in results.message.value and "calibration.csv" in results.message.value
    table = pd.read_csv(tmp_path / "new" / "calibration.csv")
    assert set(table["name"]) == {"c", "m", "v"} and (tmp_path / "new" / "calibration.pdf").stat().st_size > 3000
    results.view.value = "figure:curves"
    results.export.file.value = str(tmp_path / "curves")
    results.export.button.click()
    assert not (tmp_path / "curves.csv").exists() and (tmp_path / "curves.pdf").exists()
    results.export.file.value = " "
    results.export.button.click()
    assert "needs a file name" in results.message.value
    results.export.file.value = str(root_file(tmp_path) / "x")
    results.export.button.click()
    assert "must be a folder" in results.message.value


def root_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("")
    return path


def test_made_again_it_replaces_the_older_one_and_the_choice_never_ends_with_none(root: Path) -> None:
    one = Results(root)
    other = Results(root)
    assert one.closed and not other.closed
    other.choice.value = ("v",)
    make(root, "new", seed=5)
    other.again.click()
    assert other.choice.value == ("v",) and "new" in other.choice.options
    for control in (other.view, other.part, other.export.venue):
        assert control.value is not None
    other.close()


def test_many_runs_of_one_setting(tmp_path: Path) -> None:
    for run in write_runs(tmp_path, ("vanilla", "mixup"), range(6)):
        (run.path / "weights.safetensors").write_text("x")
    results = Results(tmp_path)
    results.view.value = "analysis:ranking"
    assert results.failure is None and "<table" in results.table.value
    results.close()
    with pytest.raises(UsageError, match="at least one finished run"):
        views.draw([], "figure:curves")

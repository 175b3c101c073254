"""Results are found again while files, runs and version are those that they were made of, or not at all."""

from __future__ import annotations

import dataclasses
import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import fake_results
from tests.fake_runs import FakeRun, write_run, write_runs
from workbench.analysis import ANALYSES, base, cache, stored
from workbench.analysis.compare import Comparison
from workbench.config import RunConfig, UsageError


@pytest.fixture
def runs(tmp_path: Path) -> list[FakeRun]:
    return write_runs(tmp_path, ("vanilla", "mixup", "cutmix"), (0,))


def store(run: FakeRun, name: str = "hessian", age: float = 0, **options: object) -> Path:
    made = fake_results.EACH[name](run)
    fake_results.store([run], name, made, **options)
    path = cache._place([run], name, ANALYSES[name], options)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def trace(run: FakeRun) -> float:
    return float(fake_results.hessian(run).trace_samples.mean())


def test_every_run_gives_its_own_in_the_order_asked_for(runs: list[FakeRun]) -> None:
    for run in runs:
        store(run)
    for asked in (runs, runs[::-1], runs[1:2]):
        found = stored(asked, "hessian")
        assert [result.name for result in found] == [run.name for run in asked]
        assert [float(result.trace_samples.mean()) for result in found] == [trace(run) for run in asked]


def test_what_is_missing_is_named_with_the_command(runs: list[FakeRun]) -> None:
    store(runs[0])
    with pytest.raises(UsageError) as told:
        stored(runs, "hessian")
    places = shlex.join(str(run.path) for run in runs[1:])
    assert f"no stored hessian of 2 of 3 runs: `workbench analyse hessian {places}`" in str(told.value)
    with pytest.raises(UsageError, match="unknown analysis 'hesian'; did you mean 'hessian'"):
        stored(runs, "hesian")


def test_the_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    run = write_run(tmp_path, RunConfig(data="photos", size=32, model="resnet8"), "it's one")
    (run.path / "weights.safetensors").write_text("x")
    with pytest.raises(UsageError) as told:
        stored([run], "hessian")
    command = str(told.value).split("`")[1]
    assert shlex.split(command) == ["workbench", "analyse", "hessian", str(run.path)]


def test_the_command_for_missing_results_can_be_pasted(tmp_path: Path) -> None:
    found = write_runs(tmp_path, ("mixup",), range(9))
    for run in found:
        (run.path / "weights.safetensors").write_text("x")
    with pytest.raises(UsageError, match="of 9 of 9 runs: ") as told:
        stored(found, "hessian")
    command = str(told.value).split("`")[1]
    assert shlex.split(command) == ["workbench", "analyse", "hessian", *(str(run.path) for run in found)]


def test_results_of_changed_weights_do_not_count(runs: list[FakeRun]) -> None:
    store(runs[0])
    assert stored(runs[:1], "hessian")
    (runs[0].path / "weights.safetensors").write_text("trained again")
    with pytest.raises(UsageError, match="no stored hessian"):
        stored(runs[:1], "hessian")


def test_results_of_another_version_do_not_count(runs: list[FakeRun], monkeypatch: pytest.MonkeyPatch) -> None:
    store(runs[0])
    entry = ANALYSES["hessian"]
    monkeypatch.setitem(ANALYSES, "hessian", replace(entry, version=entry.version + 1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no stored hessian"):
        stored(runs[:1], "hessian")


def test_a_copy_from_another_run_does_not_count(runs: list[FakeRun]) -> None:
    path = store(runs[0])
    (runs[1].path / "weights.safetensors").write_text("of the second")
    (runs[1].path / "analysis").mkdir()
    (runs[1].path / "analysis" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="of 1 of 2 runs"):
        stored(runs[:2], "hessian")


def test_the_newest_counts_whatever_its_options(runs: list[FakeRun]) -> None:
    older, newer = store(runs[0], images=50), store(runs[0], images=100)
    made = fake_results.hessian(runs[0])
    for path, images, written in ((older, 50, 1e9), (newer, 100, 2e9)):
        options = {"images": images}
        base.save(dataclasses.replace(made, images=images), path, {"options": options, "runs": [runs[0].name]})
        os.utime(path, (written, written))
    assert stored(runs[:1], "hessian")[0].images == 100  # type: ignore[attr-defined]
    os.utime(older, (3e9, 3e9))
    assert stored(runs[:1], "hessian")[0].images == 50  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_a_damaged_file_does_not_hide_the_older_whole_one(runs: list[FakeRun], content: bytes) -> None:
    store(runs[0], images=50)
    place = runs[0].path / "analysis"
    (place / "hessian-000000000000.npz").write_bytes(content)
    (place / "hessian-1.part.npz").write_bytes(content)
    assert len(stored(runs[:1], "hessian")) == 1


@pytest.mark.parametrize("about", [{"options": 3}, {"options": {}, "runs": "abc"}, {"runs": [[1]], "options": {}}, {}])
def test_a_file_of_something_else_does_not_count(runs: list[FakeRun], about: dict[str, object]) -> None:
    for name, made in (("hessian", fake_results.hessian(runs[0])), ("landscape", fake_results.landscape(runs))):
        for run in runs:
            (run.path / "weights.safetensors").write_text("x")
        base.save(made, runs[0].path / "analysis" / f"{name}-123456789abc.npz", about)
        with pytest.raises(UsageError, match="no stored"):
            stored(runs, name)


def test_runs_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    twins = [
        write_run(tmp_path / place, RunConfig(method=method, data="photos", size=32, model="resnet8"), "twin")
        for place, method in (("a", "mixup"), ("b", "cutmix"))
    ]
    for run in twins:
        made = fake_results.hessian(run)
        (run.path / "weights.safetensors").write_text(str(run.path))
        path = cache._place([run], "hessian", ANALYSES["hessian"], {})
        base.save(made, path, {"options": {}, "runs": [run.name]})
    found = stored(twins, "hessian")
    assert [float(result.trace_samples.mean()) for result in found] == [trace(run) for run in twins]  # type: ignore[attr-defined]


def test_of_joint_results_the_one_of_most_runs_counts_then_the_newest(runs: list[FakeRun]) -> None:
    def joint(part: list[FakeRun], written: float, **options: object) -> None:
        fake_results.store(part, "landscape", fake_results.landscape(part), **options)
        os.utime(cache._place(part, "landscape", ANALYSES["landscape"], options), (written, written))

    def covered(part: list[FakeRun]) -> tuple[str, ...]:
        (result,) = stored(part, "landscape")
        return result.nets  # type: ignore[attr-defined, no-any-return]

    joint(runs[:2], 1e9)
    assert covered(runs) == tuple(run.name for run in runs[:2])
    with pytest.raises(UsageError, match="no stored landscape of 2 of 2"):
        stored(runs[1:], "landscape")  # it is of a run that was not asked for
    joint(runs[1:], 2e9)
    assert covered(runs) == tuple(run.name for run in runs[1:])
    joint(runs, 1.5e9)
    assert covered(runs) == tuple(run.name for run in runs)


def test_weights_are_read_once_while_they_are_as_they_were(
    runs: list[FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in runs:
        store(run)
        store(run, images=20)
    stored(runs, "hessian")
    read: list[Path] = []
    digest = cache.hashlib.file_digest
    monkeypatch.setattr(cache.hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind))
    stored(runs, "hessian")
    assert read == []


def test_a_result_is_a_cells_picture_or_its_text(runs: list[FakeRun]) -> None:
    picture = fake_results.hessian(runs[0])._repr_png_()
    assert picture is not None and picture.startswith(b"\x89PNG")

    class Nothing(Comparison):
        def __init__(self) -> None:
            pass

        @property
        def height(self) -> float:
            return 0.5

        def draw(self, ax: object) -> None:
            raise UsageError("expected one setting a plot")

    assert Nothing()._repr_png_() is None


@pytest.mark.parametrize(("venue", "columns"), [("cvpr", 1), ("neurips", 2)])
def test_a_results_figure_has_the_venues_width_and_nobody_else_holds_it(
    runs: list[FakeRun], venue: str, columns: int
) -> None:
    from matplotlib import pyplot

    from workbench import style

    figure = fake_results.hessian(runs[0]).figure(venue, columns)
    with style.paper(venue, columns) as width:
        np.testing.assert_allclose(figure.get_figwidth(), width)
    assert pyplot.get_fignums() == []

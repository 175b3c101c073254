"""`analyse`, which fetches, keeps what it found, goes on where it was broken off, and refuses."""

from __future__ import annotations

import dataclasses
import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.analysis.settings import OPTIONS, same
from tests.data.test_masks import dataset, put_mask, shape
from tests.fake_runs import FakeRun, write_run, write_runs
from workbench import analysis
from workbench.analysis import ACROSS, ANALYSES, analyse, cache, calibration
from workbench.analysis.pace import progress
from workbench.config import RunConfig, RunFailed, UsageError, dump
from workbench.data.files import KEYS, masks_version
from workbench.runs import Run


def test_work_that_was_broken_off_goes_on(trained: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.analysis import landscape

    measure, calls = landscape.loss_and_accuracy, []

    def tired(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(*args)

    options = {"points": 5, "images": 8, "seed": 7}
    monkeypatch.setattr(landscape, "loss_and_accuracy", tired)
    with pytest.raises(KeyboardInterrupt):
        analyse(trained[:1], "landscape", **options)
    folder = trained[0].path / "analysis"
    assert len(list(folder.glob("landscape-*.part.npz"))) == 1
    found = analyse(trained[:1], "landscape", **options)
    assert len(calls) == 3 + 1 + 2, "three points were kept"
    assert np.isfinite(found.loss).all() and not list(folder.glob("*.part.npz"))


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return write_run(tmp_path, RunConfig(method="mixup"))


def stored(run: FakeRun) -> list[str]:
    return sorted(p.name for p in (run.path / "analysis").glob("*"))


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, computing is an error: only the cache may answer."""

    def never(*args: Any, bins: int = 15, name: str = "") -> None:
        raise AssertionError("computed again")

    never.__signature__ = inspect.signature(calibration.calibration)  # type: ignore[attr-defined]
    monkeypatch.setattr(calibration, "calibration", never)


def test_second_call_reads_the_cache(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    first = analyse(run, "calibration")
    assert first.name == run.name
    refuse(monkeypatch)
    assert same(analyse(run, "calibration"), first)
    assert same(analyse(run, "calibration", bins=15), first)  # the default, said aloud
    with pytest.raises(AssertionError, match="computed again"):
        analyse(run, "calibration", bins=10)


def test_new_predictions_or_version_make_a_new_entry(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    analyse(run, "calibration")
    logits, labels = run.predictions()
    np.savez_compressed(run.path / "predictions.npz", logits=2 * logits, labels=labels)
    second = analyse(run, "calibration")
    assert len(stored(run)) == 2
    assert same(second, ANALYSES["calibration"].compute(2 * logits, labels, name=run.name))
    newer = dataclasses.replace(ANALYSES["calibration"], version=3)
    monkeypatch.setattr(analysis, "ANALYSES", {"calibration": newer})
    analyse(run, "calibration")
    assert len(stored(run)) == 3


def test_a_moved_run_has_its_new_name(run: FakeRun) -> None:
    analyse(run, "calibration")
    moved = FakeRun(run.path.rename(run.path.with_name("moved")))
    assert analyse(moved, "calibration").name == "moved"
    assert len(stored(moved)) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
def test_a_damaged_entry_is_made_again(run: FakeRun, damage: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    first = analyse(run, "calibration")
    path = run.path / "analysis" / stored(run)[0]
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    assert same(analyse(run, "calibration"), first)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path} is damaged and is made again")
    assert same(analyse(run, "calibration"), first) and not capsys.readouterr().err


def test_an_entry_with_code_in_it_is_not_run(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    first = analyse(run, "calibration")
    path = run.path / "analysis" / stored(run)[0]
    np.savez(path, **{f.name: np.array([object()], object) for f in dataclasses.fields(first)})
    assert same(analyse(run, "calibration"), first)
    assert "is damaged" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_still_gives_the_result(
    run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / "analysis").write_text("a file where the folder should be")
    found = analyse(run, "calibration")
    assert "not kept for the next time" in capsys.readouterr().err
    assert same(found, ANALYSES["calibration"].compute(*run.predictions(), name=run.name))


def test_several_runs_give_a_list(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, ("mixup",), (0, 1))
    assert [r.name for r in analyse(runs, "calibration")] == [r.name for r in runs]
    twice = analyse([runs[1], runs[0], runs[1]], "calibration")
    assert [r.name for r in twice] == [runs[1].name, runs[0].name, runs[1].name]


def test_only_runs_without_a_result_count_in_the_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, bars = write_runs(tmp_path, ("mixup",), (0, 1, 2)), []
    first = analyse(runs[0], "calibration")
    monkeypatch.setattr(analysis, "progress", lambda total, *_, **__: bars.append(progress(total, "")) or bars[-1])
    assert same(analyse(runs, "calibration")[0], first)
    assert [bar.total for bar in bars] == [3, 2], "three are looked for, two are made"


def test_runs_are_taken_by_their_folders(run: FakeRun) -> None:
    first = analyse(run, "calibration")
    assert same(analyse(str(run.path), "calibration"), first)
    assert same(analyse([run.path], "calibration")[0], first)
    with pytest.raises(UsageError, match="is no run folder"):
        analyse(str(run.path / "nowhere"), "calibration")
    with pytest.raises(UsageError, match=r"expected a run, such as Run\('out/runs/...'\), .*got 3"):
        analyse(3, "calibration")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["calibration", "compare"])
def test_a_mistake_in_one_of_several_runs_names_it(name: str, tmp_path: Path) -> None:
    good, bad = write_runs(tmp_path, ("mixup",), (0, 1))
    logits, labels = bad.predictions()
    np.savez_compressed(bad.path / "predictions.npz", logits=logits * np.nan, labels=labels)
    with pytest.raises(UsageError, match=f"run {bad.name}: expected finite logits"):
        analyse([good, bad], name)
    with pytest.raises(UsageError, match=r"^expected finite logits"):
        analyse([bad], "calibration")  # there is no other


def test_weights_that_are_broken_name_their_run(trained: list[Run], tmp_path: Path) -> None:
    shutil.copytree(trained[0].path, tmp_path / "broken")
    (tmp_path / "broken" / "weights.safetensors").write_bytes(b"none")
    with pytest.raises((UsageError, RunFailed), match="broken"):
        analyse([trained[1], tmp_path / "broken"], "embedding", images=4)


def test_options_are_held_to_their_types(trained: list[Run], run: FakeRun) -> None:
    for name, options, message in (
        ("hessian", {"smoothing": "x"}, "hessian: smoothing must be a number, got 'x'"),
        ("hessian", {"top": True}, "hessian: top must be a whole number, got True"),
        ("robustness", {"severities": 1.5}, "severities must be a list of whole numbers"),
        ("robustness", {"official": 5}, "official must be a text"),
        ("embedding", {"layers": "maybe"}, "layers must be true or false"),
        ("fidelity", {"alphas": "much"}, "alphas must be"),
    ):
        with pytest.raises(UsageError, match=message):
            analyse(trained[:1], name, **options)
    with pytest.raises(UsageError, match="draws must be a whole number"):
        analyse([run], "ranking", draws=2.5)
    short = {"images": 8, "kinds": "contrast", "severities": 1}  # one alone stands for a list of one
    assert len(analyse(trained[0], "robustness", **short).to_frame()) >= 1


def test_times_of_another_machine_are_not_read(trained: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    analyse(trained[0], "cost", **OPTIONS["cost"])
    count = len(list((trained[0].path / "analysis").glob("cost-*")))
    monkeypatch.setattr(cache, "_machine", lambda: ["another"])
    analyse(trained[0], "cost", **OPTIONS["cost"])
    assert len(list((trained[0].path / "analysis").glob("cost-*"))) == count + 1


def test_masks_that_came_or_changed_make_a_new_result(trained: list[Run], tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", each=2)
    (data / "masks").rename(tmp_path / "masks")
    shutil.copytree(trained[0].path, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    (tmp_path / "run" / "config.yaml").write_text(dump(dataclasses.replace(trained[0].config, data=f"folder:{data}")))
    run = Run(tmp_path / "run")
    options = {"images": 4, "kind": "gradient"}
    assert np.isnan(analyse(run, "cam", **options).energy).all()
    (tmp_path / "masks").rename(data / "masks")
    with_masks = analyse(run, "cam", **options)
    assert np.isfinite(with_masks.energy).all() and np.isfinite(analyse(run, "fidelity", draws=1).bias)
    for mask in (data / "masks" / "test").rglob("*.png"):
        put_mask(mask, ~np.asarray(Image.open(mask)).astype(bool))
    np.testing.assert_allclose(analyse(run, "cam", **options).energy, 1 - with_masks.energy, atol=1e-6)
    data.rename(tmp_path / "away")  # elsewhere, what was found still counts
    np.testing.assert_allclose(analyse(run, "cam", **options).energy, 1 - with_masks.energy, atol=1e-6)
    assert len(list((run.path / "analysis").glob("cam-*"))) == 1


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_what_tells_that_masks_changed(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        data, mask = dataset(tmp_path, each=1), tmp_path / "masks/test/a/0.png"
        seen = [masks_version(f"folder:{data}")]
        put_mask(mask, shape(turn=9))
        seen.append(masks_version(f"folder:{data}"))
        shutil.rmtree(data / "masks")
        seen.append(masks_version(f"folder:{data}"))
    else:
        data, seen = tmp_path / "x.npz", []
        for number in (3, 4, 0):
            arrays = dict.fromkeys(KEYS, np.zeros(2)) | ({"test_masks": np.zeros(number)} if number else {})
            np.savez(data, **arrays)
            seen.append(masks_version(f"npz:{data}"))
    assert seen[0] and seen[1] and seen[0] != seen[1] and seen[2] == ""
    assert masks_version("shapes") == "" and masks_version(f"{kind}:{tmp_path / 'nowhere'}") is None


def test_a_run_is_costed_in_its_own_precision(trained: list[Run], tmp_path: Path) -> None:
    shutil.copytree(trained[0].path, tmp_path / "half")
    (tmp_path / "half" / "config.yaml").write_text(dump(dataclasses.replace(trained[0].config, precision="bf16")))
    half = Run(tmp_path / "half")
    found = analyse([trained[0], half], "cost", **OPTIONS["cost"])
    assert [one.precision for one in found] == ["fp32", "bf16"]
    assert analyse(half, "cost", **OPTIONS["cost"], precision="fp32").precision == "fp32"


def test_mistakes_are_told(run: FakeRun) -> None:
    with pytest.raises(UsageError, match="unknown analysis 'calibratoin'; did you mean 'calibration'"):
        analyse(run, "calibratoin")
    with pytest.raises(UsageError, match="calibration has no option 'bin'; did you mean 'bins'"):
        analyse(run, "calibration", bin=3)
    with pytest.raises(UsageError, match="compare has no options, got 'bins'"):
        analyse(run, "compare", bins=3)
    for name in ("compare", "calibration", "landscape"):
        with pytest.raises(UsageError, match=f"{name} needs at least one finished run, got none"):
            analyse([], name)
    (run.path / "predictions.npz").unlink()
    with pytest.raises(UsageError, match=r"has no predictions\.npz, which calibration needs"):
        analyse(run, "calibration")
    (run.path / "result.json").unlink()
    with pytest.raises(UsageError, match="has no result yet"):
        analyse(run, "compare")


def test_a_real_run_is_read_alike(run: FakeRun) -> None:
    real = Run(run.path)
    for name in [name for name, entry in ANALYSES.items() if entry.needs in ("predictions", *ACROSS)]:
        assert same(analyse(real, name), analyse(run, name))

"""Run folders: names stay inside, writes are whole, one writer at a time, nothing executes."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.fake_runs import write_run
from workbench.config import RunConfig, RunFailed, UsageError
from workbench.runs import Run, checkpoint, launch, prepare, resume, run, runs, score
from workbench.runs import finished as sort_out
from workbench.runs.folder import folder, is_locked, locked, make_folder, read_arrays, write_bytes, write_json

CONFIG = RunConfig(method="mixup", data="digits", model="resnet8", epochs=1, size=8, batch_size=256, device="cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(CONFIG, tmp_path_factory.mktemp("runs"), progress=False)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", "", "a\nb", "a..b", "x" * 200, "-rf"])
def test_run_names_stay_inside(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run name"):
        folder(tmp_path, name)


def test_everything_is_stored(finished: Run) -> None:
    assert finished.state == "done"
    logits, labels = finished.predictions()
    assert logits.shape == (len(labels), 10) and logits.dtype == np.float32
    assert finished.result["final_accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert finished.result["memory_bytes"] > finished.result["parameters"] * 4
    assert list(finished.history.epoch) == [1]
    assert (finished.path / "environment.json").exists()
    samples = finished.samples()
    assert samples is not None
    a, b = samples["sources"].astype(float), samples["sources"][samples["partner"]].astype(float)
    assert np.abs(samples["mixed"] - (a + b) / 2).max() <= 1  # Mixup at lambda 0.5, in grey levels


def test_the_stored_net_gives_the_stored_predictions(finished: Run) -> None:
    from workbench.data import load
    from workbench.data.batches import Batches

    test = Batches(load("digits", "test", size=8), 512, train=False, device=torch.device("cpu"))
    with torch.inference_mode():
        logits = torch.cat([finished.net()(x) for x, _ in test.epoch(0)])
    np.testing.assert_allclose(logits.numpy(), finished.predictions()[0], atol=1e-5)


def test_a_finished_run_is_not_trained_again(finished: Run) -> None:
    before = (finished.path / "weights.safetensors").stat().st_mtime_ns
    again = run(CONFIG, finished.path.parent, progress=False)
    assert again.path == finished.path
    assert (finished.path / "weights.safetensors").stat().st_mtime_ns == before


def test_another_configuration_under_the_same_name_is_refused(finished: Run) -> None:
    with pytest.raises(UsageError, match="other settings"):
        prepare(replace(CONFIG, lr=0.2), finished.path.parent, finished.name)


def test_the_second_process_is_refused(tmp_path: Path) -> None:
    path = prepare(CONFIG, tmp_path)
    code = f"""
import time
from pathlib import Path
from workbench.runs.folder import locked
with locked(Path({str(path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == "held"
        assert is_locked(path) and Run(path).state == "running"
        with pytest.raises(UsageError, match=f"in use by process {holder.pid}"):
            resume(path, progress=False)
    finally:
        holder.kill()
        holder.wait()
    assert not is_locked(path)
    with locked(path):
        pass


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """A process whose files may not grow past 4 kB stands for a disk without room."""
    target = tmp_path / "state"
    write_bytes(target, b"old")
    code = (
        "import resource; from pathlib import Path; from workbench.runs.folder import write_bytes\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); write_bytes(Path({str(target)!r}), bytes(9999))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "RunFailed: can't write" in done.stderr and "File too large" in done.stderr
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_a_read_only_folder_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(RunFailed, match="Read-only file system") as caught:
        write_json(tmp_path / "x.json", {})
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_strangers_run_folder_cannot_execute_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = prepare(CONFIG, tmp_path)
    checkpoint.save(path, 1, {"net": Bomb()})
    with pytest.raises(UsageError, match="more than tensors"):
        checkpoint.latest(path)
    np.savez(tmp_path / "evil.npz", logits=np.array([Bomb()], dtype=object))
    with pytest.raises(UsageError, match="no archive of plain arrays"):
        read_arrays(tmp_path / "evil.npz")
    (path / "config.yaml").write_text("!!python/object/apply:os.mkdir ['exploded']")
    with pytest.raises(UsageError, match="not YAML"):
        _ = Run(path).config
    assert not (tmp_path / "exploded").exists()


def test_an_old_run_folder_is_read_with_defaults(finished: Run, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    kept = yaml.safe_load((finished.path / "config.yaml").read_text())
    for key in ("format", "clip_grad", "compile", "score"):
        kept.pop(key)
    (old / "config.yaml").write_text(yaml.safe_dump(kept))
    assert Run(old).config == CONFIG
    assert Run(old).state == "not begun"
    with pytest.raises(UsageError, match="no whole result: it is not begun"):
        _ = Run(old).result


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(finished.path, tmp_path / "copied"))


@pytest.mark.parametrize("file", ["result.json", "weights.safetensors", "predictions.npz", "samples.npz"])
def test_what_is_missing_is_made_again_without_training(file: str, copied: Run, finished: Run) -> None:
    (copied.path / file).unlink()
    assert copied.state == "interrupted"
    resume(copied.path, progress=False)
    assert copied.state == "done"
    np.testing.assert_array_equal(copied.predictions()[0], finished.predictions()[0])


@pytest.mark.parametrize(
    ("file", "content", "read"),
    [
        ("history.jsonl", b'{"epoch": 1', lambda run: run.history),
        ("predictions.npz", b"PK", lambda run: run.predictions()),
        ("samples.npz", b"", lambda run: run.samples()),
        ("result.json", b'{"accuracy": 0.5}', lambda run: run.result),
        ("result.json", b"{", lambda run: run.result),
    ],
)
def test_a_damaged_file_is_named_in_one_line(file: str, content: bytes, read: Callable, copied: Run) -> None:
    (copied.path / file).write_bytes(content)
    with pytest.raises(UsageError, match="resume") as caught:
        read(copied)
    assert "\n" not in str(caught.value)


def test_a_foreign_checkpoint_is_told(copied: Run) -> None:
    (copied.path / "result.json").unlink()
    for own in checkpoint.stored(copied.path):
        own.unlink()
    checkpoint.save(copied.path, 1, {"net": {}, "records": []})
    with pytest.raises(UsageError, match="does not fit these settings"):
        resume(copied.path, progress=False)


def test_a_launched_process_that_never_begins_is_noticed(tmp_path: Path) -> None:
    config = replace(CONFIG, data=f"folder:{tmp_path / 'gone'}")
    handle = launch(config, tmp_path)
    with pytest.raises(RunFailed, match=r"failed: .*gone"):
        handle.wait(timeout=300, progress=False)
    with pytest.raises(UsageError, match="whole number from 1, got 0"):
        launch(CONFIG, tmp_path, processes=0)


def test_listing(finished: Run, tmp_path: Path) -> None:
    assert [r.path for r in runs(finished.path.parent)] == [finished.path]
    with pytest.raises(UsageError, match="no run folder"):
        Run(tmp_path)


@pytest.mark.parametrize(("protocol", "expected"), [("median_last10", 0.65), ("best", 0.9), ("last", 0.7)])
def test_score_follows_the_protocol(protocol: str, expected: float) -> None:
    epochs = [0.9, 0.1, 0.2, 0.6, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7]
    assert score(epochs, protocol) == pytest.approx(expected)


def test_whoever_only_asks_does_not_keep_a_training_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with open(tmp_path / "lock") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        release = threading.Timer(0.1, lambda: fcntl.flock(asked, fcntl.LOCK_UN))
        release.start()
        with locked(tmp_path):
            pass
        release.join()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": "high"}, "accuracy must be a number from 0 to 1, got 'high'"),
        ({"accuracy": 71.2}, "accuracy must be a number from 0 to 1, got 71.2"),
        ({"test_images": 0}, "test_images must be a number from 1"),
        ({"classes": 8}, "classes must be a list of names"),
    ],
)
def test_a_result_with_odd_numbers_is_told_and_left_out(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    handle = Run(write_run(tmp_path, CONFIG, **change).path)
    (handle.path / "weights.safetensors").touch()
    with pytest.raises(UsageError, match=message):
        _ = handle.result
    found, left_out = sort_out([tmp_path])
    assert found == [] and message.split(",")[0] in left_out[0]


def test_arrays_of_another_kind_are_told(tmp_path: Path) -> None:
    handle = Run(write_run(tmp_path, CONFIG).path)
    np.savez(handle.path / "predictions.npz", labels=np.zeros(3))
    with pytest.raises(UsageError, match=r"predictions.npz has no logits, but labels; delete the file"):
        handle.predictions()
    np.savez(handle.path / "predictions.npz", logits=np.zeros((4, 2)), labels=np.zeros(3))
    with pytest.raises(UsageError, match=r"logits \(4, 2\) and labels \(3,\)"):
        handle.predictions()
    np.savez(handle.path / "samples.npz", sources=np.zeros(3))
    with pytest.raises(UsageError, match=r"samples.npz has no mixed and no partner and no weight, but sources"):
        handle.samples()
    (handle.path / "predictions.npz").write_text("no archive")
    with pytest.raises(UsageError, match="damaged or no archive of plain arrays") as told:
        handle.predictions()
    assert "allow_pickle" not in str(told.value)


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_where_a_folder_should_be_is_named(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"must be a folder, but .*file is a file; name another folder"):
        make_folder(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"

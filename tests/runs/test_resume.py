"""A killed run loses nothing: resumed, it gives the numbers and weights of one that was never interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from workbench.config import RunConfig, RunFailed, UsageError
from workbench.runs import Run, checkpoint, execute, prepare, resume, run, signs

TIMED = ("seconds", "memory_bytes")
SMALL = RunConfig(
    method="cutmix", data="digits", model="resnet8", epochs=4, size=8, batch_size=256, lr=0.1, device="cpu"
)


def numbers(handle: Run) -> list[dict[str, float]]:
    """The history without what depends on the machine's mood."""
    lines = (handle.path / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


def assert_same(one: Run, other: Run) -> None:
    assert numbers(one) == numbers(other)
    weights, others = (load_file(r.path / "weights.safetensors") for r in (one, other))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[k], others[k]) for k in weights)


def kill_at_a_random_moment(path: Path, seed: float) -> None:
    """Start the run in a process of its own, and end that without warning while it trains."""
    process = subprocess.Popen([sys.executable, "-m", "workbench", "resume", str(path), "--no-progress"])
    deadline = time.monotonic() + 300
    while Run(path).status.get("step") is None or Run(path).state != "running":
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(random.Random(seed).random())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (path / "status.json").unlink()


@pytest.mark.slow
def test_killed_three_times_and_resumed(tmp_path: Path) -> None:
    config = replace(SMALL, epochs=60, batch_size=64)
    whole = run(config, tmp_path / "whole", progress=False)
    path = prepare(config, tmp_path / "killed")
    for _ in range(3):
        seed = time.time()
        print("killed with seed", seed)
        kill_at_a_random_moment(path, seed)
        if Run(path).state == "done":
            break
    assert_same(whole, resume(path, progress=False))


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, ema_decay=0.9, clip_grad=1.0, warmup_epochs=1),
        replace(SMALL, method="automix", optimizer="adamw", lr=0.001),
        replace(SMALL, method="manifoldmix", precision="bf16", channels_last=True),
        replace(
            SMALL, model="vit_tiny_patch16_224", model_args={"depth": 1, "embed_dim": 24, "drop_rate": 0.2}, lr=0.01
        ),
    ],
    ids=["ema", "automix", "bf16", "dropout"],
)
def test_resumes_to_the_same_numbers(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, epochs=3)
    whole = run(config, tmp_path / "whole", progress=False)
    save = checkpoint.save

    def save_then_fail(path: Path, epoch: int, state: dict) -> None:
        save(path, epoch, state)
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(execute.checkpoint, "save", save_then_fail)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    cut = Run(tmp_path / "cut" / config.run_id)
    assert cut.state == "interrupted"
    assert len(cut.history) == 2
    torch.rand(7)  # whatever else the process draws must not matter
    assert_same(whole, resume(cut.path, progress=False))


def test_digits_that_another_machine_gives_are_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for threads in ("as here", 17):
        path = run(replace(SMALL, epochs=2), tmp_path / str(threads), progress=False).path
        (path / "result.json").unlink()
        about = json.loads((path / "environment.json").read_text())
        if threads == 17:
            about.update(threads=17, gpu=["An H100"])
        (path / "environment.json").write_text(json.dumps(about))
        capsys.readouterr()
        resume(path, progress=False)
        told = capsys.readouterr().err
        now = torch.get_num_threads()
        assert (f"it began with threads 17, now {now}; gpu An H100, now" in told) == (threads == 17), told
        assert ("it began with" in told) == (threads == 17), told
        about = json.loads((path / "environment.json").read_text())
        assert [one["threads"] for one in about["resumed"]] == [now]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(SMALL, tmp_path / "whole", progress=False)
    broken = run(SMALL, tmp_path / "broken", progress=False)
    (broken.path / "result.json").unlink()
    newest = checkpoint.stored(broken.path)[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert_same(whole, resume(broken.path, progress=False))
    assert f"checkpoint {newest.name} is damaged" in capsys.readouterr().err


def test_divergence_names_step_method_and_rate(tmp_path: Path) -> None:
    config = replace(SMALL, method="mixup", lr=100.0, weight_decay=10.0, epochs=8)
    with pytest.raises(RunFailed, match=r"epoch \d+, step \d+, method mixup, learning rate"):
        run(config, tmp_path, progress=False)
    failed = Run(tmp_path / config.run_id)
    assert failed.state == "failed"
    assert "learning rate" in failed.status["message"]
    _, state, _ = checkpoint.latest(failed.path)
    assert state is None or all(torch.isfinite(v).all() for v in state["net"].values())


def stop_once_it_trains(handle: Run) -> threading.Thread:
    def stop() -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end and ("step" not in handle.status or len(handle.history) < 1):
            time.sleep(0.01)
        handle.stop()

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


def test_a_stop_ends_the_training_and_not_the_process_around_it(tmp_path: Path) -> None:
    """In a notebook that process is the kernel, in a sweep a worker with other runs to train."""
    handle = Run(prepare(replace(SMALL, epochs=1000), tmp_path))
    thread = stop_once_it_trains(handle)
    with pytest.raises(KeyboardInterrupt, match="was stopped; `workbench resume"):
        resume(handle.path, progress=False)
    thread.join()
    assert handle.state == "interrupted" and 1 <= len(handle.history) < 1000
    assert not (handle.path / "stop").exists()
    os.kill(os.getpid(), signal.SIGUSR1)  # a late one: this process is still here


def test_a_stop_that_is_meant_for_another_run_is_not_heeded(tmp_path: Path) -> None:
    with signs.stoppable(tmp_path):
        os.kill(os.getpid(), signs.STOP)
        (tmp_path / "stop").touch()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signs.STOP)
            time.sleep(1)


def test_a_training_in_a_thread_can_t_be_stopped_and_that_is_told(tmp_path: Path) -> None:
    handle = Run(prepare(replace(SMALL, epochs=30), tmp_path))
    errors: list[UsageError] = []

    def stop() -> None:
        while handle.state != "running" or handle.status.get("state") != "running":
            time.sleep(0.01)
        try:
            handle.stop()
        except UsageError as error:
            errors.append(error)

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    worker = threading.Thread(target=resume, args=(handle.path,), kwargs={"progress": False}, daemon=True)
    worker.start()
    worker.join(300)
    stopper.join(300)
    assert handle.state == "done"
    assert "trains in a thread of process" in str(errors[0])


def test_a_run_goes_on_with_the_threads_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.runs.environment.cores", lambda: 2)
    path = run(replace(SMALL, epochs=2), tmp_path, progress=False).path
    about = json.loads((path / "environment.json").read_text())
    here = torch.get_num_threads()
    for threads, used in ((2, 2), (1, 1), (64, here)):
        (path / "result.json").unlink()
        (path / "environment.json").write_text(json.dumps({**about, "threads": threads}))
        resume(path, progress=False)
        later = json.loads((path / "environment.json").read_text())
        assert later["threads"] == threads and [one["threads"] for one in later["resumed"]] == [used]
        assert torch.get_num_threads() == here

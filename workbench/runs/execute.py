"""Make a run happen: here (`run`, `resume`) or in a process of its own (`launch`)."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from workbench.config import RunConfig, RunFailed, UsageError, dump, whole
from workbench.data.bar import pause
from workbench.methods import handover
from workbench.runs import checkpoint
from workbench.runs.environment import changed, describe_environment, same_threads
from workbench.runs.folder import (
    folder,
    locked,
    make_folder,
    read_json,
    told,
    write_arrays,
    write_bytes,
    write_json,
    write_lines,
)
from workbench.runs.handle import Run
from workbench.runs.samples import sample_arrays
from workbench.runs.signs import claimed, heed, leave_word, stoppable, write_status
from workbench.runs.weights import keep_net, save_method, save_net
from workbench.train import Diverged, Training, assemble, check, check_processes, fit

ROOT = "out/runs"
RECEIVING = "from workbench.methods import handover as h; h.receive(); from workbench.__main__ import main; main()"
"""The command line of a process that reads methods of one's own first."""


def run(
    config: RunConfig,
    root: str | Path = ROOT,
    name: str | None = None,
    *,
    data_root: str | None = None,
    progress: bool = True,
) -> Run:
    """Train as the settings say and store everything in a run folder; returns a handle on it.

    A run that is there already is not trained again, an unfinished one with the same settings goes on where it was.
    """
    path = _place(config, root, name)
    if (path / "config.yaml").exists():
        return resume(prepare(config, root, name), data_root=data_root, progress=progress)
    training = assemble(config, data_root)  # first, so that a mistake leaves no folder behind
    if is_main():
        prepare(config, root, name)
    return _carry_out(path, lambda: training, progress)


def is_main() -> bool:
    """Whether this process is the one that writes and prints, of those that torchrun started."""
    return int(os.environ.get("RANK", 0)) == 0


def _place(config: RunConfig, root: str | Path, name: str | None) -> Path:
    return folder(root, config.run_id if name is None else name)


def prepare(config: RunConfig, root: str | Path = ROOT, name: str | None = None) -> Path:
    """Make the run folder with its settings; mistakes in them are told before anything is written."""
    path = _place(config, root, name)
    if (path / "config.yaml").exists():
        if Run(path).config != config:
            raise UsageError(f"{path} holds a run with other settings; choose another name or folder")
        return path
    check(config)
    make_folder(path)
    write_bytes(path / "config.yaml", dump(config).encode())
    return path


def resume(path: str | Path, *, data_root: str | None = None, progress: bool = True) -> Run:
    """Go on with a run from its last whole checkpoint; a finished one is left as it is."""
    handle = Run(path)
    if handle.state == "done":
        return handle
    return _carry_out(handle.path, lambda: assemble(handle.config, data_root), progress)


def _carry_out(path: Path, make: Callable[[], Training], progress: bool) -> Run:
    """Train from where the run folder stands; only the main process writes, and only one main process at a time."""
    if is_main():
        with locked(path), stoppable(path), same_threads(path), _reporting(path):
            training = make()
            _train(Run(path), training, progress)
    else:
        training = make()
        start, _ = _restore(path, training)
        for _record in fit(training, start):
            pass
    training.wait_for_all()
    return Run(path)


def _restore(path: Path, training: Training) -> tuple[int, list[dict[str, Any]]]:
    """(epochs done, their records) after loading the last whole checkpoint into the training."""
    done, state, notes = checkpoint.latest(path)
    for note in notes if is_main() else []:
        print(f"warning: {note}", file=sys.stderr)
    if state is None:
        return 0, []
    try:
        training.load_state(state, done * len(training.train))
        return done, state["records"]
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the checkpoint in {path} does not fit these settings or this version: {reason}") from error


def _train(handle: Run, training: Training, progress: bool) -> None:
    """The loop of the writing process: an epoch, then its record and a checkpoint."""
    path, config = handle.path, handle.config
    start, records = _restore(path, training)
    _tell_environment(path, resumed=start > 0)
    write_lines(path / "history.jsonl", records)
    if start == 0:
        _keep(path, training, 0)
    with _bar(config, len(training.train), start, progress) as bar:
        pulse = Pulse(path, config.epochs, len(training.train), bar)
        for record in fit(training, start, pulse):
            records.append(record)
            write_lines(path / "history.jsonl", records)
            _keep(path, training, len(records))  # before the checkpoint: who goes on from there finds it
            checkpoint.save(path, len(records), {**training.state(), "records": records})
            bar.set_postfix(
                loss=f"{record['train_loss']:.3f}", accuracy=f"{record['test_accuracy']:.1%}", refresh=False
            )
    _finish(path, training, records)


def _tell_environment(path: Path, resumed: bool) -> None:
    """Write down where the run is made, or, where it goes on, that too; and say so if digits depend on it."""
    about, first = describe_environment(), read_json(path / "environment.json")
    others = changed(first, about) if resumed else []
    if others:
        print(f"warning: other digits than of an uninterrupted run: it began with {'; '.join(others)}", file=sys.stderr)
    if resumed and first:
        about = {**first, "resumed": [*first.get("resumed", []), about]}
    write_json(path / "environment.json", about)


def _keep(path: Path, training: Training, epoch: int) -> None:
    """Keep the weights after so many epochs, if the settings ask for them; the last ones are stored anyway."""
    every, epochs = training.config.keep_weights, training.config.epochs
    if every and epoch % every == 0 and epoch < epochs:
        keep_net(path, epoch, training.final_net, dict(training.config.model_args))


def _bar(config: RunConfig, steps: int, start: int, progress: bool) -> tqdm:
    total = config.epochs * steps
    title = f"{config.method} s{config.seed}"
    return tqdm(
        total=total, initial=start * steps, desc=title, unit="step", disable=not progress, mininterval=pause(0.3)
    )


class Pulse:
    """Keeps the progress bar and `status.json` up to date, at most once a second."""

    def __init__(self, path: Path, epochs: int, steps: int, bar: tqdm) -> None:
        self.path, self.epochs, self.steps, self.bar = path, epochs, steps, bar
        self.begun, self.first, self.written = time.monotonic(), bar.n, -math.inf

    def __call__(self, epoch: int, step: int) -> None:
        self.bar.update(epoch * self.steps + step - self.bar.n)
        now = time.monotonic()
        if now - self.written < 1:
            return
        self.written = now
        done, made = epoch * self.steps + step, epoch * self.steps + step - self.first
        left = (now - self.begun) / made * (self.epochs * self.steps - done)
        write_status(
            self.path, "running", epoch=epoch + 1, epochs=self.epochs, step=step, steps=self.steps, seconds_left=left
        )


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Write down how the run ends."""
    write_status(path, "running", message="starting")
    try:
        heed(path)
        yield
    except Diverged as error:
        write_status(path, "failed", message=str(error))
        raise RunFailed(str(error)) from error
    except KeyboardInterrupt:
        write_status(path, "interrupted", message="interrupted by the user")
        raise
    except RunFailed:
        raise  # the disk is full: nothing more can be written
    except Exception as error:
        write_status(path, "failed", message=f"{type(error).__name__}: {error}")
        raise
    write_status(path, "done")


def _finish(path: Path, training: Training, records: list[dict[str, Any]]) -> None:
    """Weights, predictions, samples; the result last, since it says that the run is done."""
    config = training.config
    save_net(path / "weights.safetensors", training.final_net, dict(config.model_args))
    save_method(path / "method.safetensors", training.method)
    logits, labels = training.evaluate()
    write_arrays(path / "predictions.npz", logits=logits, labels=labels)
    write_arrays(path / "samples.npz", **sample_arrays(training))
    write_json(path / "result.json", summary(config, records, training))


def summary(config: RunConfig, records: list[dict[str, Any]], training: Training) -> dict[str, Any]:
    """The run's numbers, with the protocol by which they were taken."""
    last = records[-1]
    later = records[1:] or records
    return {
        "state": "done",
        "accuracy": score([r["test_accuracy"] for r in records], config.score),
        "score": config.score,
        "final_accuracy": last["test_accuracy"],
        "test_loss": last["test_loss"],
        "train_loss": last["train_loss"],
        "epochs": len(records),
        "parameters": sum(p.numel() for p in training.net.parameters()),
        "seconds_per_step": statistics.median(r["seconds"] / r["steps"] for r in later),
        "memory_bytes": records[0]["memory_bytes"],
        "test_images": len(training.test.dataset),
        "train_images": len(training.train.dataset),
        "classes": list(training.test.dataset.classes),
        "device": str(training.accelerator.device),
    }


def score(accuracies: list[float], protocol: str) -> float:
    """A run's number from the accuracies of its epochs: median of the last ten (the benchmark's), best, or last."""
    if protocol == "median_last10":
        return statistics.median(accuracies[-10:])
    return max(accuracies) if protocol == "best" else accuracies[-1]


def launch(
    config: RunConfig,
    root: str | Path = ROOT,
    name: str | None = None,
    *,
    data_root: str | None = None,
    processes: int = 1,
) -> Run:
    """Start a run in a process of its own, which outlives this one; returns a handle to watch it with.

    `processes` > 1 trains in as many processes together (torchrun), one a GPU, and knows no methods of one's own.
    """
    whole("processes", processes, 1)
    check(config)
    check_processes(config, processes)
    handover.packed([config])
    if processes > 1 and config.method in handover.own():
        raise UsageError(f"{config.method} is a method of this process; several together need it in workbench/methods/")
    path = prepare(config, root, name)
    starter = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"] if processes > 1 else []
    words = ["--data-root", str(data_root)] if data_root else []
    handle = Run(path)
    with claimable([handle]) as mine:
        if mine:
            start([*starter, "workbench", "resume", str(path), *words], mine, path / "log.txt")
    return handle


def claimable(handles: Iterable[Run]) -> AbstractContextManager[list[Path]]:
    """The folders of those runs that are not done, and that no other process trains or has before it; inside, other
    processes leave them to this one."""
    return claimed(handle.path for handle in handles if handle.state not in ("done", "running"))


def start(module: Sequence[str], paths: Sequence[Path], log: Path) -> None:
    """Start `python -m ...`, which trains these claimed runs, as a process that outlives this one and writes to the
    log. Methods of one's own go along."""
    methods = handover.packed(Run(path).config for path in paths) if module[0] == "workbench" else b""
    command = [sys.executable, *(["-c", RECEIVING, *module[1:]] if methods else ["-m", *module]), "--no-progress"]
    with told(log), open(log, "ab") as file, tempfile.TemporaryFile() as given:  # without a name: gone when it is read
        given.write(methods)
        given.seek(0)
        child = subprocess.Popen(command, stdin=given, stdout=file, stderr=file, start_new_session=True)
    threading.Thread(target=child.wait, daemon=True).start()  # or it would stay in the system's table when it has ended
    for path in paths:
        leave_word(path, child.pid, log)

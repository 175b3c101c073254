"""Any step of any past run, shown again: the batch as it was drawn, and what the method made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from workbench.config import UsageError
from workbench.data import load
from workbench.data.batches import Batches
from workbench.draw import Draw
from workbench.methods import Mixed
from workbench.runs import checkpoint
from workbench.runs.folder import read_json
from workbench.train import assemble, deterministic
from workbench.train.setup import make_method

if TYPE_CHECKING:
    from workbench.config import RunConfig
    from workbench.runs.handle import Run
    from workbench.train import Training


@dataclass(frozen=True)
class Replay:
    """One step of a training, on the CPU."""

    run: str
    """Name of the run."""
    epoch: int
    """From 1, as in the history."""
    step: int
    """From 1."""
    rows: Tensor
    """(B,) int64: rows of the train split."""
    x: Tensor
    """(B, C, H, W) float32 in [0, 1]: the batch after cropping and mirroring, before mixing."""
    y: Tensor
    """(B,) int64 class ids."""
    mixed: Mixed
    """What the net saw."""
    classes: tuple[str, ...]
    note: str
    """How it was made, in a sentence."""


def replay(run: Run, epoch: int, step: int, *, quick: bool = False, data_root: str | None = None) -> Replay:
    """Step `step` of epoch `epoch` (both from 1) of a run, as its first process saw it.

    A method that looks into no net is a function of (seed, epoch, step): its batch comes at once. For one that does,
    the training is repeated from the newest checkpoint before that step, or from the start, which takes as long as it
    took then. `quick` takes the newest stored net instead, which looks elsewhere than the net of that step did.
    Exact on the machine and the versions that trained; elsewhere the draws are the same, and nets agree to rounding.
    UsageError for a step that the run does not have.
    """
    config = run.config
    if not 1 <= epoch <= config.epochs:
        raise UsageError(f"run {run.name} has epochs 1 to {config.epochs}, got epoch {epoch}")
    processes = int(read_json(run.path / "environment.json").get("processes", 1))
    if not make_method(config).needs_net:
        return _drawn(run, epoch, step, processes, data_root)
    if processes > 1:
        raise UsageError(f"{config.method} looks into the net, and {processes} processes trained it: no replay in one")
    with torch.random.fork_rng(), deterministic():
        training = assemble(config, data_root)
        _check_step(training.train, step)
        note = _newest(run, training) if quick else _repeated(run, training, epoch, step)
        x, y = training.train.batch(epoch - 1, step - 1)
        if config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with training.accelerator.autocast():
            mixed = training.method.mix(x, y, training.net, _draw(config, epoch, step))
    return _replay(run, training.train, epoch, step, x, y, mixed, note)


def _drawn(run: Run, epoch: int, step: int, processes: int, data_root: str | None) -> Replay:
    """Without a net: the draws alone decide."""
    config = run.config
    images = load(config.data, "train", size=config.size, root=data_root, damaged=config.damaged)
    batches = Batches(images, config.batch_size, train=True, seed=config.seed, augment=config.augment, world=processes)
    _check_step(batches, step)
    x, y = batches.batch(epoch - 1, step - 1)
    mixed = make_method(config).train().mix(x, y, None, _draw(config, epoch, step))
    return _replay(run, batches, epoch, step, x, y, mixed, "exactly as it was drawn")


def _draw(config: RunConfig, epoch: int, step: int) -> Draw:
    return Draw(config.seed, epoch - 1, step - 1)


def _check_step(batches: Batches, step: int) -> None:
    if not 1 <= step <= len(batches):
        raise UsageError(f"an epoch of this run has steps 1 to {len(batches)}, got step {step}")


def _repeated(run: Run, training: Training, epoch: int, step: int) -> str:
    """Bring the training to where it stood before the step."""
    done = 0
    for path in checkpoint.stored(run.path):
        found, state = checkpoint.read(path)
        if state is not None and found < epoch:
            training.load_state(state, found * len(training.train))
            done = found
            break
    for earlier in tqdm(range(done, epoch - 1), desc="training up to there", unit="epoch", leave=False):
        training.epoch(earlier, lambda _epoch, _step: None)
    training.advance(epoch - 1, step - 1)
    return "exactly as it was: " + (f"trained again from epoch {done}" if done else "trained again from the start")


def _newest(run: Run, training: Training) -> str:
    """Take the net and the method as the newest checkpoint has them."""
    done, state, _ = checkpoint.latest(run.path)
    if state is not None:
        training.load_state(state, done * len(training.train))
    training.objective.train()
    return f"drawn as then, seen by the net after {done} epochs"


def _replay(run: Run, batches: Batches, epoch: int, step: int, x: Tensor, y: Tensor, mixed: Mixed, note: str) -> Replay:
    rows = torch.from_numpy(batches.rows(epoch - 1, step - 1))
    mask = None if mixed.mask is None else mixed.mask.detach().cpu()
    kept = Mixed(mixed.x.detach().cpu(), mixed.source.cpu(), mixed.weight.detach().cpu(), mask)
    return Replay(run.name, epoch, step, rows, x.cpu(), y.cpu(), kept, tuple(batches.dataset.classes), note)

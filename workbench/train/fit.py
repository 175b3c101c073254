"""The loop: `Training` holds what a step changes, `fit` yields one record an epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from workbench.config import RunConfig
from workbench.data.batches import Batches
from workbench.draw import Draw
from workbench.methods import Method
from workbench.models import Net
from workbench.train.memory import peak_of, tensor_bytes

CHECK_EVERY = 50  # steps between two looks at the loss; each look waits for the device

OnStep = Callable[[int, int], None]
"""Called with (epoch, steps of it that are done), for progress bars."""


class Diverged(RuntimeError):
    """The loss is no finite number any more."""


@dataclass
class Training:
    """Everything that a step changes, and what it reads."""

    config: RunConfig
    accelerator: Accelerator
    objective: nn.Module
    net: Net
    method: Method
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    train: Batches
    test: Batches
    average: AveragedModel | None = field(init=False, default=None)
    strict: bool = field(init=False)
    """Whether a kernel that may give other digits the next time is refused."""

    def __post_init__(self) -> None:
        # With several processes an error amid a backward pass would leave them waiting for one another.
        self.strict = self.accelerator.device.type == "cuda" and self.accelerator.num_processes == 1
        if self.config.ema_decay is not None:
            average = get_ema_multi_avg_fn(self.config.ema_decay)
            self.average = AveragedModel(self.net, multi_avg_fn=average, use_buffers=True)

    @property
    def final_net(self) -> Net:
        """The net that is evaluated and stored: the average of the weights if there is one."""
        return self.net if self.average is None else cast("Net", self.average.module)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.accelerator.is_main_process

    # -------------------------------------------------------------------------------------------------- one step

    def step(self, x: Tensor, y: Tensor, epoch: int, index: int) -> Tensor:
        """One update from a batch of images in [0, 1] and class ids; returns the detached main loss.

        A method with several losses has each backed before the next is built, so that memory stays that of one.
        Nothing here waits for the device. On a GPU, attention takes its deterministic form only where nothing else is
        allowed; a net or method that has another kernel without one does without, and that is told once.
        """
        if not self.strict:
            return self._step(x, y, epoch, index)
        try:
            with deterministic(strict=True):
                return self._step(x, y, epoch, index)
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            self.strict = False
            print(
                f"warning: another training will differ in its last digits: {str(error).split(',')[0]}", file=sys.stderr
            )
        self.optimizer.zero_grad(set_to_none=True)
        return self._step(x, y, epoch, index)

    def _step(self, x: Tensor, y: Tensor, epoch: int, index: int) -> Tensor:
        if self.config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        draw = Draw(self.config.seed, epoch, index, rank=self.accelerator.process_index)
        scaler = self.accelerator.scaler
        with self.accelerator.autocast():
            mixed = self.method.mix(x, y, self.net, draw)
        for build_loss in self.method.losses(mixed, y, self.net):
            loss = self.objective(build_loss)
            (loss if scaler is None else scaler.scale(loss)).backward()
        self._update(epoch * len(self.train) + index + 1)
        return loss.detach()

    def _update(self, done: int) -> None:
        """Optimiser, schedule and slow copies, after `done` steps of the whole training."""
        self._take_gradients()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step_update(done)
        self.method.after_step(self.net, done / (self.config.epochs * len(self.train)))
        if self.average is not None:
            self.average.update_parameters(self.net)

    def _take_gradients(self) -> None:
        """The optimiser's step, of gradients that were scaled (fp16) brought to their size again. Accelerate's wrapper
        of the optimiser would do it too, but looks for other packages on the disk at every step."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        if self.config.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip_grad)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)  # skipped where a gradient is infinite
            scaler.update()

    # ------------------------------------------------------------------------------------------------- one epoch

    def epoch(self, epoch: int, on_step: OnStep) -> dict[str, Any]:
        """Train for one epoch (0-based), then evaluate; returns the epoch's record."""
        self._begin(epoch)
        losses = torch.zeros(len(self.train), device=self.accelerator.device)
        record: dict[str, Any] = {"epoch": epoch + 1, "steps": len(self.train), "images": 0}
        start, meter = time.perf_counter(), Meter(self, epoch)
        for index, (x, y) in enumerate(self.train.epoch(epoch)):
            losses[index] = meter.step(x, y, index)
            record["images"] += len(x) * self.accelerator.num_processes
            if (index + 1) % CHECK_EVERY == 0 or index + 1 == len(self.train):
                self._refuse_divergence(losses[: index + 1], epoch)
            on_step(epoch, index + 1)
        record["seconds"] = meter.without_measured(time.perf_counter() - start)
        record |= meter.record() | {"lr": self.optimizer.param_groups[0]["lr"]}
        record["train_loss"] = float(self.accelerator.reduce(losses, "mean").mean())
        record |= self._test_record()
        self._refuse_broken_weights(record)
        return record

    def advance(self, epoch: int, steps: int) -> None:
        """Take the first `steps` steps of an epoch, nothing recorded: to stand where a run once stood."""
        self._begin(epoch)
        for index, (x, y) in zip(range(steps), self.train.epoch(epoch), strict=False):
            self.step(x, y, epoch, index)

    def wait_for_all(self) -> None:
        """Until all processes are here. Accelerate's own barrier names a GPU by the number of the process, even where
        they train on the CPU of a machine with fewer GPUs."""
        float(self.accelerator.reduce(torch.zeros(1, device=self.accelerator.device)))

    def _begin(self, epoch: int) -> None:
        self.objective.train()
        torch.manual_seed(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0])  # dropout

    def resident_bytes(self) -> int:
        """Bytes of weights, buffers and optimiser state of net and method."""
        state = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        return tensor_bytes([*self.objective.parameters(), *self.objective.buffers(), *state])

    def _refuse_divergence(self, losses: Tensor, epoch: int) -> None:
        bad = ~torch.isfinite(losses)
        if float(self.accelerator.reduce(bad.sum().float(), "sum")):  # so that all processes stop together
            step = int(bad.nonzero()[0]) if bool(bad.any()) else len(losses) - 1
            self._diverged(f"the loss became {float(losses[step])}", epoch + 1, step + 1)

    def _refuse_broken_weights(self, record: dict[str, Any]) -> None:
        """The last step of an epoch can break the weights after a loss that was still finite; such weights must not
        become a checkpoint."""
        floats = [t for t in self.objective.state_dict().values() if t.is_floating_point()]
        whole = torch.stack([t.isfinite().all() for t in floats]).all()
        if not (bool(whole) and np.isfinite(record.get("test_loss", 0.0))):
            self._diverged("weights or test loss became infinite or nan", record["epoch"], record["steps"])

    def _diverged(self, what: str, epoch: int, step: int) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        raise Diverged(
            f"{what} at epoch {epoch}, step {step}, method {self.config.method}, learning rate {rate:.4g}; "
            "try a lower lr, clip_grad or precision fp32"
        )

    def _test_record(self) -> dict[str, float]:
        logits, labels = self.evaluate()
        if not len(labels):
            return {}
        scores, truth = torch.from_numpy(logits), torch.from_numpy(labels)
        accuracy = (scores.argmax(1) == truth).double().mean()
        return {"test_loss": float(F.cross_entropy(scores, truth)), "test_accuracy": float(accuracy)}

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, classes) float32 logits and (N,) labels of the test images; empty in all processes but the main one."""
        net = self.final_net
        if not self.is_main:
            return np.zeros((0, net.num_classes), np.float32), np.zeros(0, np.int64)
        with evaluating(net), torch.inference_mode(), self.accelerator.autocast():
            pairs = [(net(x).float(), y) for x, y in self.test.epoch(0)]
        logits, labels = (torch.cat(part).cpu().numpy() for part in zip(*pairs, strict=True))
        return logits, labels

    # ----------------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        """What a resumed training needs beside its settings: tensors and plain values only."""
        scaler = self.accelerator.scaler
        return {
            "net": self.net.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any], done: int) -> None:
        """Go on from a state that `done` steps had led to."""
        self.net.load_state_dict(state["net"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.schedule.step_update(done)


class Meter:
    """Takes the steps of an epoch, and measures the peak memory of the first few of a training.

    The very first is left out, since the optimiser makes its state in it; several are measured, since a method may
    draw what a step costs (ManifoldMix: the depth). They run under a profiler, so their time is left out.
    """

    def __init__(self, training: Training, epoch: int) -> None:
        self.training, self.epoch = training, epoch
        steps = len(training.train)
        self.measured = range(min(1, steps - 1), min(4, steps)) if epoch == 0 else range(0)
        self.peak, self.aside = 0, 0.0

    def step(self, x: Tensor, y: Tensor, index: int) -> Tensor:
        """`Training.step`, measured or not."""
        if index not in self.measured:
            return self.training.step(x, y, self.epoch, index)
        loss: list[Tensor] = []
        start = time.perf_counter()
        device = self.training.accelerator.device
        rise = peak_of(lambda: loss.append(self.training.step(x, y, self.epoch, index)), device)
        self.peak = max(self.peak, rise + self.training.resident_bytes())
        self.aside += time.perf_counter() - start
        return loss[0]

    def without_measured(self, seconds: float) -> float:
        """The time of the whole epoch, the measured steps counted like the mean of the others."""
        steps = len(self.training.train)
        others = steps - len(self.measured)
        return (seconds - self.aside) * steps / others if others else seconds

    def record(self) -> dict[str, int]:
        """Bytes at the peak, where they were measured."""
        return {"memory_bytes": self.peak} if self.peak else {}


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, and back to what it was."""
    was = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(was)


@contextmanager
def deterministic(strict: bool = False) -> Iterator[None]:
    """Algorithms that give the same numbers every time, where PyTorch has them, and, if `strict`, an error where it has
    none; and back to what was set."""
    enabled, warning = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    filling: Any = torch.utils.deterministic
    fill = filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    filling.fill_uninitialized_memory = False  # costs a write of every fresh tensor
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warning)
        filling.fill_uninitialized_memory = fill


def fit(training: Training, start: int = 0, on_step: OnStep = lambda epoch, step: None) -> Iterator[dict[str, Any]]:
    """Train from epoch `start` (0-based) to the end; yields the record of every epoch.

    Raises Diverged when the loss is no finite number any more.
    """
    with deterministic():
        for epoch in range(start, training.config.epochs):
            yield training.epoch(epoch, on_step)

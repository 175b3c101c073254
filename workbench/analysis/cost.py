"""What a method costs: parameters, FLOPs, time and memory of one training step, beside plain training of the same net.

Conventions: a step is the mix, the losses one after the other with their backward passes, and the method's
`after_step`; the optimiser's own step is left out, since its price depends on the optimiser and not on the method.
FLOPs are floating point operations (a multiply-add is two) of matrix products, convolutions and attention, as
PyTorch's counter has them, for the whole batch; what is done element by element is not counted. Attention is counted
as its two matrix products: PyTorch's counter takes the fused kernels of a CPU for nothing, so they are off while it
counts. Time is the median of the steps after one that warms up, those of the method and of plain training by turns.
Memory is what lives all the time (weights, buffers, the batch) plus the highest rise within a step, gradients included
and optimiser state left out. Everything is measured in float32 unless `precision` asks for autocast; of a run, in the
precision of its training. FLOPs, memory and parameters are the same in every call; times are of this machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.chunks import enough_memory
from workbench.analysis.inputs import Data, check_fit, device_of, examples, same_numbers
from workbench.analysis.pace import progress, projected, timed
from workbench.analysis.run_names import run_name
from workbench.config import choose, whole
from workbench.draw import Draw
from workbench.methods import METHODS, Method, build
from workbench.models import Net
from workbench.train.memory import peak_of, tensor_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Cost(Result):
    """One training step of a method and, as `plain_...`, of the same net without it, on the same batch."""

    name: str
    method: str
    """Its key, or the name of its class."""
    backbone: str
    device: str
    """Its type, such as cpu or cuda."""
    precision: str
    """Of the forward passes: fp32, or bf16 or fp16 by autocast."""
    batch_size: int
    image_size: int
    """Pixels along the height."""
    net_parameters: int
    """Numbers in the net that are learned, ..."""
    method_parameters: int
    """... and in the method itself, beyond the net."""
    forward_flops: int
    """Of one pass of the batch through the net."""
    flops: int
    """Of one step."""
    plain_flops: int
    seconds: float
    """Median of a step; nan if none was timed."""
    plain_seconds: float
    memory_bytes: int
    """At the peak of a step."""
    plain_memory_bytes: int

    def multiples(self) -> dict[str, float]:
        """The method's price in prices of plain training."""
        return {
            "FLOPs": self.flops / self.plain_flops if self.plain_flops else np.nan,
            "time": self.seconds / self.plain_seconds,
            "memory": self.memory_bytes / self.plain_memory_bytes,
            "parameters": 1 + self.method_parameters / self.net_parameters if self.net_parameters else np.nan,
        }

    def to_frame(self) -> pd.DataFrame:
        """One line; a multiple is in units of plain training of the same net."""
        import pandas as pd

        fields = {key: value for key, value in vars(self).items() if not key.startswith("plain_")}
        return pd.DataFrame([fields | {f"{key.lower()}_multiple": value for key, value in self.multiples().items()}])

    def draw(self, ax: Axes) -> None:
        """A bar a price, in prices of plain training, which is the line at 1; the price itself is written beside."""
        multiples = {key: value for key, value in self.multiples().items() if np.isfinite(value)}
        prices, color = self._prices(), style.look(self.method).color
        places = range(len(multiples))
        ax.barh(list(places), list(multiples.values()), color=color, height=0.62)
        ax.axvline(1, color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)))
        longest = max(*multiples.values(), 1.0)
        for place, (key, value) in zip(places, multiples.items(), strict=True):
            text = f"{value:.2f}$\\times$  {prices[key]}"
            ax.text(max(value, 1) + 0.03 * longest, place, text, va="center", fontsize=style.SMALLEST)
        ax.set(
            yticks=list(places),
            yticklabels=list(multiples),
            xlim=(0, 1.75 * longest),
            xlabel="multiple of plain training",
        )
        ax.invert_yaxis()
        ax.tick_params(axis="y", length=0)
        ax.set_title(run_name(self.name) or f"{style.label(self.method)}, {self.backbone}")

    def _prices(self) -> dict[str, str]:
        return {
            "FLOPs": f"{_short(self.flops)}FLOP",
            "time": f"{1000 * self.seconds:.0f} ms",
            "memory": f"{self.memory_bytes / 2**20:.0f} MiB",
            "parameters": f"{_short(self.net_parameters + self.method_parameters).strip()}",
        }

    @property
    def height(self) -> float:
        return 0.5


def _short(number: float) -> str:
    """Three digits and a thousands prefix, such as `1.23 G`."""
    for prefix, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= unit:
            return f"{number / unit:.3g} {prefix}"
    return f"{number:.3g} "


def cost(
    method: Method,
    net: Net,
    data: Data,
    *,
    batch_size: int = 32,
    steps: int = 5,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    seed: int = 0,
    name: str = "",
) -> Cost:
    """What one training step of the method costs on this net, and what one without it does.

    batch_size: images of a step; where the data has fewer, they are repeated. steps: how many are timed; 0: none.
    precision: fp32, or autocast of mixing and forward passes as in training with bf16 or fp16. Both net and method are
    copied, and left as found: on the copies, which train at no learning rate, everything is measured where the net is.
    RunFailed where a step does not fit in memory.
    """
    batch_size, steps = whole("batch_size", batch_size, 1), whole("steps", steps, 0)
    choose(DTYPES, precision, "precision")
    chosen = examples(data, batch_size, seed)
    check_fit(net, chosen)
    device = device_of(net)
    with enough_memory(f"a step of {batch_size} images; take a smaller batch_size"), same_numbers(seed):
        rows = torch.arange(batch_size, device=device) % len(chosen)
        x, y = (part[rows] for part in chosen.batch(0, len(chosen), device))
        mixing, plain = (_Step.of(m, net, x, y, seed, precision) for m in (method, build("vanilla")))
        seconds, plain_seconds = _times(mixing, plain, steps, f"cost of {_key(method)}")
        return Cost(
            name=name,
            method=_key(method),
            backbone=net.name,
            device=device.type,
            precision=precision,
            batch_size=batch_size,
            image_size=x.shape[2],
            net_parameters=_parameters(mixing.net),
            method_parameters=_parameters(mixing.method),
            forward_flops=_flops(lambda: plain.net(x)),
            flops=_flops(mixing.run),
            plain_flops=_flops(plain.run),
            seconds=seconds,
            plain_seconds=plain_seconds,
            memory_bytes=_memory(mixing),
            plain_memory_bytes=_memory(plain),
        )


class _Step(NamedTuple):
    """A training step without its optimiser, to be called again and again: always the same one."""

    method: Method
    net: Net
    x: Tensor
    y: Tensor
    seed: int
    precision: str

    @classmethod
    def of(cls, method: Method, net: Net, x: Tensor, y: Tensor, seed: int, precision: str) -> _Step:
        """On copies in training mode, whose weights all learn."""
        method, net = copy.deepcopy((method, net))
        return cls(method.to(x.device).train(), net.train().requires_grad_(), x, y, seed, precision)

    def autocast(self) -> torch.autocast:
        dtype = DTYPES[self.precision]
        return torch.autocast(self.x.device.type, dtype, enabled=dtype != torch.float32)

    def run(self) -> None:
        for parameter in (*self.net.parameters(), *self.method.parameters()):
            parameter.grad = None
        with self.autocast():
            mixed = self.method.mix(self.x, self.y, self.net, Draw(self.seed))
        for build_loss in self.method.losses(mixed, self.y, self.net):
            with self.autocast():
                loss = build_loss()
            loss.backward()
        self.method.after_step(self.net, 0.5)


def _key(method: Method) -> str:
    return next((key for key, cls in METHODS.items() if cls is type(method)), type(method).__name__)


def _parameters(module: nn.Module) -> int:
    """Numbers that are learned; frozen copies of a net are not."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _times(mixing: _Step, plain: _Step, steps: int, what: str) -> tuple[float, float]:
    """Median seconds of a step with the method, and of one without it."""
    both = [timed(_finished(step)) for step in (mixing, plain)]  # which warms up
    taken: list[list[float]] = []
    with progress(steps, what, projected(sum(both), steps + 8), "step") as bar:  # counting takes about eight more
        for _ in range(steps):
            taken.append([timed(_finished(step)) for step in (mixing, plain)])
            bar.update()
    if not taken:
        return np.nan, np.nan
    own, without = np.median(taken, axis=0).tolist()
    return own, without


def _finished(step: _Step) -> Callable[[], None]:
    """The step, and the wait for a device that works on its own."""

    def run() -> None:
        step.run()
        if step.x.device.type != "cpu":
            torch.accelerator.synchronize(step.x.device)

    return run


class _Counter(TorchDispatchMode):
    """Adds up what PyTorch's formulas give for each operation. PyTorch's own mode also notes which module it was of,
    and can't do so where a gradient is taken of an input alone, as saliency is."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def _flops(fn: Callable[[], object]) -> int:
    """Floating point operations of one call, attention among them on every device."""
    with sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
        fn()
    return int(counter.total)


def _memory(step: _Step) -> int:
    """Bytes at the peak of a step: what lives all the time, and what the step adds."""
    step.run()
    for parameter in (*step.net.parameters(), *step.method.parameters()):
        parameter.grad = None
    modules = step.net, step.method
    lasting = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return tensor_bytes([*lasting, step.x, step.y]) + peak_of(step.run, step.x.device)

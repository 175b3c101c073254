"""From settings to the parts of a training: device, net, method, optimiser, schedule."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn

from workbench.config import RunConfig, UsageError, choose, nearest
from workbench.data import DATASETS, ImageSet, load
from workbench.data.batches import Batches
from workbench.methods import Method, build
from workbench.models import Net
from workbench.models.create import check_name
from workbench.train.fit import Training

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic


class Objective(nn.Module):
    """Net and method as one module, so that one DDP wrapper sees the parameters of both.

    Its forward pass builds whatever loss it is handed; a step hands it one loss after the other.
    """

    def __init__(self, net: Net, method: Method) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, loss: Any) -> Tensor:
        return loss()

    def no_weight_decay(self) -> set[str]:
        """Names that timm's models keep free of weight decay, such as position embeddings."""
        listed: set[str] = getattr(self.net.backbone, "no_weight_decay", set)()
        return {f"net.backbone.{name}" for name in listed}


def make_accelerator(config: RunConfig, learns: bool = False) -> Accelerator:
    """Device, precision and processes. `learns`: the method has parameters, which not every loss reaches."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    check_processes(config, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    if processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # a second run of this process may differ in precision
    accelerator = Accelerator(
        cpu=config.device == "cpu" or (config.device == "auto" and not torch.accelerator.is_available()),
        mixed_precision="no" if config.precision == "fp32" else config.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=learns)],
    )
    if accelerator.num_processes != processes:
        raise UsageError(f"{processes} processes were started, but only {accelerator.num_processes} train together")
    return accelerator


def check_processes(config: RunConfig, processes: int) -> None:
    """Refuse more processes than can train together here: each takes a GPU of its own where there are any."""
    gpus = torch.cuda.device_count() if config.device in ("auto", "cuda") else 0
    if gpus and processes > gpus:
        there = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise UsageError(f"{processes} processes need a GPU each and here is {there}; take fewer, or device cpu")


def make_method(config: RunConfig) -> Method:
    """The method of the settings, with their label smoothing."""
    smoothing = {} if config.label_smoothing is None else {"label_smoothing": config.label_smoothing}
    method = build(config.method, {**config.params, **smoothing})
    if config.compile and method.needs_net:
        raise UsageError(f"compile can't be combined with {config.method}, which looks into the net while it runs")
    return method


def make_net(config: RunConfig, data: ImageSet) -> Net:
    """The net of the settings, with weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return Net(
            config.model,
            len(data.classes),
            mean=data.mean,
            std=data.std,
            channels=data.channels,
            size=data.size[0],
            pretrained=config.pretrained,
            **config.model_args,
        )


def make_optimizer(objective: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """A timm optimiser over all parameters that learn, weight decay off for biases and norms."""
    return create_optimizer_v2(objective, config.optimizer, config.lr, config.weight_decay, config.momentum)


def make_schedule(optimizer: torch.optim.Optimizer, config: RunConfig, steps: int) -> CosineLRScheduler:
    """Learning rate by the step: linear warm-up, then a cosine to `min_lr`, or constant."""
    total = config.epochs * steps
    warmup = min(round(config.warmup_epochs * steps), total - 1)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(total - warmup, 2),  # timm warns of 1
        lr_min=config.lr if config.schedule == "constant" else config.min_lr,
        warmup_t=warmup,
        warmup_lr_init=config.lr / 100,
        warmup_prefix=True,
        t_in_epochs=False,
    )


def check(config: RunConfig) -> None:
    """Refuse settings that can't work, as far as that shows without loading data or building a net."""
    make_method(config)
    choose(DATASETS, config.data.partition(":")[0], "data set")
    check_name(config.model)
    taken = sorted({"name", "num_classes", "mean", "std", "channels", "size", "pretrained"} & set(config.model_args))
    if taken:
        raise UsageError(f"model_args must not hold {', '.join(taken)}: these come from the data set and the settings")
    if config.optimizer not in list_optimizers():
        raise UsageError(f"unknown optimizer {config.optimizer!r}{nearest(config.optimizer, list_optimizers())}")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but PyTorch sees no GPU here; take device auto or cpu")


def assemble(config: RunConfig, root: str | None = None) -> Training:
    """Everything that a training needs, from its settings. Every mistake in them shows here, before any step."""
    check(config)
    train, test = (
        load(config.data, split, size=config.size, root=root, damaged=config.damaged) for split in ("train", "test")
    )
    method, net = make_method(config), make_net(config, train)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        method.attach(net)
    learns = any(p.requires_grad for p in method.parameters())
    accelerator = make_accelerator(config, learns)
    objective = Objective(net, method)
    if config.channels_last:
        objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compile:
        net.backbone.compile()
    batches = [
        Batches(
            images,
            config.batch_size,
            train=images is train,
            seed=config.seed,
            device=accelerator.device,
            augment=config.augment,
            rank=accelerator.process_index if images is train else 0,
            world=accelerator.num_processes if images is train else 1,
            workers=config.workers,
        )
        for images in (train, test)
    ]
    optimizer = make_optimizer(objective, config)
    schedule = make_schedule(optimizer, config, len(batches[0]))
    wrapped = accelerator.prepare(objective)
    return Training(config, accelerator, wrapped, net, method, optimizer, schedule, *batches)

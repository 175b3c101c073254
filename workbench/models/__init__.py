"""`Net`: a classifier with named depths, which can be read, edited and probed without leaving a trace.

B images, C channels, H W pixels, N patch tokens.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from workbench.config import UsageError, choose, shown
from workbench.models.attention import AttentionProbe, last_attention
from workbench.models.create import create

__all__ = ["AttentionProbe", "Net"]


class _Reached(Exception):
    """Ends a forward pass at the wanted depth and carries what was there."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


def _eagerly() -> AbstractContextManager[Any]:
    """While open, code that `torch.compile` made is left out: it does not see hooks that are younger than itself."""
    compiled = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


class Net(nn.Module):
    """A timm classifier (or a small ResNet) over images in [0, 1]; the normalisation is its first layer.

    So every perturbation, mix and picture elsewhere is in pixel units, and no caller needs the data's statistics.
    `depths` names the places inside, from "input" over "stage1", ... (or "block1", ... of a ViT).

    A module of one's own, from images (B, channels, H, W) to logits (B, num_classes), takes the place of the name:
    `Net(module, num_classes=10, mean=[0.5], std=[0.25])`; it is shared, not copied. For one that takes images in
    [0, 1] as they are, mean=[0], std=[1].
    """

    mean: Tensor
    std: Tensor
    backbone: Any  # nn.Module, with attributes that differ between architectures

    def __init__(
        self,
        name: str | nn.Module,
        num_classes: int,
        *,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        channels: int = 3,
        size: int = 32,
        pretrained: bool = False,
        **model_args: Any,
    ) -> None:
        super().__init__()
        self.name = name if isinstance(name, str) else type(name).__name__
        self.num_classes, self.channels, self.size = num_classes, channels, size
        self.backbone = create(name, num_classes, channels, size, pretrained, **model_args)
        device = next((p.device for p in self.backbone.parameters()), None)
        self.register_buffer("mean", _statistic("mean", mean, channels).to(device))
        self.register_buffer("std", _statistic("std", std, channels).to(device))
        if not (self.std > 0).all():
            raise UsageError(f"std must be above 0, got {tuple(std)}")
        self._places = _places(self.backbone, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_classes) logits of images (B, C, H, W) in [0, 1]."""
        return self.backbone(self._normalised(x))

    def _normalised(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.channels or not x.is_floating_point():
            wanted = f"floating point images (B, {self.channels}, H, W) in [0, 1]"
            raise UsageError(f"{self.name} takes {wanted}, got {tuple(x.shape)} {x.dtype}")
        return (x - self.mean) / self.std

    # ------------------------------------------------------------------------------------------------ depths

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the places where features can be read or edited, from the image to the last stage."""
        return tuple(self._places)

    @property
    def middle(self) -> str:
        """Where learned and aligned methods look: the last stage but one, or the middle block of a ViT."""
        inner = self.depths[1:]
        if not inner:
            raise UsageError(f"{self.name} does not name its depths; take a ResNet, ConvNeXt, ViT or Swin")
        return inner[max(len(inner) // 2 if inner[0].startswith("block") else len(inner) - 1, 1) - 1]

    def width(self, depth: str) -> int:
        """Channels of the features at a depth."""
        return choose(self._places, depth, f"depth of {self.name}")["num_chs"]

    def module_name(self, depth: str) -> str:
        """Name in the backbone of the module whose output is what passes a depth; empty for the image."""
        return choose(self._places, depth, f"depth of {self.name}")["module"]

    def _module(self, depth: str) -> nn.Module:
        return self.backbone.get_submodule(self.module_name(depth))

    def features(self, x: Tensor, depth: str) -> Tensor:
        """(B, C, h, w) features at a depth; the pass stops there. Tokens are laid out on their grid."""
        if depth == "input":
            return x

        def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            raise _Reached(output)

        handle = self._module(depth).register_forward_hook(stop)
        try:
            with _eagerly():
                self(x)
        except _Reached as reached:
            return self.as_map(reached.value, depth)
        finally:
            handle.remove()
        raise UsageError(f"{self.name} lists {depth}, but does not pass it; take another depth")

    def embed(self, x: Tensor) -> Tensor:
        """(B, features) what the last linear layer reads."""
        if not hasattr(self.backbone, "forward_head"):
            return self._read_by_the_last(x)
        h = self.backbone.forward_features(self._normalised(x))
        return self.backbone.forward_head(h, pre_logits=True)

    def _read_by_the_last(self, x: Tensor) -> Tensor:
        """What the last linear layer reads, in a module that has no name for it."""
        layers = [module for module in self.backbone.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise UsageError(f"{self.name} has no linear layer, so no features before it; take another net")
        seen: list[Tensor] = []
        handle = layers[-1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            with _eagerly():
                self(x)
        finally:
            handle.remove()
        return seen[-1].flatten(1)

    def logits_and_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, num_classes) logits and (B, N, C) patch tokens after the last norm, in the order of their grid."""
        if not hasattr(self.backbone, "forward_head"):
            raise UsageError(f"{self.name} ends in no patch tokens; take a ViT or DeiT, e.g. vit_tiny_patch16_224")
        h = self.backbone.forward_features(self._normalised(x))
        grid = getattr(getattr(self.backbone, "patch_embed", None), "grid_size", None)
        if h.dim() != 3 or not grid or h.shape[1] != self._prefix + math.prod(grid):
            raise UsageError(f"{self.name} ends in no patch tokens; take a ViT or DeiT, e.g. vit_tiny_patch16_224")
        return self.backbone.forward_head(h), h[:, self._prefix :]

    def as_map(self, h: Any, depth: str) -> Tensor:
        """(B, C, h, w) from a map, from one whose channels are last, or from tokens, the prefix tokens left out."""
        width, form = self.width(depth), tuple(h.shape) if isinstance(h, Tensor) else ()
        if len(form) == 4 and form[3] == width and (self._channels_last or form[1] != width):
            return h.permute(0, 3, 1, 2)
        if len(form) == 4 and form[1] == width:
            return h
        grid = getattr(getattr(self.backbone, "patch_embed", None), "grid_size", None)
        if len(form) == 3 and form[2] == width and grid and form[1] - math.prod(grid) in (0, self._prefix):
            return h[:, form[1] - math.prod(grid) :].transpose(1, 2).unflatten(2, tuple(grid))
        raise UsageError(f"{self.name} has no map of {width} channels at {depth}; take a ResNet, ConvNeXt, ViT or Swin")

    @property
    def _channels_last(self) -> bool:
        return getattr(self.backbone, "output_fmt", "") == "NHWC"

    @property
    def _prefix(self) -> int:
        return getattr(self.backbone, "num_prefix_tokens", 0)

    @contextmanager
    def edit(self, depth: str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """While open, what passes `depth` is replaced by `fn` of it: (B, ...) in the net's own layout."""
        if depth == "input":
            handle = self.register_forward_pre_hook(lambda _module, inputs: (fn(inputs[0]),))
        else:
            handle = self._module(depth).register_forward_hook(lambda _module, _inputs, output: fn(output))
        try:
            with _eagerly():
                yield
        finally:
            handle.remove()

    @contextmanager
    def edit_map(self, module: str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """While open, what a module of the backbone gives is replaced by `fn` of it, as a map (B, C, h, w).

        The module, by its name in the backbone, is one whose output is as wide as the last depth. Channels that come
        last are turned; tokens are laid out on their grid, and the prefix tokens pass as they are.
        """

        def turned(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            before = self.as_map(output, self.depths[-1])
            after = fn(before)
            if before is output:
                return after
            if output.dim() == 4:
                return after.permute(0, 2, 3, 1)
            return torch.cat([output[:, : output.shape[1] - before[0, 0].numel()], after.flatten(2).mT], 1)

        handle = self.backbone.get_submodule(module).register_forward_hook(turned)
        try:
            with _eagerly():
                yield
        finally:
            handle.remove()

    # ------------------------------------------------------------------------------------------------ looking

    @contextmanager
    def attention(self) -> Iterator[AttentionProbe]:
        """While open, forward passes leave the last block's attention in the probe; fused kernels stay fused."""
        module = last_attention(self.backbone, self.name)
        probe = AttentionProbe(module, self.backbone.num_prefix_tokens, self.backbone.patch_embed.grid_size)
        handle = module.register_forward_pre_hook(probe.keep)
        try:
            with _eagerly():
                yield probe
        finally:
            handle.remove()

    @contextmanager
    def attentions(self) -> Iterator[list[AttentionProbe]]:
        """While open, forward passes leave every block's attention in its probe, from the first block to the last."""
        last_attention(self.backbone, self.name)  # tells what is wrong with nets that have none
        grid, prefix = self.backbone.patch_embed.grid_size, self.backbone.num_prefix_tokens
        probes = [AttentionProbe(block.attn, prefix, grid) for block in self.backbone.blocks]
        handles = [probe.module.register_forward_pre_hook(probe.keep) for probe in probes]
        try:
            with _eagerly():
                yield probes
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Look without a trace: evaluation mode, weights frozen; mode, buffers, flags and gradients come back.

        With the weights frozen, a gradient taken inside is that of the input alone, at half the price. Inside, the
        net works on copies of its buffers, so that a graph from before can still be followed back afterwards.
        """
        modes = [(m, m.training) for m in self.modules()]
        parameters = [(p, p.requires_grad, p.grad) for p in self.parameters()]
        buffers = [(m, k, b) for m in self.modules() for k, b in m._buffers.items() if b is not None]
        try:
            for module, key, buffer in buffers:
                module._buffers[key] = buffer.detach().clone()
            for parameter, _, _ in parameters:
                parameter.grad = None  # else a backward pass inside would add to the gradient that is kept
            self.eval().requires_grad_(False)
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, wanted, gradient in parameters:
                parameter.requires_grad_(wanted).grad = gradient
            for module, key, buffer in buffers:
                module._buffers[key] = buffer


def _statistic(what: str, values: Sequence[float], channels: int) -> Tensor:
    """(1, C or 1, 1, 1) float32 from one number a channel, or one for all."""
    statistic = torch.as_tensor(values, dtype=torch.float32).clone()
    if statistic.shape not in ((1,), (channels,)) or not statistic.isfinite().all():
        raise UsageError(f"{what} must be 1 finite number or one for each of {channels} channels, got {shown(values)}")
    return statistic.view(1, -1, 1, 1)


def _places(backbone: nn.Module, channels: int) -> dict[str, dict[str, Any]]:
    """Depth name -> timm's feature_info entry, in the order of the forward pass, after the image itself."""
    modules = dict(backbone.named_modules())
    entries = [e for e in getattr(backbone, "feature_info", []) if e["module"] and e["module"] in modules]
    uniform = len({e["reduction"] for e in entries}) == 1
    stems = [e for e in entries if e["module"].split(".")[0] in ("act1", "stem", "conv_stem", "bn1")]
    stages = [e for e in entries if e not in stems]
    named = {f"{'block' if uniform else 'stage'}{i}": e for i, e in enumerate(stages, 1)}
    image = {"module": "", "num_chs": channels, "reduction": 1}
    return {"input": image, **({"stem": stems[0]} if stems else {}), **named}

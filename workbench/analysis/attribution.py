"""Maps of what a prediction rests on: where in the image a net looks when it gives a class its logit.

Every map belongs to the logit of one class, is not negative, and has the image's size. Captum computes Grad-CAM, the
input gradient, integrated gradients and occlusion; it has no others of these, which follow their papers' formulas.
A CAM reads the last map before the pooling (`layer`), as (B, C, h, w) for every family of nets.

B images, K classes, C channels, H W pixels, h w cells of the last map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from workbench.config import UsageError, choose
from workbench.models import Net
from workbench.models.small import SmallResNet

STEPS = 32
"""Points on the path of integrated gradients."""
ROOM = 2**20
"""Pixels of the images that are occluded at a time."""
WINDOWS = 15
"""Places of the occluding window along a side: it is an eighth of the image wide and moves by half of that."""


# ------------------------------------------------------------------------------------------------- where a CAM looks


def _of_small(backbone: Any) -> str:
    """Nets with a last norm and ReLU are read behind them."""
    return "layer3" if isinstance(backbone.final, nn.Identity) else "final"


def _of_convnext(backbone: Any) -> str:
    return f"stages.{len(backbone.stages) - 1}"


def _of_vit(backbone: Any) -> str:
    """The tokens that enter the last attention: behind it, a net that reads its class token alone no longer looks at
    the patches, and their gradient is zero. Where the patches themselves are pooled: the last block's output."""
    last = f"blocks.{len(backbone.blocks) - 1}"
    return f"{last}.norm1" if backbone.global_pool == "token" else last


LAYERS: Mapping[type[nn.Module], Callable[[Any], str]] = {
    SmallResNet: _of_small,
    ResNet: lambda _: "layer4",
    ConvNeXt: _of_convnext,
    VisionTransformer: _of_vit,  # DeiT is one too
    SwinTransformer: lambda _: "norm",
    SwinTransformerV2: lambda _: "norm",
}
"""Family of backbones -> name of the module whose output CAMs read."""


def layer(net: Net) -> str:
    """Name in the backbone of the module that CAMs read; for families that LAYERS lacks, the last named depth."""
    for family, name_of in LAYERS.items():
        if isinstance(net.backbone, family):
            return name_of(net.backbone)
    if len(net.depths) < 2:
        raise UsageError(f"{net.name} does not name its depths; take a ResNet, ConvNeXt, ViT or Swin")
    return net.module_name(net.depths[-1])


@contextmanager
def _seam(net: Net) -> Iterator[nn.Module]:
    """While open, the last map passes through a module, at which gradients begin.

    The weights being frozen, nothing before it is recorded: a map costs a forward pass and the little behind the seam.
    """
    seam = nn.Identity()

    def joined(h: Tensor) -> Tensor:
        with torch.enable_grad():
            return seam(h.detach().requires_grad_()).clone()  # what follows may work in place

    with net.edit_map(layer(net), joined):
        yield seam


def last_map(net: Net, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, h, w) last map, and the gradient by it of each image's logit of its class (B,); float32."""
    kept: list[Tensor] = []
    with _seam(net) as seam:
        seam.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        with torch.enable_grad():
            logits = net(images)
    (slope,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept[0])
    return kept[0].detach().float(), slope.float()


# -------------------------------------------------------------------------------------------------------- the kinds


def _gradcam(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Selvaraju et al., arXiv:1610.02391: channels weighted by their mean gradient. By Captum."""
    from captum.attr import LayerGradCam

    with _seam(net) as seam:
        return LayerGradCam(net, seam).attribute(images, target=classes, relu_attributions=True)[:, 0]


def _gradcam_pp(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Chattopadhay et al., arXiv:1710.11063, of the exponential of the logit, as the paper has it."""
    a, g = last_map(net, images, classes)
    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
    share = g**2 / torch.where(below == 0, 1, below)
    return _combined(a, (share * g.relu()).sum((2, 3)))


def _xgradcam(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Fu et al., arXiv:2008.02312: channels weighted by the mean of their gradient, itself weighted by the map."""
    a, g = last_map(net, images, classes)
    total = a.sum((2, 3))
    return _combined(a, (g * a).sum((2, 3)) / torch.where(total == 0, 1, total))


def _layercam(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Jiang et al., IEEE TIP 2021: each cell of each channel weighted by its own positive gradient."""
    a, g = last_map(net, images, classes)
    return (g.relu() * a).sum(1).relu()


def _eigencam(net: Net, images: Tensor, _classes: Tensor) -> Tensor:
    """Muhammad and Yeasin, arXiv:2008.00299: the last map on its first right singular vector, which is the same for
    every class. Its sign, which is free, is the one with the larger positive part. The package pytorch-grad-cam takes
    the mean over the cells off first, which is not in the paper, and the sign as it comes: its maps are others."""
    kept: list[Tensor] = []
    with torch.no_grad(), _seam(net) as seam:
        seam.register_forward_hook(lambda _module, _inputs, output: kept.append(output.detach()))
        net(images)
    cells = kept[0].float().flatten(2).mT
    u, s, _ = torch.linalg.svd(cells, full_matrices=False)
    along = u[:, :, 0] * s[:, :1]
    along = torch.where(along.relu().sum(1, keepdim=True) >= (-along).relu().sum(1, keepdim=True), along, -along)
    return along.relu().unflatten(1, kept[0].shape[2:])


def _combined(a: Tensor, weight: Tensor) -> Tensor:
    """(B, h, w) positive part of the channels' weighted sum."""
    return torch.einsum("bchw,bc->bhw", a, weight).relu()


def _gradient(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Simonyan et al., arXiv:1312.6034: the largest absolute gradient of a pixel's channels. By Captum."""
    from captum.attr import Saliency

    return Saliency(net).attribute(images.detach().requires_grad_(), target=classes).amax(1)


def _integrated(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Sundararajan et al., arXiv:1703.01365, from the data's mean colour: size of the sum over channels. By Captum."""
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(net).attribute(
        images, baselines=blank(net, images), target=classes, n_steps=STEPS, internal_batch_size=max(len(images), 32)
    )
    return found.sum(1).abs()


def _occlusion(net: Net, images: Tensor, classes: Tensor) -> Tensor:
    """Zeiler and Fergus, arXiv:1311.2901: by how much the logit falls when a window has the data's mean colour, mean
    over the windows that hide a pixel; 0 where it rises. By Captum."""
    from captum.attr import Occlusion

    channels, height, width = images.shape[1:]
    window = tuple(max(1, 2 * side // (WINDOWS + 1)) for side in (height, width))
    stride = tuple(max(1, part // 2) for part in window)
    at_once = max(1, ROOM // images[:, 0].numel())
    with torch.no_grad():
        found = Occlusion(net).attribute(
            images, sliding_window_shapes=(channels, *window), strides=(channels, *stride), target=classes,
            baselines=blank(net, images), perturbations_per_eval=at_once,
        )  # fmt: skip
    return found[:, 0].relu()


def _rollout(net: Net, images: Tensor, _classes: Tensor) -> Tensor:
    """Abnar and Zuidema, arXiv:2005.00928: from what the head reads (the class token, or the pooled patches) to the
    patches, through all blocks, heads averaged, half of every block passing by on the residual path. The same for every
    class; of ViT and DeiT alone."""
    with torch.no_grad(), net.attentions() as probes:
        net(images)
        grid, prefix = probes[-1].grid, probes[-1].prefix
        read = slice(0, 1) if net.backbone.global_pool == "token" else slice(prefix, None)
        start = torch.eye(prefix + grid[0] * grid[1], device=images.device)[read].mean(0)
        flow = 0.5 * probes[-1].rows(read).mean((1, 2)) + 0.5 * start
        for probe in reversed(probes[:-1]):
            flow = 0.5 * torch.einsum("bt,bts->bs", flow, probe.rows().mean(1)) + 0.5 * flow
    return flow[:, prefix:].unflatten(1, grid)


@dataclass(frozen=True)
class Kind:
    """A row of the table: images (B, C, H, W) and classes (B,) to maps, and what a map costs in forward passes."""

    compute: Callable[[Net, Tensor, Tensor], Tensor]
    passes: int
    title: str


MAPS: Mapping[str, Kind] = {
    "gradcam": Kind(_gradcam, 1, "Grad-CAM"),
    "gradcam++": Kind(_gradcam_pp, 1, "Grad-CAM++"),
    "xgradcam": Kind(_xgradcam, 1, "XGrad-CAM"),
    "layercam": Kind(_layercam, 1, "Layer-CAM"),
    "eigencam": Kind(_eigencam, 1, "Eigen-CAM"),
    "gradient": Kind(_gradient, 3, "input gradient"),
    "integrated": Kind(_integrated, 3 * STEPS, "integrated gradients"),
    "occlusion": Kind(_occlusion, WINDOWS**2 + 1, "occlusion"),
    "rollout": Kind(_rollout, 2, "attention roll-out"),
}


def attribute(net: Net, images: Tensor, classes: Tensor, kind: str = "gradcam") -> Tensor:
    """(B, H, W) float32 maps of images (B, C, H, W) in [0, 1] for the logits of the classes (B,), not negative; low
    maps are enlarged bilinearly. Not scaled: see `to_unit`. The net is left as found. UsageError for a map of one cell,
    which would say nothing."""
    entry = choose(MAPS, kind, "kind of map")
    with net.probing():
        found = entry.compute(net, images, classes).detach().float()
    if found[0].numel() == 1 and images[0, 0].numel() > 1:
        size = f"{images.shape[2]} x {images.shape[3]}"
        raise UsageError(f"the last map of {net.name} has one cell for {size} images; take kind='gradient', say")
    if found.shape[1:] == images.shape[2:]:
        return found
    return F.interpolate(found[:, None], images.shape[2:], mode="bilinear")[:, 0]


def to_unit(maps: Tensor) -> Tensor:
    """Each map (B, H, W) divided by its highest value; one that is nowhere above zero stays zero."""
    highest = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(highest > 0, highest, 1)


def blank(net: Net, images: Tensor) -> Tensor:
    """(1, C, H, W) the colour that the net's normalisation takes for zero: the mean of its training data."""
    return net.mean.expand(1, *images.shape[1:]).to(images.dtype).clamp(0, 1).contiguous()

"""Names of data sets, nets and metrics: those of the published tables, those of this project, those people write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench import style
from workbench.config import choose


@dataclass(frozen=True)
class Dataset:
    """A data set of the published tables. `images`: how many the accuracies are measured on, None if unknown."""

    title: str
    images: int | None
    others: tuple[str, ...] = ()
    """What it is also called, folded (see `fold`)."""


DATASETS: Mapping[str, Dataset] = {
    "cifar10": Dataset("CIFAR-10", 10_000),
    "cifar100": Dataset("CIFAR-100", 10_000),
    "tiny_imagenet": Dataset("Tiny-ImageNet", 10_000, ("tinyimagenet200", "tinyin")),
    "imagenet1k": Dataset("ImageNet-1k", 50_000, ("imagenet", "in1k", "ilsvrc2012")),
    "imagenet100": Dataset("ImageNet-100", None, ("in100",)),
    "imagenet21k": Dataset("ImageNet-21k", None, ("in21k",)),
    "cub200": Dataset("CUB-200", 5_794, ("cub", "cub2002011")),
    "fgvc_aircraft": Dataset("FGVC-Aircraft", 3_333, ("aircraft", "aircrafts")),
    "stanford_cars": Dataset("Stanford-Cars", 8_041, ("cars",)),
    "inat2017": Dataset("iNat2017", 95_986, ("inaturalist2017",)),
    "inat2018": Dataset("iNat2018", 24_426, ("inaturalist2018",)),
    "places205": Dataset("Places205", 20_500, ("places",)),
}
"""Key -> names and size of the split that the accuracies are measured on (test or validation)."""

MODELS: Mapping[str, str] = {
    "resnext50_32x4d": "resnext50",
    "resnext101_32x4d": "resnext101",
    "deit_tiny_patch16_224": "deit_t",
    "deit_small_patch16_224": "deit_s",
    "deit_base_patch16_224": "deit_b",
    "swin_tiny_patch4_window7_224": "swin_t",
    "swin_small_patch4_window7_224": "swin_s",
    "swin_base_patch4_window7_224": "swin_b",
    "convnext_tiny": "convnext_t",
    "convnext_small": "convnext_s",
    "convnext_base": "convnext_b",
    "mobilenetv2_100": "mobilenet_v2",
}
"""Our name of a model (timm's) -> key of the tables, where they differ. Both are the same net."""

BACKBONES: Mapping[str, str] = {
    "resnet18": "ResNet-18", "resnet34": "ResNet-34", "resnet50": "ResNet-50", "resnet101": "ResNet-101",
    "resnext50": "ResNeXt-50", "resnext101": "ResNeXt-101", "wrn28_8": "WRN-28-8", "deit_t": "DeiT-T",
    "deit_s": "DeiT-S", "deit_b": "DeiT-B", "swin_t": "Swin-T", "convnext_t": "ConvNeXt-T", "pvt_t": "PVT-T",
    "pvt_s": "PVT-S", "moganet_t": "MogaNet-T", "efficientnet_b0": "EfficientNet-B0", "mobilenet_v2": "MobileNetV2",
}  # fmt: skip
"""Titles of the nets of the mixup benchmark; others go by their key."""

METRICS: Mapping[str, str] = {
    "top1": "top-1 (%)",
    "top5": "top-5 (%)",
    "train_hours": "training (h)",
    "memory_gb": "memory (GB)",
    "throughput_img_s": "images/s",
    "params_m": "params (M)",
    "flops_g": "FLOPs (G)",
}
"""Headings with units, in the order in which tables show them."""

METHODS: Mapping[str, str] = {
    "unspecified": "method not stated",
    "rsb": "RSB (Mixup or CutMix)",
    "mixup_cutmix": "Mixup or CutMix",
    "saliencygrafting": "SaliencyGrafting",
    "supermix": "SuperMix",
    "tokenmix": "TokenMix",
}
"""Display names of methods that this project does not have; self-supervised ones go by their key."""

SCORE_RULES: Mapping[str, str] = {
    "median_last10": "median of the last ten epochs",
    "median_last5": "median of the last five epochs",
    "best_last10": "best of the last ten epochs",
    "mean_of_best_3trials": "mean of three trainings' best epochs",
    "last": "last epoch",
    "": "which epoch counts is not stated",
}


def fold(name: str) -> str:
    """Letters and digits in lower case: `CIFAR-100`, `cifar100` and `Cifar_100` are one name."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def key_of(name: str) -> str:
    """Key of a data set by any of its names, also inside `folder:PATH` and `npz:PATH`; others come back as they are."""
    kind, _, path = str(name).partition(":")
    plain = {"folder": Path(path).name, "npz": Path(path).stem}.get(kind, str(name))
    for key, entry in DATASETS.items():
        if fold(plain) in (fold(key), fold(entry.title), *entry.others):
            return key
    return plain


def dataset(name: str, known: Iterable[str] = DATASETS) -> str:
    """Key of a data set that there are numbers on; UsageError with the nearest where there are none."""
    return choose({key: key for key in known}, key_of(name), "data set with published numbers")


def backbone(name: str) -> str:
    """Key of a net by our name or theirs; a name that no table has comes back as it is."""
    plain = str(name).split(".")[0]
    titles = {fold(title): key for key, title in BACKBONES.items()}
    return MODELS.get(plain, titles.get(fold(plain), plain))


def method(key: str, variant: str = "") -> str:
    """Display name of a method and its variant; AttentiveMix is the benchmark's own form of it wherever it stands."""
    extra = f" ({variant})" if variant not in ("", "attentivemix+") else ""
    return METHODS.get(key, style.label(key)) + extra


def words(dataset: str, backbone: str) -> str:
    """`CIFAR-100, ResNet-18`"""
    title = DATASETS[dataset].title if dataset in DATASETS else dataset
    return f"{title}, {BACKBONES.get(backbone, backbone)}"

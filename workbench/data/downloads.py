"""CIFAR-10/100, Fashion-MNIST and STL-10, read through torchvision. Only `download` downloads."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.config import UsageError, choose
from workbench.data.imageset import ImageSet, Request, Split, resize, train_statistics

VARIABLE = "WORKBENCH_DATA"


@dataclass(frozen=True)
class Layout:
    """How torchvision reads a set: its class, how a split is named, and what lies where under the data folder."""

    reader: str
    splits: dict[str, dict[str, Any]]
    files: tuple[str, ...]


_BY_TRAIN: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


LAYOUTS = {
    "cifar10": Layout(
        "CIFAR10",
        _BY_TRAIN,
        _files("cifar-10-batches-py", *(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "cifar100": Layout("CIFAR100", _BY_TRAIN, _files("cifar-100-python", "train", "test", "meta")),
    "fashion_mnist": Layout(
        "FashionMNIST",
        _BY_TRAIN,
        _files(
            "FashionMNIST/raw",
            *("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ),
    ),
    "stl10": Layout(
        "STL10",
        {"train": {"split": "train"}, "test": {"split": "test"}},
        _files("stl10_binary", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
    ),
}


def _reader(name: str) -> Callable[..., Any]:
    """torchvision's class; imported here because that takes seconds. STL-10 is read without its 100,000 unlabelled
    images, which would otherwise have to be there (2.8 GB) and be summed at every start."""
    from torchvision import datasets

    found = getattr(datasets, LAYOUTS[name].reader)
    return type("STL10", (found,), {"train_list": found.train_list[:2]}) if name == "stl10" else found


def data_root(root: str | Path | None = None) -> Path:
    """The data folder: the argument, else the environment variable WORKBENCH_DATA, else `data` of the working
    directory."""
    return Path(root or os.environ.get(VARIABLE) or "data").expanduser()


def present(name: str, root: str | Path | None = None) -> bool:
    """Whether the files of a set that can be downloaded are in the data folder."""
    return all((data_root(root) / file).is_file() for file in LAYOUTS[name].files)


def download(name: str, root: str | Path | None = None) -> Path:
    """Bring a set into the data folder and return that folder. Archives that are there already (and whole) are
    unpacked without a network. Raises a UsageError if it can't be had."""
    choose(LAYOUTS, name, "data set that can be downloaded")
    folder = data_root(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _reader(name)(str(folder), download=True)
    except (OSError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{name} could not be downloaded to {folder} ({reason}); copy it there by hand: {_by_hand(name)}"
        ) from None
    return folder


def read(request: Request, *, name: str) -> ImageSet:
    """One split of a set that lies in the data folder."""
    folder = data_root(request.root)
    images, labels, classes = _arrays(name, request.split, folder)
    train = request.split == "train"
    mean, std = train_statistics(
        (name, folder.absolute()), lambda: images if train else _arrays(name, "train", folder)[0]
    )
    pixels = resize(images, request.size or images.shape[-1])
    return ImageSet(pixels=pixels, labels=labels, classes=classes, mean=mean, std=std)


def builder(name: str) -> Callable[[Request], ImageSet]:
    """`read` for one set."""
    return partial(read, name=name)


def _arrays(name: str, split: Split, folder: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images uint8 (N, C, H, W), labels int64 (N,), names of the classes."""
    if not present(name, folder):
        raise UsageError(_missing(name, folder))
    try:
        found = _reader(name)(str(folder), download=False, **LAYOUTS[name].splits[split])
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError, LookupError) as error:
        reason = " ".join(str(error).split()).removesuffix(" You can use download=True to download it")
        raise UsageError(
            f"{name} in {folder} is damaged ({reason}); delete it and get it again with {_command(name)}"
        ) from None
    images = torch.as_tensor(found.data)
    labels = torch.as_tensor(np.asarray(found.labels if hasattr(found, "labels") else found.targets), dtype=torch.int64)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    return images.contiguous(), labels, tuple(found.classes)


def _missing(name: str, folder: Path) -> str:
    return (
        f"{name} is not in {folder.absolute()} (the data folder: an argument, else {VARIABLE}, else data/ here); "
        f"get it with {_command(name)}, or copy it there by hand: {_by_hand(name)}"
    )


def _by_hand(name: str) -> str:
    files = LAYOUTS[name].files
    return f"{Path(files[0]).parent.as_posix()}/ with {len(files)} files, see data/README.md"


def _command(name: str) -> str:
    return f"'workbench data --download {name}'"

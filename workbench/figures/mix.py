"""Somebody's own two pictures, mixed: the mix as a picture, and beside it a sheet that shows how it came about."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import style
from workbench.config import Range, UsageError
from workbench.data.decode import MEND, centre, open_rgb
from workbench.draw import Draw
from workbench.figures import save
from workbench.figures.samples import framed
from workbench.methods import Method, Mixed, build
from workbench.models import Net
from workbench.runs import Run
from workbench.runs.folder import make_folder, write_bytes

SIZES = Range(8, 4096)


def mix_files(
    method: str,
    images: Sequence[Path],
    lam: float,
    out: Path,
    *,
    size: int = 224,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    run: Path | None = None,
) -> list[str]:
    """Mix picture A with picture B; writes the mix to `out` and a sheet with sources and mask to `<out>-how`.

    `run` is a finished run whose net (and what its method learned) is used; the pictures are then brought to its size.
    Returns lines that say what was made.
    """
    _check(images, lam, out, size)
    if params and run is not None:
        raise UsageError("--params and --run can't be combined: the parameters come from the run; leave one out")
    mixer, net = _mixer(method, params or {}, run)
    x = torch.stack([centre(_open(path), net.size if net else size) for path in images]).float() / 255
    draw = Draw(seed, lam=lam, partner=[1, 0])
    mixed, note = mixer.picture(x, torch.arange(2), net, draw)
    written = [_write_picture(mixed.x[0], out), *_write_sheet(x, mixed, images, out)]
    return [*_weights(mixed, images, lam), *([note] if note else []), *(f"wrote {path}" for path in written)]


def _check(images: Sequence[Path], lam: float, out: Path, size: int) -> None:
    """Refuse what can't work before a net is loaded or a picture decoded."""
    if len(images) != 2:
        raise UsageError(f"mix takes two pictures, got {len(images)}: --images A.jpg B.jpg")
    if not 0 <= lam <= 1:
        raise UsageError(f"lam is the weight of the first picture and must be from 0 to 1, got {lam}")
    if size not in SIZES:
        raise UsageError(f"size must be from {SIZES} pixels, got {size}")
    for path in images:
        if not path.is_file():
            raise UsageError(f"no picture at {path}")
        if path.resolve() in (out.resolve(), _sheet(out).resolve()):
            raise UsageError(f"{path} is one of the pictures to mix and would be overwritten; choose another --out")
    try:
        _encode(np.zeros((8, 8, 3), np.uint8), out)
    except (KeyError, OSError, ValueError):  # what Pillow raises where a format is unknown, only read, or without RGB
        raise UsageError(f"{out} must end in a kind of picture, such as .png or .jpg") from None


def _open(path: Path) -> Image.Image:
    try:
        return open_rgb(path)
    except UsageError as error:  # its advice is for data sets
        raise UsageError(str(error).removesuffix(f"; {MEND}")) from None


def _mixer(method: str, params: Mapping[str, Any], run: Path | None) -> tuple[Method, Net | None]:
    """The method, and the net of the run if there is one."""
    if run is not None:
        handle = Run(run)
        if handle.config.method != method:
            raise UsageError(f"{run} was trained with {handle.config.method}, not {method}")
        return handle.method(), handle.net()
    mixer = build(method, params)
    if mixer.needs_net and mixer.family != "feature":
        raise UsageError(f"{method} looks into a net: give it one with --run, a finished run of {method}")
    return mixer, None


def _weights(mixed: Mixed, images: Sequence[Path], lam: float) -> list[str]:
    """The label's weights, and a line more where they are not what was asked for."""
    shares = torch.zeros(2).scatter_add_(0, mixed.source[0], mixed.weight[0].detach()).tolist()
    label = "label: " + ", ".join(f"{path.name} {share:.3f}" for path, share in zip(images, shares, strict=True))
    if abs(shares[0] - lam) <= 0.01:
        return [label]
    why = "label weight as realised (a box, for example, is clipped at the image's edge)"
    return [label, f"asked for {lam:.2f} of A, got {shares[0]:.2f}: {why}"]


def _pixels(image: Tensor) -> np.ndarray:
    return (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _encode(pixels: np.ndarray, out: Path) -> bytes:
    """A picture in the format of the ending of `out`; KeyError, OSError or ValueError where there is none."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=Image.registered_extensions()[out.suffix.lower()])
    return buffer.getvalue()


def _write_picture(image: Tensor, out: Path) -> Path:
    make_folder(out.parent)
    write_bytes(out, _encode(_pixels(image), out))
    return out


def _sheet(out: Path) -> Path:
    return out.with_name(f"{out.stem}-how.png")


def _write_sheet(x: Tensor, mixed: Mixed, images: Sequence[Path], out: Path) -> list[Path]:
    """Sources, mask and mix in a row."""
    pictures, captions = [_pixels(x[0]), _pixels(x[1])], [f"A: {images[0].name}", f"B: {images[1].name}"]
    if mixed.mask is not None:
        pictures.append(framed(mixed.shares()[0, 0].detach().numpy()))
        captions.append("mask: white is A")
    pictures.append(_pixels(mixed.x[0]))
    captions.append(f"mix: {mixed.weight[0, 0]:.2f} A")
    with style.paper("cvpr", 2) as width:
        figure = style.image_grid([[style.GridRow("", pictures, captions)]], width)
        return save(figure, _sheet(out).with_suffix(""), formats=("png",))

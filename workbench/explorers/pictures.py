"""Where an explorer's pictures come from: the embedded photographs, a data set, files of the user's own."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from workbench.config import UsageError
from workbench.data import DATASETS, load, present
from workbench.data.decode import DAMAGE, centre, to_rgb
from workbench.data.downloads import LAYOUTS
from workbench.data.embedded import PHOTOS, whole_photos
from workbench.data.imageset import resize

PHOTOGRAPHS = "photographs"
SIDES = (32, 64, 128, 224)
"""Sides in pixels that are offered, as far as the pictures have them."""
KEPT = 2 * SIDES[-1]
"""Pixels of the shorter side that is kept of a user's picture; more is never shown."""
SHOWCASE = 30
"""Pictures of a data set that are offered, the classes in turn."""
MEGAPIXELS = 100
"""Of a picture that is still taken: decoding one needs 3 bytes a pixel, for a moment."""
KINDS = "PNG, JPEG, WebP, TIFF, GIF or BMP"


@dataclass(frozen=True)
class Source:
    """Pictures to choose from. `square(row, side)` gives one as uint8 (C, side, side); `side` is their own, and the
    largest. `notes` tell what was done to them; `own` are the user's own among them."""

    title: str
    names: tuple[str, ...]
    side: int
    square: Callable[[int, int], Tensor]
    notes: tuple[str, ...] = ()
    own: Mapping[str, Image.Image] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides in pixels to choose from."""
        return (*(side for side in SIDES if side < self.side), self.side)

    def batch(self, rows: Sequence[int], side: int) -> Tensor:
        """(rows, C, side, side) float32 in [0, 1]; UsageError for a row that is not there."""
        for row in rows:
            if not 0 <= row < len(self.names):
                raise UsageError(f"{self.title} has pictures 0 to {len(self.names) - 1}, got {row}; choose one of them")
        return torch.stack([self.square(row, side) for row in rows]).float() / 255


def titles(data: Sequence[str] = ()) -> list[str]:
    """What can be opened at once: the photographs, the data sets that are here, and those of `data`."""
    here = [name for name, entry in DATASETS.items() if not entry.takes_path and name != "photos" and _here(name)]
    return list(dict.fromkeys([PHOTOGRAPHS, *data, *here]))


def open_source(title: str) -> Source:
    """The photographs, or a data set: a name of the registry, `folder:PATH` or `npz:PATH`."""
    return photographs() if title == PHOTOGRAPHS else data_set(title)


def photographs() -> Source:
    """The ten photographs that need no download, cut to the square in the middle."""
    return Source(PHOTOGRAPHS, tuple(PHOTOS), SIDES[-1], lambda row, side: _photographs(side)[row])


@lru_cache(maxsize=4)
def _photographs(side: int) -> Tensor:
    return whole_photos(side)[0]


def data_set(name: str) -> Source:
    """Test pictures of a data set, the classes in turn. UsageError as `load` has it."""
    images = load(name, "test")
    rows = images.showcase(SHOWCASE)
    found, classes = images.pictures(rows), [images.classes[k] for k in images.labels[rows].tolist()]
    names = tuple(f"{kind} ({row})" for kind, row in zip(classes, rows.tolist(), strict=True))
    return Source(name, names, min(images.size), lambda row, side: resize(found[row : row + 1], side)[0])


def _here(name: str) -> bool:
    return name not in LAYOUTS or present(name)


# ----------------------------------------------------------------------------------------------- files of the user


def own_files(
    files: Mapping[str, bytes | Path], faults: Sequence[str] = (), earlier: Mapping[str, Image.Image] | None = None
) -> Source:
    """Pictures from the bytes of files, or from paths, by name, before the earlier ones, of which those of the same
    name go. A single one is followed by the photographs, so that there is something to mix it with. What is no picture
    is left out, with a note (`faults`: what is known already to be none); a UsageError, in one line, where nothing of
    the files is left."""
    opened: dict[str, tuple[Image.Image, list[str]]] = {}
    faults = list(faults)
    for name, given in files.items():
        try:
            opened[name] = open_picture(name, given)
        except UsageError as error:
            faults.append(str(error))
    if not opened:
        raise UsageError(faults[0] if faults else f"no file came; give one or more pictures ({KINDS})")
    own = {name: picture for name, (picture, _) in opened.items()} | {
        name: picture for name, picture in (earlier or {}).items() if name not in opened
    }
    notes = (*(f"{name}: {', '.join(done)}" for name, (_, done) in opened.items() if done), *faults)
    squares, others = list(own.values()), photographs()
    if len(own) > 1:
        return Source("own files", tuple(own), SIDES[-1], lambda row, side: centre(squares[row], side), notes, own)
    return Source(
        "own files",
        (*own, *others.names),
        SIDES[-1],
        lambda row, side: others.square(row - 1, side) if row else centre(squares[0], side),
        (*notes, "B is one of the photographs; drop another picture to mix both"),
        own,
    )


def open_picture(name: str, given: bytes | Path) -> tuple[Image.Image, list[str]]:
    """A file as an upright RGB picture of at most KEPT pixels on its shorter side, and what was done to it.

    Grey, 16-bit, CMYK and palette pictures become RGB, transparent parts white; of an animation the first frame is
    taken. A UsageError for what is no picture, damaged, or has more than MEGAPIXELS.
    """
    data = _read(name, given) if isinstance(given, Path) else given
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_area(name, image)
            done = _told(image)
            image.draft(None, (KEPT, KEPT))  # a JPEG of many megapixels is decoded at a fraction of its size
            return _shrunk(to_rgb(ImageOps.exif_transpose(image))), done
    except Image.DecompressionBombError:
        raise UsageError(f"{name} has far more than {MEGAPIXELS} megapixels, the most taken; scale it down") from None
    except UsageError:  # what we said ourselves, and a ValueError too
        raise
    except DAMAGE as error:
        why = " ".join(str(error).split())
        why = "no format that is read" if why.startswith("cannot identify") else why or type(error).__name__
        raise UsageError(f"{name} is damaged or no picture ({why}); expected {KINDS}") from None


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{name} can't be read ({error.strerror}); expected a file with a picture") from None


def _check_area(name: str, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MEGAPIXELS * 1e6:
        size = f"{width} × {height} pixels"
        raise UsageError(f"{name} has {size}; at most {MEGAPIXELS} megapixels are taken, scale it down")


def _told(image: Image.Image) -> list[str]:
    """What will be done to a picture, for the user to know."""
    turned = image.getexif().get(0x0112, 1) != 1
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    done = {
        "first frame of an animation": getattr(image, "n_frames", 1) > 1,
        "turned upright": turned,
        "transparent parts made white": transparent,
        "grey": image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L"),
        "16 bits cut to 8": image.mode.startswith("I"),
        "CMYK brought to RGB": image.mode == "CMYK",
        f"scaled down from {image.width} × {image.height} px": image.width * image.height > 1e7,
    }
    return [text for text, holds in done.items() if holds]


def _shrunk(image: Image.Image) -> Image.Image:
    """The picture with its shorter side brought down to KEPT, so that a large one is not held whole."""
    factor = KEPT / min(image.size)
    if factor >= 1:
        return image
    return image.resize([max(1, round(factor * side)) for side in image.size], Image.Resampling.BICUBIC)

"""Partial results in a file, so that long work that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.analysis.inputs import Examples
from workbench.config import UsageError
from workbench.models import Net

PAUSE = 5.0
"""Seconds between two writes: no more work than that is lost."""


class Kept:
    """Arrays that are filled point by point, and a mask of the points that are done; in a file, if there is a path.

    Whoever holds it in a `with` block finds what is done in the file afterwards, whatever happened. UsageError for a
    file of other work, and for a folder that is not there.
    """

    def __init__(self, path: str, owner: str, arrays: Mapping[str, np.ndarray], shape: Sequence[int]) -> None:
        self.path, self.owner = Path(path) if path else None, owner
        self.arrays, self.done = dict(arrays), np.zeros(shape, bool)
        self._written = time.monotonic()
        if self.path and not self.path.parent.is_dir():
            raise UsageError(f"there is no folder {self.path.parent} to keep partial results in; make it first")
        if self.path and self.path.is_dir():
            raise UsageError(f"partial results are kept in a file, {self.path} is a folder; name a file in it")
        if self.path and self.path.is_file():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        from workbench.runs.folder import read_arrays

        try:
            stored = read_arrays(path)
        except UsageError:
            raise UsageError(f"{path} keeps no partial results; delete it, or name another file for keep") from None
        if str(stored.get("owner", "")) != self.owner:
            raise UsageError(f"{path} keeps other work (other nets, images or options); delete it or name another file")
        self.done = stored["done"]
        self.arrays = {key: stored[key] for key in self.arrays}

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def put(self, place: tuple[int, ...], **values: float) -> None:
        """Note what was found at a point."""
        for key, value in values.items():
            self.arrays[key][place] = value
        self.done[place] = True
        if time.monotonic() - self._written > PAUSE:
            self._write()

    def _write(self) -> None:
        from workbench.runs.folder import write_arrays

        if self.path:
            write_arrays(self.path, owner=np.array(self.owner), done=self.done, **self.arrays)
        self._written = time.monotonic()


def owner_of(nets: Sequence[Net], data: Examples, options: Mapping[str, Any]) -> str:
    """A digest of everything that the results follow from: the nets' weights, the images, the options."""
    digest = hashlib.sha256(json.dumps(dict(options), sort_keys=True).encode())
    tensors = [t for net in nets for t in net.state_dict().values() if torch.is_tensor(t)]
    for tensor in [*tensors, data.images, data.labels]:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

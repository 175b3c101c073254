"""A place to drop files on, or to choose them with a click: what ipywidgets' own button for files lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anywidget
import traitlets

MOST = 64 * 2**20
"""Bytes of all files of a batch that are still taken."""


@dataclass
class Batch:
    """What has come so far of the files that were dropped together."""

    files: dict[str, bytearray] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    name: str = ""
    """Of the file that comes just now."""


class Drop(anywidget.AnyWidget):
    """A place on the page for files.

    text: what stands there. accept: the kinds of files that a chooser offers, as HTML has them, e.g. "image/*".
    around: CSS selector of what takes dropped files too, around the place. received: is called once all of a batch have
    come, with their contents by name (a name that comes twice gets a number) and with a line for each file that could
    not be read.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    text = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)
    around = traitlets.Unicode().tag(sync=True)
    most = traitlets.Int(MOST).tag(sync=True)

    def __init__(self, text: str, received: Callable[[dict[str, bytes], list[str]], None], **traits: Any) -> None:
        super().__init__(text=text, **traits)
        self._received = received
        self._batches: dict[str, Batch] = {}
        self.on_msg(self._hear)

    def _hear(self, _widget: object, message: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
        """One message of the page; their kinds stand in drop.js. What belongs to no batch is left alone."""
        kind, key = message.get("kind"), str(message.get("batch"))
        if kind == "begin":
            self._batches = {**dict(list(self._batches.items())[-3:]), key: Batch()}  # older ones were broken off
        batch = self._batches.get(key)
        if batch is None:
            return
        if kind == "piece":
            _add(batch, message, buffers)
        elif kind in ("large", "unreadable"):
            batch.faults.append(_fault(kind, message, self.most))
        elif kind == "end":
            del self._batches[key]
            self._received(*_whole(batch))


def _add(batch: Batch, message: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
    if message.get("first"):
        batch.name = _free(str(message.get("name")), batch.files)
        batch.files[batch.name] = bytearray()
        batch.sizes[batch.name] = int(message.get("size", 0))
    for buffer in buffers:
        batch.files.setdefault(batch.name, bytearray()).extend(buffer)


def _whole(batch: Batch) -> tuple[dict[str, bytes], list[str]]:
    """The files that came whole, and what is wrong with the others."""
    files, faults = {}, list(batch.faults)
    for name, size in batch.sizes.items():
        content = bytes(batch.files.pop(name))  # one at a time: all of them twice may be much
        if len(content) == size:
            files[name] = content
        else:
            faults.append(f"{name} came in part, {len(content)} of {size} bytes; drop it again")
    return files, faults


def _fault(kind: str, message: Mapping[str, Any], most: int) -> str:
    name = str(message.get("name"))
    if kind == "unreadable":
        return f"{name} can't be read; expected a file, not a folder"
    size = int(message.get("size", 0)) / 2**20
    return f"{name} with its {size:.1f} MB is too much; at most {most >> 20} MB are taken at a time, scale it down"


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number where it is taken."""
    numbered = (name if i == 1 else f"{name} ({i})" for i in range(1, len(taken) + 2))
    return next(one for one in numbered if one not in taken)

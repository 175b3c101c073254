"""A place to drop files on, or to choose them with a click: what ipywidgets' own button for files lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

MOST = 64 * 2**20
"""Bytes of a file that is still taken."""


class Drop(anywidget.AnyWidget):
    """A place on the page for files.

    text: what stands there. accept: the kinds of files that a chooser offers, as HTML has them, e.g. "image/*".
    received: is called once all of a batch have come, with their contents by name (a name that comes twice gets a
    number) and with a line for each file that could not be read.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    text = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)
    most = traitlets.Int(MOST).tag(sync=True)

    def __init__(
        self, text: str, received: Callable[[dict[str, bytes], list[str]], None], accept: str = "", **traits: Any
    ) -> None:
        super().__init__(text=text, accept=accept, **traits)
        self._received = received
        self._files: dict[str, bytearray] = {}
        self._faults: list[str] = []
        self._name = ""
        self.on_msg(self._hear)

    def _hear(self, _widget: object, message: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
        """One message of the page; their kinds stand in drop.js."""
        kind, name = message.get("kind"), str(message.get("name", ""))
        if kind == "begin":
            self._files, self._faults = {}, []
        elif kind == "piece":
            if message["first"]:
                self._name = _free(name, self._files)
                self._files[self._name] = bytearray()
            self._files[self._name] += buffers[0]
        elif kind == "large":
            size = f"{message['size'] / 2**20:.0f} MB"
            self._faults.append(f"{name} has {size}; at most {self.most >> 20} MB are taken, scale it down")
        elif kind == "unreadable":
            self._faults.append(f"{name} can't be read; expected a file, not a folder")
        elif kind == "end":
            files, faults = {name: bytes(content) for name, content in self._files.items()}, self._faults
            self._files, self._faults = {}, []  # a second copy would stay in memory
            self._received(files, faults)


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number where it is taken."""
    numbered = (name if i == 1 else f"{name} ({i})" for i in range(1, len(taken) + 2))
    return next(one for one in numbered if one not in taken)

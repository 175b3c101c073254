"""`Explorer`, the base of all: draws the latest state only, tells mistakes in a line, frees everything on close."""

from __future__ import annotations

import asyncio
import base64
import html
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import ipywidgets as widgets

from workbench.config import UsageError

DELAY = 0.005
"""Seconds from a change to its drawing: changes that already wait in the kernel's queue are taken in first."""

_OPEN: dict[tuple[type[Explorer], str], Explorer] = {}
"""The explorers on show, by class and key, so that one made again replaces its predecessor."""
_DRAWING = threading.RLock()
"""One drawing at a time: JupyterLab may handle widgets in another thread than cells, and matplotlib's settings are
global."""


class Explorer:
    """A widget with a state, a drawing of it, and a static twin.

    A subclass sets `name`, builds its controls in `__init__` (after `super().__init__(key)`), passes each to `watch`,
    lays them out with `lay_out(...)` and ends with `settle()`. It overrides `draw`, which brings the pictures up to
    date with the controls, and `png`.

        class Brightness(Explorer):
            name = "brightness"

            def __init__(self, *, key: str = "") -> None:
                super().__init__(key)
                self.share = self.watch(slider("Brightness", 0.5, 0, 1))
                self.image = picture(224, 224)
                self.lay_out(self.share, self.image)
                self.settle()

            def draw(self) -> None:
                self.image.value = encode(grey(self.share.value))

            def png(self) -> bytes:
                return self.image.value

    key: explorers of one class with different keys stand side by side; one with a key that is taken closes the older.
    """

    name: ClassVar[str] = ""
    """Short name; the root widget has the CSS class `wb-<name>`."""

    def __init__(self, key: str = "") -> None:
        older = _OPEN.pop((type(self), key), None)
        if older is not None:
            older.close()
        _OPEN[type(self), key] = self
        self.key = key
        self.closed = False
        self.failure: Exception | None = None
        """What the last drawing or action failed with; None after a good one."""
        self._failed: Callable[[], None] | None = None
        self.message = widgets.HTML()
        self.message.add_class("wb-message")
        self.widget = widgets.VBox([self.message], layout=widgets.Layout(overflow="visible", grid_gap="10px"))
        self.widget.add_class(f"wb-{self.name}")
        self._dirty = True
        self._scheduled = False
        self._held = False
        self._tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    # ---------------------------------------------------------------------------------------- for the subclass

    def draw(self) -> None:
        """Bring what is shown up to date with the controls. Overridden; a UsageError becomes the message's line."""
        raise NotImplementedError(f"{type(self).__name__} must say how it draws")

    def png(self) -> bytes:
        """The static twin: the present state as a picture, as PNG. Overridden."""
        raise NotImplementedError(f"{type(self).__name__} must give its picture")

    def free(self) -> None:
        """Let go of arrays, nets and files. Called once, on close; overridden where there are some."""

    def lay_out(self, *parts: widgets.Widget) -> None:
        """Put the parts under each other; the message's line (`self.message`) last, unless it is among them."""
        self.widget.children = parts if self.message in parts else (*parts, self.message)

    def watch(self, control: Any) -> Any:
        """Draw again whenever the control's value changes; gives the control back."""
        control.observe(self._changed, names="value")
        return control

    def offer(self, control: Any, options: Sequence[Any]) -> None:
        """Give a watched choice new options (values, or pairs of a text and a value), without drawing. What was chosen
        stays chosen where it still is among them; else the first is, or, of a choice of several, none."""
        if list(control.options) == list(options):
            return
        before, values = control.value, [one[1] if isinstance(one, tuple) else one for one in options]
        control.unobserve(self._changed, names="value")
        try:
            control.options = options
            if isinstance(control, widgets.SelectMultiple):
                control.value = tuple(value for value in before if value in values)
            elif values:  # a drop-down that held None would go on holding it
                control.value = before if before in values else values[0]
        finally:
            self.watch(control)

    def on_click(self, button: widgets.Button, action: Callable[[], None]) -> widgets.Button:
        """Do this when the button is pressed; a mistake is told in the message's line. Gives the button back."""
        button.on_click(lambda _: self.attempt(action))
        return button

    # ---------------------------------------------------------------------------------------- drawing

    def later(self) -> None:
        """The state has changed: draw it, once, a few milliseconds from now, however many changes come till then, so
        that a slider never queues up work; the last state always gets drawn. Without a running loop: draw at once."""
        if self.closed:
            return
        self._dirty = True
        if self._held:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._render()
            return
        if not self._scheduled:
            self._scheduled = True
            loop.call_later(DELAY, self._render)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside: nothing is drawn, so that several controls can be set together; what changed is drawn afterwards."""
        if self._held:
            yield
            return
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._dirty:
                self.later()

    def settle(self) -> None:
        """Draw now what has changed. Raises what a drawing failed with, unless that is a UsageError, which stands in
        the message's line."""
        if self._dirty:
            self._render()
        if self.failure is not None and not isinstance(self.failure, UsageError):
            raise self.failure

    def attempt(self, action: Callable[[], None], *, unasked: bool = False) -> bool:
        """Do something; whether it went well. What it raises is shown in the message's line, and cleared by the next
        thing that goes well; what a drawing raised, by the next good drawing only. What is done `unasked`, later or
        again and again, clears no mistake but its own, and a drawing that was asked for before a mistake clears none:
        a line must stay long enough to be read."""
        try:
            with _DRAWING:
                action()
        except Exception as error:
            if action != self.draw and not self._held:
                self._render()
            self.failure, self._failed = error, action
            name = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
            self.tell(name + " ".join(str(error).split()), mistake=True)
            return False
        clears = self._failed == action if unasked else self._failed != self.draw
        if self.failure is not None and (action == self.draw or clears):
            self.failure = None
            if "wb-mistake" in self.message._dom_classes:
                self.tell("")
        return True

    def tell(self, text: str, *, mistake: bool = False) -> None:
        """Put a line of plain text into the message's place; an empty one clears it."""
        color = "#a3262a" if mistake else "#3d5a3d"
        (self.message.add_class if mistake else self.message.remove_class)("wb-mistake")
        style = f"color: {color}; line-height: 1.4; white-space: normal"
        self.message.value = f'<div role="status" style="{style}">{html.escape(text)}</div>' if text else ""

    def _changed(self, _change: object) -> None:
        self.later()

    def _render(self) -> None:
        with _DRAWING:
            self._scheduled = False
            if self._dirty and not self.closed:
                self._dirty = False  # before drawing: a change that comes meanwhile is drawn next
                self.attempt(self.draw)

    # ---------------------------------------------------------------------------------------- over time

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this again and again on the kernel's loop, `seconds` after it last ended, until `close()`. What it raises
        is shown, and it goes on. Without a running loop (a script, a test) nothing is repeated."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._tasks.append((loop, loop.create_task(self._repeat(seconds, action))))

    async def _repeat(self, seconds: float, action: Callable[[], None]) -> None:
        while not self.closed:
            await asyncio.sleep(seconds)
            if not self.closed:
                self.attempt(action, unasked=True)

    # ---------------------------------------------------------------------------------------- showing and ending

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """The widget, and beside it the picture, for readers who can't run widgets."""
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if self.closed:
            return bundle
        self.settle()
        bundle |= {k: v for k, v in self.widget._repr_mimebundle_().items() if k != "text/plain"}
        with _DRAWING:
            try:
                bundle["image/png"] = base64.b64encode(self.png()).decode()
            except UsageError as error:  # there is nothing to picture yet, e.g. no finished run
                bundle["text/plain"] += f": {error}"
        return bundle

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'closed' if self.closed else 'shown as a widget in Jupyter'})"

    def close(self) -> None:
        """End its tasks and free its widgets and pictures. Closing twice is closing once."""
        if self.closed:
            return
        self.closed = True
        if _OPEN.get((type(self), self.key)) is self:
            del _OPEN[type(self), self.key]
        for loop, task in self._tasks:
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
        self._tasks.clear()
        release(self.widget)
        self.free()


def close_all(key: str) -> None:
    """Close the explorers of every class that have this key."""
    for explorer in [explorer for (_, taken), explorer in _OPEN.items() if taken == key]:
        explorer.close()


def release(root: widgets.Widget) -> None:
    """Free a widget and all in it: observers, and the front end's copies with layouts and styles."""
    for part in list(_within(root, set())):
        part.unobserve_all()
        if isinstance(part, widgets.Image):
            part.value = b""
        part.close()


def _within(root: widgets.Widget, seen: set[str]) -> Iterator[widgets.Widget]:
    if root.comm is None or root.model_id in seen:
        return
    seen.add(root.model_id)
    for key in root.keys:
        value = getattr(root, key, None)
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, widgets.Widget):
                yield from _within(part, seen)
    yield root

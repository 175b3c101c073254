"""What explorers are put together from: controls with units, pictures that keep their size, a row for exporting."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from workbench import style
from workbench.config import RunFailed, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.explorers.base import Explorer

WHOLE = {"description_width": "initial"}
"""The style of controls whose description is never cut."""
DECADES = 20.0
"""A range that spans more than this factor gets a logarithmic slider."""
LOG_STEP = 0.02
"""Of a logarithmic slider, in decades, about."""
SCREEN_DPI = 150
"""Of figures that are shown as pictures on a screen."""

# ------------------------------------------------------------------------------------------------------- controls


def button(text: str, hint: str = "", *, primary: bool = False) -> widgets.Button:
    """A button with a text; `hint` is its tooltip."""
    layout = widgets.Layout(width="auto", min_width="84px", flex="0 0 auto")
    return widgets.Button(
        description=text, tooltip=hint or text, button_style="primary" if primary else "", layout=layout
    )


def dropdown(text: str, options: Any, value: Any = None, width: str = "auto") -> widgets.Dropdown:
    """A choice of one; `options` as ipywidgets takes them: values, or pairs of a text and a value."""
    layout = widgets.Layout(width=width, flex="0 0 auto")
    given = {} if value is None else {"value": value}
    return widgets.Dropdown(description=text, options=options, style=WHOLE, layout=layout, **given)


def slider(
    text: str, value: float, low: float, high: float, *, whole: bool = False, width: str = "320px", hint: str = ""
) -> widgets.Widget:
    """A slider from `low` to `high`: of whole numbers, or of real ones, on a logarithmic scale where the range spans
    more than DECADES. The unit belongs into `text`, e.g. "Size (px)". Its `value` is the number itself."""
    looks = {
        "description": text,
        "style": WHOLE,
        "layout": widgets.Layout(width=width),
        "description_allow_html": False,
    }
    looks |= {"tooltip": hint or text, "continuous_update": True}
    if whole:
        return widgets.IntSlider(value=int(value), min=int(low), max=int(high), **looks)
    if low > 0 and high / low > DECADES:
        bounds = {"min": float(np.log10(low)), "max": float(np.log10(high)), "base": 10.0}
        steps = max(1, round(float(np.log10(value / low)) / LOG_STEP))
        step = float(np.log10(value / low)) / steps or LOG_STEP  # a slider shows the default only if it is on a step
        return widgets.FloatLogSlider(value=value, step=step, readout_format=".3g", **bounds, **looks)
    fine = min((high - low) / 100, value / 2) if value > 0 else (high - low) / 100
    digits = int(np.floor(np.log10(fine)))  # so fine that a small default can be told from 0
    scale = {"step": 10.0**digits, "readout_format": f".{max(0, -digits)}f"}
    return widgets.FloatSlider(value=value, min=low, max=high, **scale, **looks)


def heading(text: str) -> widgets.HTML:
    """A short heading over a group of controls."""
    return widgets.HTML(f'<b style="color: {style.INK}">{html.escape(text)}</b>')


def line(text: str = "", *, muted: bool = False) -> widgets.HTML:
    """A line of plain text; set it anew with `line_text`."""
    return widgets.HTML(line_text(text, muted=muted), layout=widgets.Layout(margin="0 2px"))


def line_text(text: str, *, muted: bool = False) -> str:
    """Plain text as the value of a `line`."""
    color = style.MUTED if muted else style.INK
    if not text:
        return ""  # takes no room
    return f'<span style="color: {color}; line-height: 1.35; display: inline-block">{html.escape(text)}</span>'


def row(*parts: widgets.Widget, gap: str = "12px") -> widgets.HBox:
    """Parts side by side, their middles on one line; what does not fit goes below."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap=gap, overflow="visible")
    return widgets.HBox(list(parts), layout=layout)


def column(*parts: widgets.Widget, width: str = "auto", gap: str = "2px") -> widgets.VBox:
    """Parts under each other, which keep their width."""
    layout = widgets.Layout(width=width, flex="0 0 auto", grid_gap=gap, align_items="flex-start", overflow="visible")
    return widgets.VBox(list(parts), layout=layout)


def chooser(control: widgets.SelectMultiple, text: str, *below: widgets.Widget, height: str) -> widgets.VBox:
    """A list under its heading that takes the room beside it, so that long names are not cut where there is some."""
    control.layout = widgets.Layout(width="calc(100% - 4px)", height=height)
    made = column(heading(text), control, *below)
    made.layout.flex, made.layout.max_width = "1 1 380px", "640px"
    return made


# ------------------------------------------------------------------------------------------------------- pictures


def picture(width: int, height: int) -> widgets.Image:
    """A place for a picture of this size in pixels, which no layout squeezes; fill it with `image.value = encode(...)`.

    Until then it holds an empty picture, so that nothing moves when the first one comes. It has no tooltip: with one,
    the front end of ipywidgets 8.1 fails to show a picture at all."""
    layout = widgets.Layout(
        width=f"{width}px", height=f"{height}px", flex="0 0 auto", object_fit="contain", margin="0 2px"
    )
    return widgets.Image(value=encode(np.full((1, 1, 3), 255, np.uint8)), format="png", layout=layout)


def resize(image: widgets.Image, width: int, height: int) -> None:
    """Give a picture's place another size in pixels."""
    image.layout.width, image.layout.height = f"{width}px", f"{height}px"


def encode(pixels: np.ndarray, side: int | None = None) -> bytes:
    """uint8 (H, W), (H, W, 1) or (H, W, 3), or float in [0, 1], as PNG. With `side`, a picture that is smaller is
    enlarged to at least that width by whole factors, so that its pixels stay sharp squares on any screen."""
    if pixels.dtype != np.uint8:
        pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    factor = -(-side // pixels.shape[1]) if side else 1
    if factor > 1:
        pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    buffer = io.BytesIO()
    quick = {"compress_level": 1, "compress_type": 2}  # zlib's Z_HUFFMAN_ONLY: as small for photographs, twice as fast
    Image.fromarray(pixels).save(buffer, format="png", **quick)
    return buffer.getvalue()


def figure_png(figure: Figure, dpi: float = SCREEN_DPI) -> bytes:
    """A figure as PNG for the screen."""
    buffer = io.BytesIO()
    with style.paper():
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------- export


class Export:
    """A row that writes what is shown as a paper's figure: venue, columns, format, file name, button.

    `row` is the widget. figure: makes the figure for a venue and a number of columns. stem: the file's name to begin
    with, without its ending. tables: what else to write, given the stem; it gives the files. left_out: what was chosen
    and is not in the figure, each with the reason.
    """

    def __init__(
        self,
        explorer: Explorer,
        figure: Callable[[str, int], Figure],
        stem: str,
        tables: Callable[[Path], Sequence[Path]] | None = None,
        left_out: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        from workbench.figures import FORMATS

        self.explorer, self.figure, self.tables, self.left_out = explorer, figure, tables, left_out
        self.columns = dropdown("Columns", [("1", 1), ("2", 2)], 2)
        self.venue = dropdown("Venue", self._venues(), "cvpr", width="210px")
        self.columns.observe(self._tell_widths, names="value")
        self.format = dropdown("Format", [(kind.upper(), kind) for kind in FORMATS], "pdf")
        self.file = widgets.Text(
            description="File", value=stem, style=WHOLE, layout=widgets.Layout(width="230px", flex="0 0 auto")
        )
        self.button = explorer.on_click(
            button("Export figure", "Write the figure at the venue's exact width"), self.write
        )
        self.row = row(self.venue, self.columns, self.format, self.file, self.button)

    def _venues(self) -> list[tuple[str, str]]:
        """The venues with the width that a figure of so many columns has there."""
        return [(f"{venue} ({style.page_width(venue, self.columns.value):g} in)", venue) for venue in style.VENUES]

    def _tell_widths(self, _change: object) -> None:
        chosen = self.venue.value
        self.venue.options = self._venues()
        self.venue.value = chosen

    def write(self) -> None:
        """Write the figure, and say where. UsageError where the file's name is empty or can't be written."""
        from workbench.figures import save

        stem = self.file.value.strip().removesuffix(f".{self.format.value}")
        if not stem or stem.endswith(("/", "\\")):
            raise UsageError(f"a figure needs a file name, got {self.file.value!r}; type one, e.g. out/figure")
        made = self.figure(self.venue.value, self.columns.value)
        try:
            paths = save(made, stem, formats=(self.format.value,))
            paths += list(self.tables(Path(stem))) if self.tables else []
        except (OSError, RunFailed) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"{stem} can't be written: {why}; choose another file name") from None
        told = [f"Written: {', '.join(str(p.resolve()) for p in paths)} ({made.get_figwidth():g} in wide)"]
        self.explorer.tell("; left out ".join([*told, *self.left_out()]))

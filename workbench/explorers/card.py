"""A card of the mixed-samples explorer: one method with its mask, mix, numbers, distribution and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.config import UsageError
from workbench.explorers.base import release
from workbench.explorers.controls import Controls, controls
from workbench.explorers.mixed import Chosen, Distribution, Sample, net_distribution
from workbench.explorers.mixed_view import histogram_svg
from workbench.explorers.parts import button, column, dropdown, encode, line, line_text, picture, resize, row
from workbench.figures.samples import framed
from workbench.methods import METHODS

if TYPE_CHECKING:
    from workbench.explorers.mixed_widget import MixedSamples
    from workbench.runs import Run

GAP, MARGIN = 16, 4
"""Pixels between the pictures of a card, and to what stands beside them; of the two margins of a widget."""
PANEL = 310
"""Pixels of numbers, distribution and parameters, where they stand beside the pictures."""
CHART = 92
"""Pixels of a distribution's height."""
NO_RUN = [("no run", "")]
"""Not None: a dropdown of ipywidgets whose value is None may stay at it when it gets other options."""
BLANK = np.full((1, 1, 3), 245, np.uint8)
"""What stands where a method can't be shown."""


class Card:
    """The controls and pictures of one method within `MixedSamples`; `widget` is its box."""

    def __init__(self, owner: MixedSamples, key: str, params: Mapping[str, Any], side: int) -> None:
        self.owner = owner
        self.side, self.width = side, PANEL
        self.kept: dict[str, dict[str, Any]] = {key: dict(params)}
        """Parameters by method, so that a method that is chosen again has them still."""
        options = [(style.label(k), k) for k in METHODS]
        self.method = dropdown("", options, key, width="150px")
        self.method.add_class("wb-method")
        self.method.observe(lambda change: owner.attempt(lambda: self._exchange(change["old"])), names="value")
        self.remove = owner.on_click(button("Remove", "Take this method off"), lambda: owner.remove(self))
        self.net = owner.watch(dropdown("Net of", NO_RUN))
        self.mask, self.mix = picture(side, side), picture(side, side)
        self.mask.add_class("wb-mask")
        self.mix.add_class("wb-mix")
        self.numbers, self.note = line(), line(muted=True)
        self.numbers.add_class("wb-numbers")
        self.measure = owner.on_click(button("Draw its distribution", "1,000 mixes; takes seconds"), self._measure)
        self.chart = picture(PANEL, CHART)
        self.chart.format = "svg+xml"
        self.chart.add_class("wb-distribution")
        self.parameters = column()
        self.controls: Controls
        self.spread: Distribution | None = None
        self._spread_of: object = None
        self._shown: Sample | None = None
        self.why = "not drawn yet"
        """Why the method can't be shown at present; empty where it can."""
        head = row(self.method, self.remove, gap="6px")
        self.panel = column(self.numbers, self.note, self.net, self.measure, self.chart, self.parameters, gap="2px")
        self.halves = (
            column(self.mask, line("Mask: white is A", muted=True)),
            column(self.mix, line("Mix", muted=True)),
        )
        self.body = row(*self.halves, self.panel, gap=f"{GAP // 2}px {GAP}px")
        self.body.layout.align_items = "flex-start"
        self.widget = column(head, self.body, gap="4px")
        self.widget.add_class("wb-card")
        self.widget.layout.max_width = self.body.layout.max_width = "100%"  # in a narrow notebook the panel goes below
        self._build(params)

    def chosen(self) -> Chosen:
        """What the card's controls say."""
        return Chosen(self.method.value, self.controls.values(), self.net.value or None)

    # ---------------------------------------------------------------------------------------- what it shows

    def show(self, sample: Sample) -> None:
        """Fill in mask, mix and numbers."""
        self._shown, self.why = sample, ""
        self.mask.value = encode(BLANK) if sample.mask is None else encode(framed(sample.mask), self.side)
        self.mix.value = encode(sample.mixed, self.side)
        size = sample.mixed.shape[0]
        at_own = "" if size == self.owner.size.value else f"at {size} px, the net's size"
        self.numbers.value = line_text(sample.line())
        self.note.value = line_text("; ".join(text for text in (sample.note, at_own) if text), muted=True)
        self._draw_chart()

    def fail(self, error: UsageError) -> None:
        """Say why there is nothing to see."""
        self._shown, self.why = None, str(error)
        self.mask.value = self.mix.value = encode(BLANK)
        self.numbers.value, self.note.value = line_text(str(error)), ""
        self._draw_chart()

    def spread_over(self, of: object, draw: Callable[[], Distribution]) -> None:
        """Draw the distribution anew if what it is `of` has changed."""
        if of == self._spread_of:
            return
        try:
            self.spread = draw()
        except UsageError:  # the card says already that the method needs a net, or what else is wrong
            self.spread = None
        self._spread_of = of
        self._draw_chart()

    def _measure(self) -> None:
        """The distribution of a method that looks into a net, which is drawn only when it is asked for."""
        method, net = self.owner.mixers.get(self.chosen())
        assert net is not None  # or the button would not be there
        self.spread = net_distribution(method, net, self.owner.pair())
        self._draw_chart()

    def _draw_chart(self) -> None:
        """The histogram with what is shown marked; no place is taken where there is none."""
        self.chart.layout.display = "none" if self.spread is None or self._shown is None else ""
        wanting = self._shown is not None and self.spread is None and bool(self.net.value)
        self.measure.layout.display = "" if wanting else "none"
        if self.spread is None or self._shown is None:
            return
        color = style.look(self.method.value).color
        now = self._shown
        svg = histogram_svg(self.spread, now.label[0], now.visible, color, self.width, CHART)
        self.chart.value = svg.encode()

    # ---------------------------------------------------------------------------------------- how it is built

    def resize(self, side: int, *, wide: bool) -> None:
        """Give the pictures another side; `wide`: what belongs to them stands beside them, else below."""
        self.side = side
        pictures = 2 * (side + MARGIN) + GAP
        self.width = PANEL if wide else pictures - MARGIN
        for image in (self.mask, self.mix):
            resize(image, side, side)
        for half in self.halves:
            half.layout.width = f"{side + MARGIN}px"
        resize(self.chart, self.width, CHART)
        for part in (self.panel, self.parameters, self.numbers, self.note, self.net, *self.controls.widgets.values()):
            part.layout.width = f"{self.width}px"
        self.widget.layout.width = self.body.layout.width = f"{pictures + (GAP + PANEL + MARGIN if wide else 0)}px"
        self._draw_chart()

    def _exchange(self, old: str) -> None:
        """Another method was chosen: keep the old one's parameters, show the new one's."""
        self.kept[old] = self.controls.values()
        before = self.parameters.children
        with self.owner.held():
            self._build(self.kept.get(self.method.value, {}))
            self.owner.later()
        for part in before:
            release(part)

    def _build(self, params: Mapping[str, Any]) -> None:
        """Controls for the method that is chosen."""
        key = self.method.value
        cls = METHODS[key]
        with_net = cls.needs_net and cls.family != "feature"
        suiting = self._suiting(self.owner.runs) if with_net else []
        self.net.options = list(zip(_short(suiting), (run.path for run in suiting), strict=True)) or NO_RUN
        self.net.layout.display = "" if len(suiting) > 1 else "none"
        self.controls = controls(key)
        trained = cls.family == "learned"
        if trained:
            for control in self.controls.widgets.values():
                release(control)
        else:
            self.controls.set(params)
            for control in self.controls.widgets.values():
                self.owner.watch(control)
        word = "Parameters: those that the run was trained with" if trained else self.controls.word()
        below = [line(word, muted=True)] if word else []
        self.parameters.children = (*(() if trained else self.controls.widgets.values()), *below)
        self._spread_of = self.spread = None
        for control in self.controls.widgets.values():
            control.layout.width = f"{self.width}px"

    def _suiting(self, runs: Sequence[Run]) -> list[Run]:
        """Runs whose net the method can look into, the likeliest first: a learned method needs one of its own."""
        key = self.method.value
        family = METHODS[key].family
        if family == "learned":
            return [run for run in runs if run.config.method == key]
        transformer = ("vit", "deit") if family == "attention" else ()
        return sorted(runs, key=lambda r: (not r.config.model.startswith(transformer), r.config.method != key))


def _short(runs: Sequence[Run]) -> list[str]:
    """Names that the card has room for: method and seed, and the end of the run's name where that is not enough."""
    names = [f"{style.label(run.config.method)}, seed {run.config.seed}" for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} (…{run.name[-8:]})" for name, run in zip(names, runs, strict=True)
    ]

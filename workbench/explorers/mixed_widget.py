"""The mixed-samples explorer: pictures, up to six methods side by side, their parameters, what label and area say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import torch
from torch import Tensor

from workbench import style
from workbench.config import UsageError, choose
from workbench.explorers.base import Explorer, release
from workbench.explorers.card import GAP, PANEL, Card
from workbench.explorers.drop import Drop
from workbench.explorers.mixed import MOST, Chosen, Mixers, State, distribution, sample
from workbench.explorers.mixed_view import render
from workbench.explorers.parts import (
    Export,
    button,
    column,
    dropdown,
    encode,
    figure_png,
    picture,
    row,
    slider,
)
from workbench.explorers.pictures import Source, open_source, own_files, titles
from workbench.methods import METHODS
from workbench.runs import Run, finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGE, SMALL, ROOMY = 224, 180, 4
"""Sides of the pictures on the screen in pixels, and up to how many methods they are large."""
WIDE = f"{PANEL}px"
QUIET = 0.15
"""Seconds without a change after which the distributions, the slow part, are drawn."""
LAM, SEED = 0.5, 0
LARGEST_SEED = 2**31 - 1


class MixedSamples(Explorer):
    """Pick two pictures, up to six methods and their parameters; see masks, mixes, label weights and visible areas.

    methods: keys to begin with. data: further data sets to offer, e.g. "folder:PATH". files: pictures of your own, by
    path; others can be dropped. runs: folders with finished runs, for methods that look into a net. `state()` is what
    is shown, `png()` the paper view. UsageError for an unknown method, a file that is no picture, a folder without
    finished runs.
    """

    name = "mixed"

    def __init__(
        self,
        methods: Sequence[str] = ("mixup", "cutmix"),
        *,
        data: Sequence[str] = (),
        files: Sequence[str | Path] = (),
        runs: str | Path | Sequence[str | Path] = (),
        key: str = "",
    ) -> None:
        self.first = tuple(choose({k: k for k in METHODS}, method, "method") for method in methods)
        State(tuple(Chosen(k) for k in self.first))  # says how many there may be
        self.runs = _finished([runs] if isinstance(runs, (str, Path)) else list(runs))
        self.own: Source | None = own_files({Path(file).name: Path(file) for file in files}) if files else None
        super().__init__(key)
        self.mixers = Mixers()
        self.cards: list[Card] = []
        self._pair_of: object = None
        self._waiting: asyncio.TimerHandle | None = None
        offered = titles(data)
        self.source: Source = self.own or open_source(offered[0])
        self._build_controls(offered)
        self._take(self.source)
        self._put([self._card(k) for k in self.first])
        self.lay_out(self._head(), self.export.row, self.message, self.grid)
        self.settle()

    # ---------------------------------------------------------------------------------------- state

    def state(self) -> State:
        """What the controls say."""
        return State(
            tuple(card.chosen() for card in self.cards),
            (self.a.value, self.b.value),
            self.lam.value if self.fixed.value else None,
            self.seed.value,
            self.size.value,
        )

    def showable(self) -> State:
        """The state without the methods that can't be shown, e.g. for want of a run; UsageError if none is left."""
        good = tuple(card.chosen() for card in self.cards if not card.why)
        if not good:
            raise UsageError("none of the methods can be shown; choose one that needs no net, or give finished runs")
        state = self.state()
        return State(good, state.pair, state.lam, state.seed, state.size)

    def pair(self) -> Tensor:
        """(2, C, H, W) float32 in [0, 1]: A and B."""
        return self.source.batch((self.a.value, self.b.value), self.size.value)

    # ---------------------------------------------------------------------------------------- drawing

    def draw(self) -> None:
        state = self.state()
        self.lam.disabled = state.lam is None
        of = (id(self.source), state.pair, state.size)
        if of != self._pair_of:
            self._pair_of = of
            pixels = (self.pair() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            self.image_a.value, self.image_b.value = encode(pixels[0], LARGE), encode(pixels[1], LARGE)
        for card, chosen in zip(self.cards, state.methods, strict=True):
            try:
                card.show(sample(state, chosen, self.source, self.mixers))
            except UsageError as error:  # the others can be shown all the same
                card.fail(error)
        self._spread_later()

    def settle(self) -> None:
        super().settle()
        self.attempt(self._spread)

    def _spread_later(self) -> None:
        """Draw the distributions once nothing has changed for a while: they take longer than a slider may."""
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._spread()
            return
        self._waiting = loop.call_later(QUIET, lambda: self.attempt(self._spread, unasked=True))

    def _spread(self) -> None:
        if self.closed:
            return
        for card in self.cards:
            chosen = card.chosen()
            of = (chosen.key, tuple(chosen.params.items()), chosen.run, id(self.source), self.a.value, self.b.value)
            card.spread_over(of, lambda c=chosen: distribution(c.key, c.params, pair=self.pair()))  # type: ignore[misc]

    def png(self) -> bytes:
        """The paper view of the present state, as PNG."""
        return figure_png(render(self.showable(), self.source, self.mixers))

    def free(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self.mixers.clear()
        self.cards.clear()

    # ---------------------------------------------------------------------------------------- methods

    def add(self, key: str | None = None) -> None:
        """Show another method: `key`, or the next that is not on show. UsageError if there are six."""
        if len(self.cards) >= MOST:
            raise UsageError(f"{MOST} methods are on show, which is the most; remove one first")
        shown = {card.method.value for card in self.cards}
        free = [k for k in METHODS if k not in shown and not METHODS[k].needs_net and METHODS[k].family != "baseline"]
        wanted = choose({k: k for k in METHODS}, key, "method") if key else (free or ["cutmix"])[0]
        self._put([*self.cards, self._card(wanted)])

    def remove(self, card: Card) -> None:
        """Take a method off; one always stays."""
        if len(self.cards) > 1:
            self._put([c for c in self.cards if c is not card])
            release(card.widget)

    def _card(self, key: str) -> Card:
        return Card(self, key, {}, LARGE)

    def _put(self, cards: list[Card]) -> None:
        """Show these cards, smaller where they are many."""
        self.cards = cards
        for card in cards:
            roomy = len(cards) <= ROOMY
            card.resize(LARGE if roomy else SMALL, wide=roomy)
            card.remove.disabled = len(cards) == 1
        self.more.disabled = len(cards) >= MOST
        self.grid.children = tuple(card.widget for card in cards)
        self.later()

    # ---------------------------------------------------------------------------------------- pictures

    def _take(self, source: Source) -> None:
        """Offer the pictures of a source; A and B are its first two."""
        with self.held():
            self.source = source
            options = [(name, i) for i, name in enumerate(source.names)]
            self.a.options, self.b.options = options, options
            self.a.value, self.b.value = 0, min(1, len(options) - 1)
            self.size.options = source.sides
            self.size.value = source.side
            self.later()
        self.tell("; ".join(source.notes))

    def _open(self, change: dict[str, Any]) -> None:
        """Another source was chosen; the old one stays if that can't be opened."""
        if change["new"] != self.source.title and not self.attempt(lambda: self._take(self._opened(change["new"]))):
            self.pictures.value = self.source.title

    def _opened(self, title: str) -> Source:
        return self.own if self.own is not None and title == self.own.title else open_source(title)

    def _receive(self, files: dict[str, bytes], faults: list[str]) -> None:
        """Files came from the user's computer."""
        earlier = None if self.own is None else self.own.own
        self.attempt(lambda: self._take_own(own_files(files, faults, earlier)))

    def _take_own(self, source: Source) -> None:
        self.own = source
        self._take(source)
        if source.title not in self.pictures.options:
            self.pictures.options = (*self.pictures.options, source.title)
        self.pictures.value = source.title

    # ---------------------------------------------------------------------------------------- buttons

    def again(self) -> None:
        """Draw again: the next seed."""
        self.seed.value = (self.seed.value + 1) % (LARGEST_SEED + 1)

    def reset(self) -> None:
        """Back to how it began; the pictures stay."""
        with self.held():
            old = self.cards
            self._put([self._card(k) for k in self.first])
            for card in old:
                release(card.widget)
            self.fixed.value, self.lam.value, self.seed.value = True, LAM, SEED
            self.a.value, self.b.value = 0, min(1, len(self.source.names) - 1)
            self.size.value = self.source.side

    # ---------------------------------------------------------------------------------------- layout

    def _build_controls(self, offered: Sequence[str]) -> None:
        own = [] if self.own is None else [self.own.title]
        self.pictures = _labelled(dropdown("Pictures", [*own, *offered], self.source.title, width=WIDE))
        self.pictures.observe(self._open, names="value")
        self.drop = Drop(
            "Drop pictures here, or click to choose",
            self._receive,
            accept="image/*",
            around=".wb-mixed",
            layout=widgets.Layout(width=WIDE, flex="0 0 auto"),
        )
        self.a = self.watch(dropdown("A", [("", 0)], width=f"{LARGE}px"))
        self.b = self.watch(dropdown("B", [("", 0)], width=f"{LARGE}px"))
        self.size = self.watch(_labelled(dropdown("Size (px)", [LARGE], width="144px")))
        self.lam = self.watch(_labelled(slider("Lambda", LAM, 0, 1, width=WIDE, hint="Wished weight of A, 0 to 1")))
        self.lam.add_class("wb-lambda")
        self.fixed = self.watch(
            widgets.Checkbox(
                value=True, description="Lambda fixed (else drawn)", indent=False, layout=widgets.Layout(width="auto")
            )
        )
        self.seed = self.watch(_labelled(_whole_number("Seed", SEED, LARGEST_SEED)))
        self.next = self.on_click(button("Draw again", "The next seed: another box, another mask"), self.again)
        self.more = self.on_click(button("Add a method", "Compare up to six", primary=True), self.add)
        self.back = self.on_click(button("Reset", "Back to the first methods with the papers' parameters"), self.reset)
        self.image_a, self.image_b = picture(LARGE, LARGE), picture(LARGE, LARGE)
        self.image_a.add_class("wb-source-a")
        self.image_b.add_class("wb-source-b")
        layout = widgets.Layout(
            flex_flow="row wrap", grid_gap="20px 16px", align_items="flex-start", overflow="visible"
        )
        self.grid = widgets.HBox(layout=layout)
        self.export = Export(self, self._figure, "mixed-samples", left_out=self._left_out)

    def _figure(self, venue: str, columns: int) -> Figure:
        return render(self.showable(), self.source, self.mixers, venue=venue, columns=columns)

    def _left_out(self) -> list[str]:
        """Of the chosen methods those that no figure shows, each with the reason."""
        return [f"{style.label(card.method.value)}: {card.why}" for card in self.cards if card.why]

    def _head(self) -> widgets.Widget:
        """The sources, and beside them what is common to all methods."""
        common = column(
            self.pictures,
            self.drop,
            row(self.size, self.seed, gap="8px"),
            self.lam,
            row(self.fixed, self.next),
            row(self.more, self.back),
            width=WIDE,
            gap="6px",
        )
        sources = column(self.a, self.image_a, gap="4px"), column(self.b, self.image_b, gap="4px")
        head = row(*sources, common, gap=f"{GAP // 2}px {GAP}px")
        head.layout.align_items = "flex-start"
        return head


def _labelled(control: Any) -> Any:
    """A control whose description takes as much room as those above and below it."""
    control.style.description_width = "62px"
    return control


def _whole_number(text: str, value: int, most: int) -> widgets.Widget:
    layout = widgets.Layout(width="144px", flex="0 0 auto")
    return widgets.BoundedIntText(value=value, min=0, max=most, description=text, layout=layout)


def _finished(folders: Sequence[str | Path]) -> list[Run]:
    """The finished runs in the folders. UsageError where folders are given and none is there."""
    found, others = finished(folders)
    if folders and not found:
        why = f": {others[0]}" if others else ""
        raise UsageError(f"no finished run in {', '.join(map(str, folders))}{why}; train one with `workbench train`")
    return found

"""Mixed samples as pure functions: a state and pictures in, arrays, distributions and a paper's figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench import style
from workbench.config import UsageError, choose
from workbench.draw import Draw
from workbench.explorers.pictures import SIDES, Source
from workbench.methods import METHODS, Method, Mixed, build
from workbench.models import Net
from workbench.runs import Run

MOST = 6
"""Methods that are compared at once."""
DRAWS = 1000
"""Of a distribution."""
PAIRS = 50
"""Of a batch in which a net sees them."""
AREA_SIDE = 64
"""Pixels of the pictures that a distribution is drawn with; lambdas and areas hardly depend on it."""


@dataclass(frozen=True)
class Chosen:
    """A method on show: its key, the parameters that differ from its paper's, and, where it looks into a net, the
    finished run whose net it is."""

    key: str
    params: Mapping[str, Any] = field(default_factory=dict)
    run: Path | None = None

    def __post_init__(self) -> None:
        choose(METHODS, self.key, "method")


@dataclass(frozen=True)
class State:
    """Everything that decides what is shown.

    methods: one to six; pair: rows of the source, A and B; lam: the wished weight of A, or None to draw it as training
    does; seed: of what is drawn (boxes, masks, lambda); size: side of the pictures in pixels.
    """

    methods: tuple[Chosen, ...] = (Chosen("mixup"), Chosen("cutmix"))
    pair: tuple[int, int] = (0, 1)
    lam: float | None = 0.5
    seed: int = 0
    size: int = SIDES[-1]

    def __post_init__(self) -> None:
        if not 1 <= len(self.methods) <= MOST:
            raise UsageError(f"one to {MOST} methods are shown at once, got {len(self.methods)}; remove some")
        if self.lam is not None and not 0 <= self.lam <= 1:
            raise UsageError(f"lam is the weight of picture A and must be from 0 to 1, got {self.lam}")
        if not 8 <= self.size <= 1024:
            raise UsageError(f"the pictures' side must be from 8 to 1024 px, got {self.size}")
        Draw(self.seed)  # says what a seed may be


@dataclass(frozen=True)
class Sample:
    """What a method made of A and B, as arrays."""

    sources: np.ndarray
    """(2, H, W, C) uint8: A and B, as the method saw them."""
    mixed: np.ndarray
    """(H, W, C) uint8."""
    mask: np.ndarray | None
    """(H, W) float32: the share of A in every pixel; None where no pixels are mixed."""
    label: tuple[float, float]
    """Label weights of A and B."""
    note: str
    """Where the mix is not simply what a net would see."""

    @property
    def visible(self) -> float | None:
        """Share of A among the pixels: the mean of the mask."""
        return None if self.mask is None else float(self.mask.mean())

    def line(self) -> str:
        """Label weight against visible area, in words."""
        visible = "no pixels are mixed" if self.visible is None else f"visible {self.visible:.2f} A"
        return f"label {self.label[0]:.2f} A · {visible}"


# ------------------------------------------------------------------------------------------------------- one mix


class Mixers:
    """Methods ready to mix, with the nets that they look into; a net is read from its run once."""

    def __init__(self) -> None:
        self._nets: dict[Path, Net] = {}
        self._ready: dict[tuple[str, Path], Method] = {}

    def get(self, chosen: Chosen) -> tuple[Method, Net | None]:
        """The method and its net. UsageError where it needs a run and has none, or one that does not suit."""
        cls = METHODS[chosen.key]
        if not cls.needs_net or (cls.family == "feature" and chosen.run is None):
            return build(chosen.key, chosen.params), None
        if chosen.run is None:
            of = f"a finished run of {chosen.key}" if cls.family == "learned" else "a finished run"
            where = "runs='out/...' in a notebook, `workbench explore FOLDER` on the command line"
            raise UsageError(f"{style.label(chosen.key)} looks into a net: open a folder with {of} ({where})")
        if chosen.run not in self._nets:
            self._nets[chosen.run] = Run(chosen.run).net()
        net = self._nets[chosen.run]
        return (self._learned(chosen) if cls.family == "learned" else _attached(chosen, net)), net

    def _learned(self, chosen: Chosen) -> Method:
        assert chosen.run is not None
        place = chosen.key, chosen.run
        if place not in self._ready:
            run = Run(chosen.run)
            if run.config.method != chosen.key:
                raise UsageError(f"{run.name} was trained with {run.config.method}, not {chosen.key}; choose another")
            self._ready[place] = run.method()
        return self._ready[place]

    def clear(self) -> None:
        """Let go of all nets."""
        self._nets.clear()
        self._ready.clear()


def _attached(chosen: Chosen, net: Net) -> Method:
    method = build(chosen.key, chosen.params)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.attach(net)
    return method


def mix(state: State, source: Source, mixers: Mixers | None = None) -> list[Sample]:
    """What each of the state's methods makes of its pair. UsageError where one can't be shown."""
    mixers = mixers or Mixers()
    return [sample(state, chosen, source, mixers) for chosen in state.methods]


def sample(state: State, chosen: Chosen, source: Source, mixers: Mixers) -> Sample:
    """What one method makes of the pair: A mixed with B; with a net, at the net's own size."""
    method, net = mixers.get(chosen)
    x = _fitting(source.batch(state.pair, state.size), net)
    y = torch.arange(2)
    draw = Draw(state.seed, stream="explorer", lam=state.lam, partner=[1, 0])
    with torch.no_grad(), net.probing() if net is not None else nullcontext():
        if net is not None:
            y = net(x).argmax(1)  # a net of another data set knows no class of these pictures
        mixed, note = method.eval().picture(x, y, net, draw)
    return _sample(x, mixed, note)


def _fitting(x: Tensor, net: Net | None) -> Tensor:
    """The pictures with the channels and the size that the net was made for."""
    if net is None:
        return x
    if x.shape[1] != net.channels:
        x = x.mean(1, keepdim=True).expand(-1, net.channels, -1, -1)
    if x.shape[-1] == net.size:
        return x
    return F.interpolate(x, (net.size, net.size), mode="bicubic", antialias=True).clamp(0, 1)


def _sample(x: Tensor, mixed: Mixed, note: str) -> Sample:
    label = mixed.soft_labels(torch.arange(2), 2)[0]
    own = (mixed.source[0] == 0).float()[:, None, None]
    mask = None if mixed.mask is None else (mixed.shares()[0] * own).sum(0).numpy()
    return Sample(
        sources=_bytes(x),
        mixed=_bytes(mixed.x[:1])[0],
        mask=mask,
        label=(float(label[0]), float(label[1])),
        note=note,
    )


def _bytes(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [0, 1] -> (N, H, W, C) uint8."""
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


# ------------------------------------------------------------------------------------------------- distributions


@dataclass(frozen=True)
class Distribution:
    """Label weight of A and its visible share over many draws, as training draws them; both (draws,) float32.
    `visible` is None where no pixels are mixed."""

    label: np.ndarray
    visible: np.ndarray | None


def distribution(
    method: str, params: Mapping[str, Any] | None = None, draws: int = DRAWS, seed: int = 0, pair: Tensor | None = None
) -> Distribution:
    """How label weight and visible share spread over draws, lambda drawn as the method draws it in training.

    pair: (2, C, H, W) float32 in [0, 1], A and B: with them, boxes that follow the content fall where they fall for
    these two; else the pictures are noise. UsageError for a method that looks into a net: see `net_distribution`.
    """
    cls = choose(METHODS, method, "method")
    if cls.needs_net and cls.family != "feature":
        raise UsageError(f"{style.label(method)} looks into a net, which {draws:,} draws need too")
    given = {k: v for k, v in (params or {}).items() if k != "mode"}  # a draw of its own for every row
    small = _small(pair, seed)
    x = torch.cat([small[1:], small[:1].expand(draws, -1, -1, -1)])
    draw = Draw(seed, stream="distribution", partner=[0] * (draws + 1))
    with torch.no_grad():
        mixed, _ = build(method, given).picture(x, torch.zeros(draws + 1).long(), None, draw)
    return _of_rows(mixed, torch.arange(draws + 1) > 0, slice(1, None))


def net_distribution(method: Method, net: Net, pair: Tensor, draws: int = DRAWS, seed: int = 0) -> Distribution:
    """The same for a method that looks into a net, which sees A and B at its own size; takes seconds.

    A and B take turns as rows of batches; what counts as A is every row with it, so that a method that mixes more than
    two pictures has its shares summed.
    """
    two = _fitting(pair, net)
    classes = net(two).argmax(1)
    found = []
    for step, pairs in enumerate(range(0, draws, PAIRS)):
        number = min(PAIRS, draws - pairs)
        partner = [row ^ 1 for row in range(2 * number)]
        draw = Draw(seed, step=step, stream="distribution", partner=partner)
        with torch.no_grad(), net.probing():
            x, y = two.repeat(number, 1, 1, 1), classes.repeat(number)
            mixed, _ = method.eval().picture(x, y, net, draw)
        found.append(_of_rows(mixed, torch.arange(2 * number) % 2 == 0, slice(0, None, 2)))
    seen = [part.visible for part in found if part.visible is not None]
    return Distribution(np.concatenate([part.label for part in found]), np.concatenate(seen) if seen else None)


def _of_rows(mixed: Mixed, is_a: Tensor, rows: slice) -> Distribution:
    """Label weight and visible share of A in these rows of a mix, given which rows of the batch are A. The share is
    taken from the mask before it is enlarged: its mean is the same."""
    own = is_a[mixed.source[rows]]
    label = (mixed.weight[rows] * own).sum(1).numpy()
    if mixed.mask is None:
        return Distribution(label, None)
    area = mixed.mask.float().mean((2, 3)).expand(len(mixed.x), -1)[rows]
    shares = torch.cat([area, 1 - area.sum(1, keepdim=True)], 1)
    return Distribution(label, (shares * own).sum(1).numpy())


def _small(pair: Tensor | None, seed: int) -> Tensor:
    """A and B in grey at AREA_SIDE pixels, or noise."""
    if pair is None:
        return torch.rand(2, 1, AREA_SIDE, AREA_SIDE, generator=torch.Generator().manual_seed(seed))
    grey = pair.mean(1, keepdim=True)
    return grey if grey.shape[-1] <= AREA_SIDE else F.interpolate(grey, (AREA_SIDE, AREA_SIDE), mode="area")


def names(state: State) -> list[str]:
    """A name for each of the state's methods; what stands there twice is told apart by the parameters that differ."""
    keys: Sequence[str] = [chosen.key for chosen in state.methods]
    return [_name(chosen, keys.count(chosen.key) > 1) for chosen in state.methods]


def _name(chosen: Chosen, twice: bool) -> str:
    settings = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in chosen.params.items()
    )
    return style.label(chosen.key) + (f" ({settings or 'default'})" if twice else "")

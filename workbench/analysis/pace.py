"""How long it will take: said beforehand where that is more than ten seconds, or as soon as the pace shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm.auto import tqdm

S = TypeVar("S")

ESTIMATE_FROM = 10.0
"""Seconds above which an analysis says how long it will take."""
TRUSTED_FROM = 1.0
"""Seconds from which a pace is believed: the first steps also warm up."""


class Bar(tqdm):
    """A progress bar that shows from the second second on, and tells once, in a line, how long long work will take.

    The line comes before the work where an estimate says so, and else as soon as what is done so far shows it; inside
    other work that has told already there is none.
    """

    total: float
    what = ""
    told = False

    def update(self, n: float | None = 1) -> bool | None:
        """`n` more are done."""
        shown = super().update(n)
        passed = 0.0 if self.disable else time.time() - self.start_t  # switched off, a bar counts nothing
        if self.total and self.n and passed > TRUSTED_FROM and not self.told:
            self.told = _told(self.what, passed * (self.total - self.n) / self.n)
        return shown

    def close(self) -> None:
        super().close()
        _WORKING[:] = [bar for bar in _WORKING if bar is not self]  # bars with the same place on the screen are equal


_WORKING: list[Bar] = []
"""Of the work that is under way, the outer first."""


def progress(total: int, what: str, seconds: float | None = None, unit: str = "pass") -> Bar:
    """A progress bar for work that is estimated to take so long, if that is known; of one step there is none."""
    told = _told(what, seconds or 0.0)
    bar = Bar(total=total, desc=what, unit=unit, leave=False, delay=1, disable=total < 2)
    bar.what, bar.told = what, told
    _WORKING.append(bar)
    return bar


def _told(what: str, seconds: float) -> bool:
    """Say how long it will take from here, where that is worth a word, and whether it was."""
    if seconds <= ESTIMATE_FROM or any(bar.told for bar in _WORKING):
        return False
    say(f"{what}: about {seconds:.0f} s" if seconds < 120 else f"{what}: about {seconds / 60:.0f} min")
    return True


def paced(steps: Sequence[S], work: Callable[[S], object], what: str, unit: str = "pass") -> None:
    """`work` on every step, with a bar."""
    with progress(len(steps), what, unit=unit) as bar:
        for step in steps:
            work(step)
            bar.update()


def say(line: str) -> None:
    """A line that leaves progress bars whole: on standard error, which a notebook would show as a mistake."""
    from workbench.data.bar import in_notebook  # here: the data sets bring torch, which figures do without

    tqdm.write(line, file=sys.stdout if in_notebook() else sys.stderr)


def timed(fn: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def warm(fn: Callable[[], object]) -> float:
    """Seconds of a call; of the second one where the first was short, and so did little but warm up."""
    first = timed(fn)
    return first if first > TRUSTED_FROM else timed(fn)


def projected(first: float, times: float) -> float | None:
    """An estimate for so many calls from the seconds of a first one; None where that mostly warmed up: then the pace
    will tell."""
    return first * times if first > TRUSTED_FROM else None

"""What every analysis result is, what of a run an analysis may read, and results as arrays in a file."""

from __future__ import annotations

import io
import json
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from workbench import style
from workbench.config import RunConfig, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class StoredRun(Protocol):
    """What analyses and figures read of a run; `workbench.runs.Run` is one."""

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def history(self) -> pd.DataFrame: ...
    @property
    def result(self) -> Mapping[str, Any]: ...
    def predictions(self) -> tuple[np.ndarray, np.ndarray]: ...
    def samples(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True)
class Result(ABC):
    """Base of the frozen dataclasses that analyses return. Fields are arrays, numbers, texts and tuples of texts."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Everything as a tidy table with a column `name`, so that the tables of several results concatenate."""

    @abstractmethod
    def draw(self, ax: Axes) -> None:
        """Draw the result into the axes, from its fields alone."""

    def summary(self) -> pd.DataFrame:
        """The numbers to quote, a row each; the table itself where it is short."""
        return self.to_frame()

    @property
    def height(self) -> float:
        """Of a figure of its own, in widths."""
        return 0.62

    def figures(self) -> Mapping[str, Callable[[], Axes]]:
        """Further views by name, each a function that draws one in a figure of its own and returns its axes."""
        return {}

    def figure(self, venue: str = "cvpr", columns: int = 1) -> Figure:
        """The result as a figure of its own, which nobody else holds, at the width of a venue's page."""
        with style.paper(venue, columns) as width:
            figure = style.new_figure(width, self.height * width)
            self.draw(figure.add_subplot())
            style.settle(figure)
            return figure

    def _repr_png_(self) -> bytes | None:
        """Shown as its plot where a result is the value of a notebook's cell; as text where it has none, such as a
        comparison over several settings."""
        buffer = io.BytesIO()
        try:
            with style.paper():
                self.figure().savefig(buffer, format="png", dpi=150)
        except UsageError:
            return None
        return buffer.getvalue()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into `ax`, or into a new figure in the looks of a paper. Returns the axes, keeps nothing."""
        if ax is not None:
            self.draw(ax)
            style.settle(style.page(ax))
            return ax
        with style.paper():
            ax = style.new_axes(self.height)
            self.draw(ax)
            style.settle(style.page(ax))
            return ax


R = TypeVar("R", bound=Result)


MADE_WITH = "made with"
"""Name of the entry that says how a stored result was asked for: no field of a dataclass can have it."""


def save(result: Result, path: Path, made_with: Mapping[str, Any] | None = None) -> None:
    """Write the fields, and how the result was asked for, as an npz archive, atomically. OSError or RunFailed where
    it can't be written."""
    from workbench.runs.folder import write_arrays

    path.parent.mkdir(exist_ok=True)
    arrays = {f.name: np.asarray(getattr(result, f.name)) for f in fields(result)}
    write_arrays(path, **arrays, **{MADE_WITH: np.asarray(json.dumps(made_with or {}))})


def made_with(path: Path) -> dict[str, Any]:
    """How a stored result was asked for: what `save` was given. KeyError, ValueError, OSError for a damaged file."""
    from workbench.runs.folder import read_arrays

    found = json.loads(str(read_arrays(path)[MADE_WITH]))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} does not say how it was made")
    return found


def load(kind: type[R], path: Path) -> R:
    """The result that `save` wrote. Only plain arrays are read: a file from a stranger can't execute code."""
    from workbench.runs.folder import read_arrays

    kinds, stored = typing.get_type_hints(kind), read_arrays(path)
    return kind(**{f.name: _plain(stored[f.name], kinds[f.name]) for f in fields(kind)})


def _plain(array: np.ndarray, kind: Any) -> Any:
    """An array as the type that the field of the dataclass says."""
    if kind is np.ndarray:
        return array
    if typing.get_origin(kind) is tuple:
        return tuple(array.tolist())
    return kind(array.item())

"""Stored runs and their figures, made once for all tests that look at them; no test may change them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
from matplotlib.figure import Figure

from tests.fake_results import store_all
from tests.fake_runs import FakeRun, write_runs
from workbench.figures import render

OPTIONS = {"card": {"method": "mixup"}}
"""Of figures that show one method."""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[FakeRun]:
    return store_all(write_runs(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="session")
def drawn(runs: list[FakeRun]) -> Callable[..., Figure]:
    """`drawn(name, venue, columns)`: a figure of the runs, drawn once for all tests that look at it."""

    @lru_cache
    def draw(name: str, venue: str = "cvpr", columns: int = 1) -> Figure:
        return render(runs, name, venue, columns, **OPTIONS.get(name, {}))

    return draw


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[FakeRun]:
    """Two methods, one of them a user's own, with one seed."""
    return store_all(write_runs(tmp_path_factory.mktemp("few"), ("vanilla", "a_method_of_my_own"), (0,)))

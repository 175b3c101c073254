"""A slice that was broken off goes on: the order of its points, and the file that keeps what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analysis.tiny import images, tiny
from workbench.analysis import kept as kept_module
from workbench.analysis import landscape as module
from workbench.analysis.inputs import Examples
from workbench.analysis.landscape import landscape
from workbench.analysis.slices import coarse_to_fine, loss_and_accuracy
from workbench.config import UsageError
from workbench.models import Net


@pytest.fixture
def data() -> Examples:
    return images()


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (21, 1), (1, 1), (3, 4)])
def test_order_holds_every_point_once(rows: int, columns: int) -> None:
    order = coarse_to_fine(rows, columns)
    assert sorted(order) == [(i, j) for i in range(rows) for j in range(columns)]


def test_order_is_coarse_before_fine() -> None:
    assert coarse_to_fine(5, 1) == [(0, 0), (4, 0), (2, 0), (1, 0), (3, 0)]
    assert set(coarse_to_fine(5, 5)[:4]) == {(0, 0), (0, 4), (4, 0), (4, 4)}
    assert set(coarse_to_fine(5, 5)[:9]) == {(i, j) for i in (0, 2, 4) for j in (0, 2, 4)}


def test_a_killed_slice_goes_on(data: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the points that are missing are computed, and the result is that of one go."""
    nets = [("one", tiny(0)), ("two", tiny(1))]
    whole, path = landscape(nets, data, points=5), tmp_path / "slice.npz"
    calls: list[int] = []
    limit = [7]

    def counted(net: Net, data: Examples, *chunk: Any) -> tuple[float, float]:
        if len(calls) == limit[0]:
            raise KeyboardInterrupt
        calls.append(0)
        return loss_and_accuracy(net, data)

    monkeypatch.setattr(module, "loss_and_accuracy", counted)
    with pytest.raises(KeyboardInterrupt):
        landscape(nets, data, points=5, keep=str(path))
    assert len(calls) == 7
    limit[0] = 1000
    found = landscape(nets, data, points=5, keep=str(path))
    assert len(calls) == 10
    np.testing.assert_array_equal(found.loss, whole.loss)
    np.testing.assert_array_equal(found.accuracy, whole.accuracy)
    landscape(nets, data, points=5, keep=str(path))
    assert len(calls) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["slice.npz"]


def test_what_is_done_is_written_while_it_goes_on(
    data: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a process that is killed outright, which writes nothing at its end."""
    monkeypatch.setattr(kept_module, "PAUSE", 0.0)
    path, seen = tmp_path / "slice.npz", []

    def looking(net: Net, data: Examples, *chunk: Any) -> tuple[float, float]:
        seen.append(int(np.load(path)["done"].sum()) if path.is_file() else 0)
        return loss_and_accuracy(net, data)

    monkeypatch.setattr(module, "loss_and_accuracy", looking)
    landscape([("net", tiny(0))], data, points=5, keep=str(path))
    assert seen == [0, 1, 2, 3, 4]


def test_a_place_that_keeps_no_partial_results_is_told_in_one_line(data: Examples, tmp_path: Path) -> None:
    nets, bad = [("net", tiny(0))], tmp_path / "bad.npz"
    bad.write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"bad\.npz keeps no partial results; delete it, or name another"):
        landscape(nets, data, points=3, keep=str(bad))
    np.savez(bad, theirs=1)
    with pytest.raises(UsageError, match="keeps other work"):
        landscape(nets, data, points=3, keep=str(bad))
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        landscape(nets, data, points=3, keep=str(tmp_path))


@pytest.mark.parametrize("other", ["seed", "images", "net"])
def test_a_file_of_other_work_is_refused(data: Examples, tmp_path: Path, other: str) -> None:
    keep = str(tmp_path / "slice.npz")
    landscape([("net", tiny(0))], data, points=3, keep=keep)
    options = {"seed": {"seed": 1}, "images": {"images": 5}}.get(other, {})
    with pytest.raises(UsageError, match="keeps other work"):
        landscape([("net", tiny(1 if other == "net" else 0))], data, points=3, keep=keep, **options)


def test_a_folder_that_is_missing_is_told_beforehand(data: Examples, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        landscape([("net", tiny(0))], data, points=3, keep=str(tmp_path / "no" / "slice.npz"))

"""What every analysis in the table must keep. A new one needs a row in `tests/analysis/settings.py`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from tests.analysis.settings import OPTIONS, SETTINGS, same
from tests.fake_runs import write_runs
from workbench.analysis import ACROSS, ANALYSES, Analysis, analyse, base
from workbench.analysis.base import Result
from workbench.analysis.inputs import Examples
from workbench.analysis.needs import NEEDS
from workbench.config import UsageError


def contents(value: Any) -> Any:
    """What of an input could have been changed, in a form that can be compared."""
    if isinstance(value, torch.nn.Module):
        flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in value.modules()]
        wanted = [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in value.parameters()]
        return flags, wanted, {k: v.numpy().tobytes() for k, v in value.state_dict().items() if torch.is_tensor(v)}
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, Examples):
        return [contents(part) for part in (value.images, value.labels, value.masks)]
    if isinstance(value, list | tuple | dict):
        return [contents(part) for part in (value.items() if isinstance(value, dict) else value)]
    return value.tobytes() if isinstance(value, np.ndarray) else value


@pytest.fixture(params=ANALYSES)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SETTINGS, f"add a maker of small inputs for {request.param} to tests/analysis/settings.py"
    return request.param


@pytest.fixture
def entry(name: str) -> Analysis:
    return ANALYSES[name]


@pytest.fixture
def result(name: str, entry: Analysis) -> Result:
    return entry.compute(*SETTINGS[name](), **OPTIONS.get(name, {}))


def test_entry_is_whole(name: str, entry: Analysis) -> None:
    assert entry.summary
    assert entry.needs in (*ACROSS, *NEEDS, "nets")
    assert entry.compute.__name__ == name
    assert issubclass(entry.result, Result)
    signature = inspect.signature(entry.compute)
    optional = [p for p in signature.parameters.values() if p.default is not p.empty]
    assert all(p.kind is p.KEYWORD_ONLY for p in optional), "options are keyword-only"


def test_result_is_frozen_and_tells_what_it_holds(entry: Analysis, result: Result) -> None:
    assert type(result) is entry.result
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, dataclasses.fields(result)[0].name, None)


def test_frame_is_tidy(result: Result) -> None:
    frame = result.to_frame()
    assert "name" in frame
    assert len(frame) > 0
    assert frame.index.is_unique
    assert frame.columns.is_unique
    assert len(pd.concat([frame, frame])) == 2 * len(frame)
    assert "name" in result.summary()


def test_plot_draws_into_the_axes_it_gets(result: Result) -> None:
    before = dict(matplotlib.rcParams)
    figure, (left, right) = plt.subplots(1, 2)
    assert result.plot(left) is left
    assert left.has_data()
    assert not right.has_data()
    assert plt.get_fignums() == [figure.number]
    assert dict(matplotlib.rcParams) == before


def test_plot_makes_axes_where_it_gets_none(result: Result) -> None:
    before, fields = dict(matplotlib.rcParams), copy.deepcopy(result)
    ax = result.plot()
    assert ax.has_data()
    assert len(plt.get_fignums()) == 1
    assert dict(matplotlib.rcParams) == before
    assert same(result, fields)


def test_round_trip_through_the_archive(result: Result, tmp_path: Path) -> None:
    base.save(result, tmp_path / "analysis" / "stored.npz")
    loaded = base.load(type(result), tmp_path / "analysis" / "stored.npz")
    assert same(result, loaded)
    assert [type(v) for v in vars(loaded).values()] == [type(v) for v in vars(result).values()]
    assert [p.name for p in (tmp_path / "analysis").iterdir()] == ["stored.npz"]


def test_input_is_left_alone_and_two_calls_agree(name: str, entry: Analysis, result: Result) -> None:
    inputs = SETTINGS[name]()
    before = contents(inputs)
    numbers = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    again = entry.compute(*inputs, **OPTIONS.get(name, {}))
    assert contents(inputs) == before
    assert torch.equal(torch.random.get_rng_state(), numbers[0])
    assert np.random.get_state()[1].tolist() == numbers[1]  # type: ignore[index]
    assert same(again, result)


def test_on_stored_runs(name: str, entry: Analysis, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    light = entry.needs in ("predictions", *ACROSS)
    runs = write_runs(tmp_path, ("vanilla", "mixup"), (0,)) if light else request.getfixturevalue("trained")
    options = OPTIONS.get(name, {})
    found = analyse(runs, name, **options)
    results = found if isinstance(found, list) else [found]
    assert all(isinstance(r, entry.result) for r in results)
    if entry.needs == "nets":
        assert same(analyse(runs, name, **options), found)
    elif entry.needs not in ACROSS:
        assert same(analyse(runs[0], name, **options), results[0])


def test_mistakes_about_data_are_told(name: str, entry: Analysis) -> None:
    if entry.needs in ("predictions", *ACROSS):
        pytest.skip("takes no images")
    *given, data = SETTINGS[name]()
    empty = Examples(data.images[:0], data.labels[:0], data.masks[:0])
    with pytest.raises(UsageError, match="at least one"):
        entry.compute(*given, empty, **OPTIONS.get(name, {}))
    grey = Examples(data.images[:, :1], data.labels, data.masks)
    with pytest.raises(UsageError, match="channels"):
        entry.compute(*given, grey, **OPTIONS.get(name, {}))

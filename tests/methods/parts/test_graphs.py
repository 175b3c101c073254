"""Recorded calls give what the call itself gives, for whatever is put in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from workbench.methods.parts import graphs
from workbench.methods.parts.graphs import replayed

gpu = pytest.mark.gpu


def many_steps(x: Tensor, y: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        x = (x * 0.5 + y).clamp_(max=3)
    return x


def two(seed: int, device: str, rows: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, rows, 7, generator=generator).to(device)
    return x, y.t().contiguous().t()  # of another layout


@pytest.fixture
def nothing_recorded() -> Iterator[None]:
    graphs._RECORDED.clear()
    yield
    graphs._RECORDED.clear()


def test_on_the_host_it_is_the_call_itself(nothing_recorded: None) -> None:
    x, y = two(0, "cpu")
    x.requires_grad_()
    found = replayed(many_steps, (x, y), 3)
    assert torch.equal(found, many_steps(x, y, 3)) and not found.requires_grad
    assert not graphs._RECORDED


@gpu
def test_a_replay_is_the_call_for_other_tensors(nothing_recorded: None) -> None:
    """The first call is made, the second recorded, the third replayed: each has its own tensors and its own result."""
    given = [two(seed, "cuda") for seed in range(4)]
    before = [(x.clone(), y.clone()) for x, y in given]
    found = [replayed(many_steps, pair, 6) for pair in given]
    for pair, old, result in zip(given, before, found, strict=True):
        assert torch.equal(result, many_steps(*pair, 6))
        assert all(map(torch.equal, pair, old))
    (recording,) = graphs._RECORDED.values()
    assert recording is not None


@gpu
def test_shapes_and_settings_have_recordings_of_their_own(nothing_recorded: None) -> None:
    for _ in range(3):
        for rows in (2, 5):
            for steps in (1, 4):
                pair = two(rows + steps, "cuda", rows)
                assert torch.equal(replayed(many_steps, pair, steps), many_steps(*pair, steps))
    assert len(graphs._RECORDED) == 4


@gpu
def test_the_oldest_go_first(nothing_recorded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    for steps in (1, 2, 1, 3):
        replayed(many_steps, two(0, "cuda"), steps)
    assert [settings for _, settings, *_ in graphs._RECORDED] == [(1,), (3,)]


@gpu
def test_what_is_recorded_without_gradients_serves_inference_too(nothing_recorded: None) -> None:
    for _ in range(3):
        with torch.inference_mode():
            pair = two(1, "cuda")
            inside = replayed(many_steps, pair, 2)
        pair = two(1, "cuda")
        assert torch.equal(replayed(many_steps, pair, 2), inside)

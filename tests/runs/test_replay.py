"""A replayed step is what the net saw then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from workbench.config import RunConfig, UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, Mixed
from workbench.methods.attentivemix import AttentiveMix
from workbench.methods.cutmix import CutMix
from workbench.models import Net
from workbench.runs import Run, replay, run

SEEN: dict[str, list[Mixed]] = {"cut": [], "attentive": []}
"""What nets saw, step after step."""
STEPS = 12


def _noted(name: str, mixed: Mixed) -> Mixed:
    SEEN[name].append(mixed)
    return mixed


@dataclass(eq=False)
class NotedCutMix(CutMix):
    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        return _noted("cut", super().mix(x, y, net, draw))


@dataclass(eq=False)
class NotedAttentive(AttentiveMix):
    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        return _noted("attentive", super().mix(x, y, net, draw))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    METHODS["cut"], METHODS["attentive"] = NotedCutMix, NotedAttentive
    root = tmp_path_factory.mktemp("replay")
    settings = {"data": "digits", "model": "resnet8", "batch_size": 128, "device": "cpu", "epochs": 3}
    yield {
        name: run(RunConfig(method=name, seed=4, augment="crop-flip", **settings), root, progress=False)
        for name in ("cut", "attentive")
    }
    del METHODS["cut"], METHODS["attentive"]


@pytest.mark.parametrize("name", ["cut", "attentive"])
@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (1, 3), (3, 2)])
def test_the_step_as_it_was(trained: dict[str, Run], name: str, epoch: int, step: int) -> None:
    seen = SEEN[name][(epoch - 1) * STEPS + step - 1]
    shown = replay(trained[name], epoch, step)
    assert torch.equal(shown.mixed.x, seen.x) and torch.equal(shown.mixed.weight, seen.weight)
    assert len(shown.rows) == len(shown.x) == len(seen.x) and (shown.epoch, shown.step) == (epoch, step)
    assert "exactly" in shown.note


def test_steps_differ(trained: dict[str, Run]) -> None:
    one, other = replay(trained["cut"], 1, 1), replay(trained["cut"], 1, 2)
    assert not torch.equal(one.mixed.x, other.mixed.x) and not torch.equal(one.rows, other.rows)


def test_a_quick_look_says_that_it_is_one(trained: dict[str, Run]) -> None:
    shown = replay(trained["attentive"], 1, 1, quick=True)
    assert "after 3 epochs" in shown.note
    assert not torch.equal(shown.mixed.x, SEEN["attentive"][0].x)  # the untrained net looked elsewhere
    assert torch.equal(shown.x, replay(trained["attentive"], 1, 1).x)


def test_nothing_is_left_behind(trained: dict[str, Run]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    files = sorted(p.name for p in trained["attentive"].path.rglob("*"))
    replay(trained["attentive"], 2, 1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert sorted(p.name for p in trained["attentive"].path.rglob("*")) == files


@pytest.mark.parametrize(
    ("epoch", "step", "message"),
    [
        (0, 1, "has epochs 1 to 3, got epoch 0"),
        (4, 1, "has epochs 1 to 3, got epoch 4"),
        (1, 99, "has steps 1 to 1[0-9], got step 99"),
        (1, 0, "got step 0"),
    ],
)
def test_steps_that_are_not_there(trained: dict[str, Run], epoch: int, step: int, message: str) -> None:
    for handle in trained.values():
        with pytest.raises(UsageError, match=message):
            replay(handle, epoch, step)


def test_several_processes_and_a_net_are_refused(trained: dict[str, Run]) -> None:
    path: Path = trained["attentive"].path / "environment.json"
    kept = path.read_text()
    path.write_text(kept.replace('"processes": 1', '"processes": 2'))
    try:
        with pytest.raises(UsageError, match="2 processes trained it"):
            replay(trained["attentive"], 1, 1)
    finally:
        path.write_text(kept)

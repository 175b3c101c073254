"""The benchmark: it drives the real loop, tells ratios of one run, and leaves the process as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from workbench.bench import bench_train
from workbench.bench import train as bench
from workbench.config import UsageError
from workbench.runs.execute import Pulse
from workbench.train import Training

WHAT = ["bare loop", "our loop", "mixing: mixup", "mixing: cutmix"]


def test_table_and_file(tmp_path: Path) -> None:
    text = bench_train("resnet8", 4, 3, tmp_path / "new" / "folder", steps=2)
    assert "resnet8, batch 4" in text and all(name in text for name in WHAT)
    table = pd.read_csv(tmp_path / "new" / "folder" / "train.csv").set_index("what")
    assert list(table.index) == WHAT
    assert {"milliseconds", "of", "ratio", "lowest", "highest", "rounds", "steps", "model", "batch"} <= set(table)
    assert (table["rounds"] == 3).all() and (table["steps"] == 2).all()
    assert ((table["lowest"] <= table["ratio"]) & (table["ratio"] <= table["highest"])).all()
    assert table.loc["bare loop", "ratio"] == 1 and (table["milliseconds"] > 0).all()
    assert table.loc["our loop", "of"] == "bare loop" and table.loc["mixing: mixup", "of"] == "our loop"


def test_our_loop_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Any]] = {"epoch": [], "beat": [], "check": [], "bare": []}
    epoch, beat, check, bare = Training.epoch, Pulse.__call__, Training._refuse_divergence, bench.F.cross_entropy

    def watched_epoch(self: Training, index: int, on_step: Any) -> dict[str, Any]:
        record = epoch(self, index, on_step)
        seen["epoch"].append((index, record["steps"], record["images"], "test_loss" in record))
        return record

    def watched_beat(self: Pulse, index: int, step: int) -> None:
        beat(self, index, step)
        seen["beat"].append((index, step, torch.are_deterministic_algorithms_enabled()))
        assert (self.path / "status.json").exists()

    def watched_check(self: Training, losses: torch.Tensor, index: int) -> None:
        check(self, losses, index)
        seen["check"].append(len(losses))

    def watched_loss(*args: Any) -> torch.Tensor:
        seen["bare"].append(torch.are_deterministic_algorithms_enabled())
        return bare(*args)

    monkeypatch.setattr(Training, "epoch", watched_epoch)
    monkeypatch.setattr(Pulse, "__call__", watched_beat)
    monkeypatch.setattr(Training, "_refuse_divergence", watched_check)
    monkeypatch.setattr(bench.F, "cross_entropy", watched_loss)
    bench_train("resnet8", 4, 2, tmp_path, steps=3)
    assert seen["epoch"] == [(index, 3, 12, False) for index in range(3)]
    assert seen["beat"] == [(index, step, True) for index in range(3) for step in (1, 2, 3)]
    assert seen["check"] == [3, 3, 3]
    assert seen["bare"] == [False] * 9  # as many bare steps, outside the settings of our loop
    assert not torch.are_deterministic_algorithms_enabled()


def test_more_images_than_the_data_set_has(tmp_path: Path) -> None:
    training = bench.training_of(bench.RunConfig(model="resnet8", data="digits", batch_size=1000, epochs=1), 3)
    assert [len(x) for x, _ in training.train.epoch(0)] == [1000, 1000, 1000]


def test_ratios_are_taken_within_the_round() -> None:
    times = {"bare loop": [1.0, 4.0, 2.0], "our loop": [2.0, 4.0, 6.0], "mixing: mixup": [1.0, 1.0, 3.0]}
    table = bench._table(times, steps=2).set_index("what")
    ours, mixing = table.loc["our loop"], table.loc["mixing: mixup"]
    assert (ours["ratio"], ours["lowest"], ours["highest"], ours["milliseconds"]) == (2.0, 1.0, 3.0, 2000.0)
    assert (mixing["ratio"], mixing["lowest"], mixing["highest"]) == (0.5, 0.25, 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "rounds must be a whole number from 1, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
        ({"steps": -2}, "steps must be a whole number from 1, got -2"),
        ({"rounds": 1.5}, "rounds must be a whole number"),
        ({"model": "resnet9"}, "resnet9"),
    ],
)
def test_mistakes(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        bench_train(**{"model": "resnet8", "batch_size": 4, "rounds": 1, **settings}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_can_t_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="must be a folder"):
        bench_train("resnet8", 4, 1, tmp_path / "file" / "out", steps=1)

"""The benchmarks of mixing and of steps: what they time, what they tell, and that ratios are of one round."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from workbench.bench import bench_methods, bench_steps
from workbench.bench.given import given
from workbench.bench.mixing import batch
from workbench.bench.peers import peers
from workbench.bench.steps import _table
from workbench.bench.timing import interleaved, median_call, spread
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import METHODS

CPU = torch.device("cpu")


def test_mixing_table_file_and_figure(tmp_path: Path) -> None:
    only = ("mixup", "cutmix", "fmix", "puzzlemix")
    text = bench_methods((16,), 4, 2, tmp_path / "new", only=only, seconds=0.0)
    table = pd.read_csv(tmp_path / "new" / "methods.csv")
    ours = table[table["who"] == "workbench"]
    assert list(dict.fromkeys(ours["method"])) == list(only) and (ours["method"] == "puzzlemix").sum() == 2
    assert {"torchvision", "timm"} <= {who.split()[0] for who in table["who"]}
    assert ((table["lowest"] <= table["ratio"]) & (table["ratio"] <= table["highest"])).all()
    assert (table["peak_batches"] > 0.9).all()
    assert {"cpu", "threads", "torch", "heap", "device", "size", "batch", "rounds"} <= set(table)
    assert "4 x 3 x 16 x 16" in text and "grid 8, saliency given" in text
    assert all((tmp_path / "new" / f"methods.{kind}").stat().st_size > 1000 for kind in ("pdf", "png"))


def test_every_mixing_method_is_timed_alone_or_given_what_it_sees() -> None:
    x, _ = batch(64, 4, CPU)
    timed = {way.method for way in given(x)}
    needing = {key for key, cls in METHODS.items() if cls.needs_net and cls.family not in ("attention", "loss")}
    assert timed == needing - {"attentivemix"}  # its own part is a sort of 49 numbers; whole steps tell the rest
    for way in given(x):
        way.call(Draw(1))


def test_the_others_mix_the_same_batch() -> None:
    x, y = batch(16, 8, CPU)
    before = x.clone()
    for peer in peers(x, y, 100):
        mixed, _ = peer.call()
        assert mixed.shape == x.shape and not torch.equal(mixed, x)
    assert torch.equal(x, before)  # those that write into their input have a copy of their own


def test_batch_holds_different_images() -> None:
    x, y = batch(32, 24, CPU)
    assert x.shape == (24, 3, 32, 32) and float(x.min()) >= 0 and float(x.max()) <= 1
    assert len({image.numpy().tobytes() for image in x}) == 24 and int(y.max()) < 100


def test_steps_table_and_file(tmp_path: Path) -> None:
    text = bench_steps("resnet8", 4, 2, tmp_path, size=32, only=("cutmix", "transmix"))
    table = pd.read_csv(tmp_path / "steps.csv").set_index("method")
    assert list(table.index) == ["vanilla", "cutmix", "vanilla, ViT", "transmix"]
    assert (table.loc[["vanilla", "vanilla, ViT"], ["ratio", "memory"]] == 1).all(axis=None)
    assert (table["memory"] > 0.5).all() and "transmix" in text


def test_ratios_are_of_the_same_net_and_round() -> None:
    seconds = {"vanilla": [1.0, 4.0], "cutmix": [2.0, 4.0], "vanilla, ViT": [10.0, 10.0], "transmix": [20.0, 40.0]}
    models = dict.fromkeys(("vanilla", "cutmix"), "resnet8") | dict.fromkeys(
        ("vanilla, ViT", "transmix"), "vit_tiny_patch16_224"
    )
    table = _table(seconds, dict.fromkeys(seconds, 7), models, {}).set_index("method")
    assert table.loc["cutmix", ["ratio", "lowest", "highest"]].tolist() == [1.5, 1.0, 2.0]
    assert table.loc["transmix", ["ratio", "lowest", "highest"]].tolist() == [3.0, 2.0, 4.0]


def test_rounds_turn_the_order() -> None:
    seen: list[tuple[str, int]] = []

    def measure(name: str, index: int) -> float:
        seen.append((name, index))
        return float(index)

    assert interleaved(["a", "b"], 2, "test", measure) == {"a": [1.0, 2.0], "b": [1.0, 2.0]}
    assert seen == [("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    assert spread([3.0, 1.0, 2.0]) == {"ratio": 2.0, "lowest": 1.0, "highest": 3.0}
    calls: list[int] = []
    assert median_call(lambda: calls.append(1), CPU, 0.0, least=5) >= 0 and len(calls) == 5


def test_a_method_whose_mix_is_in_the_net_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="transmix: no mixing of its own to be timed"):
        bench_methods((16,), 4, 1, tmp_path, only=("transmix",))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: bench_methods((16,), 4, 0, out), "rounds must be a whole number from 1, got 0"),
        (lambda out: bench_methods((4,), 4, 1, out), "size must be from 8 .* got 4"),
        (lambda out: bench_methods((16,), 4, 1, out, only=("mixdown",)), "mixdown"),
        (lambda out: bench_steps("resnet8", 4, 1, out, only=("mixdown",)), "mixdown"),
        (lambda out: bench_steps("resnet9", 4, 1, out, only=("cutmix",)), "resnet9"),
        (lambda out: bench_steps("resnet8", True, 1, out), "batch_size must be a whole number"),
    ],
)
def test_mistakes(call: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        call(tmp_path / "out")  # type: ignore[operator]
    assert not (tmp_path / "out").exists()

"""`workbench published`: what it prints and writes, and what it says to a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fake_runs import FakeRun, write_runs
from workbench.commands import published as module
from workbench.commands.published import listing, published
from workbench.config import UsageError
from workbench.published import names


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[FakeRun]]:
    """Makes run folders, and has the command find them."""

    def make(**settings: Any) -> list[FakeRun]:
        chosen = {"data": "cifar100", "model": "resnet18", "size": None, "epochs": 200} | settings
        runs = write_runs(tmp_path / "runs", ("vanilla", "cutmix"), **chosen)
        monkeypatch.setattr(module, "finished_runs", lambda paths: runs)
        return runs

    return make


def test_alone_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    published()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["dataset", "backbone", "task", "methods", "epochs", "rows"]
    assert "cifar100 resnet18 classification 15 200, 400, 800, 1200 57" in [" ".join(line.split()) for line in lines]
    assert lines[-1] == "A table: workbench published --dataset cifar100 --backbone resnet18"
    assert any(line.startswith("and 236 more nets on imagenet1k") for line in lines)
    assert len(listing("imagenet1k").splitlines()) > 236
    assert listing("Tiny-ImageNet").splitlines()[-1].startswith("A table: workbench published --dataset tiny_imagenet ")


def test_the_table_that_a_listing_offers_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for dataset in names.DATASETS:
        words = listing(dataset).splitlines()[-1].split()[4:]
        published(**{key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)})
        assert capsys.readouterr().out.startswith(names.DATASETS[dataset].title)


def test_a_method_by_its_display_name(capsys: pytest.CaptureFixture[str]) -> None:
    published(dataset="cifar100", backbone="ResNet-18", method="Co-Mixup")
    by_name = capsys.readouterr().out
    published(dataset="cifar100", backbone="resnet18", method="comixup")
    assert capsys.readouterr().out == by_name


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    published(dataset="CIFAR-100", backbone="resnext50_32x4d", epochs=400)
    words = capsys.readouterr().out
    assert words.startswith("CIFAR-100, ResNeXt-50: top-1 (%), setting cifar\n")
    assert "Co-Mixup           2     82.88 †" in words


def test_runs_beside_and_files(
    finished: Callable[..., list[FakeRun]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished()
    published(runs=(tmp_path,), out=tmp_path / "deep" / "out")
    words = capsys.readouterr().out
    assert "Own runs" in words and "CutMix differs in: alpha 1, published 0.2" in words
    stem = "published-cifar100-resnet18"
    written = {path.name: path.read_text() for path in (tmp_path / "deep" / "out").iterdir()}
    assert set(written) == {f"{stem}.txt", f"{stem}.csv", f"{stem}.tex", f"{stem}-own.csv"}
    assert written[f"{stem}.txt"] in words
    assert len(pd.read_csv(tmp_path / "deep" / "out" / f"{stem}.csv")) == 57
    assert pd.read_csv(tmp_path / "deep" / "out" / f"{stem}-own.csv")["published"].tolist() == [76.42, 79.45]
    assert written[f"{stem}.tex"].count(r"\begin{table") == 2


def test_figures_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(figures=tmp_path / "figures", venue="neurips")
    names = ["radar.pdf", "radar.png", "published_cost.pdf", "published_cost.png"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(names)
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "figures" / name) for name in names]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"dataset": "photos"}, "unknown data set with published numbers 'photos'"),
        ({"backbone": "resnet18"}, "--backbone needs --dataset as well"),
        ({"dataset": "cifar100", "epochs": 200, "out": Path("x")}, "--epochs, --out needs --dataset and --backbone"),
        ({"dataset": "cifar100", "task": "selfsup"}, "--task needs --dataset and --backbone as well"),
        ({"dataset": "cifar100", "backbone": "resnet18", "method": "CutMixx"}, "did you mean 'cutmix'"),
        (
            {"dataset": "cifar100", "backbone": "resnet18", "epochs": 223},
            "classification 223; the nearest is 200 (known: 200, 400, 800, 1200)",
        ),
        ({"dataset": "cifar100", "backbone": "resnet81"}, "did you mean 'resnet18'"),
        ({"dataset": "cifar100", "backbone": "resnet18", "metric": "ece"}, "(known: top1)"),
        ({"dataset": "cifar100", "backbone": "resnet18", "task": "selfsup"}, "(known: classification)"),
        ({"figures": Path("x"), "venue": "cpvr"}, "did you mean 'cvpr'"),
    ],
)
def test_mistakes(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        published(**words)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not Path("x").exists()


def test_runs_of_something_else(finished: Callable[..., list[FakeRun]], tmp_path: Path) -> None:
    runs = finished(data="photos", model="resnet8")
    with pytest.raises(UsageError, match="unknown data set with published numbers 'photos'"):
        published(runs=(tmp_path,))
    with pytest.raises(UsageError, match=r"the table is of cifar10, run .* of photos"):
        published(dataset="cifar10", backbone="resnet18", runs=(tmp_path,))
    other = write_runs(tmp_path / "other", ("mixup",), data="cifar100", model="resnet8")
    runs += other
    with pytest.raises(UsageError, match="the runs are of photos, cifar100: choose runs of one, or give --dataset"):
        published(runs=(tmp_path,))

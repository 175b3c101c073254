"""The published numbers: what the files hold, how they are found and filtered, and that every column is explained."""

from __future__ import annotations

import csv
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import workbench
from workbench import published
from workbench.config import UsageError
from workbench.published import COLUMNS, available, folder, hyperparameters, names, recipes, results
from workbench.published.columns import DECIMAL, WHOLE, YES_NO

ROOT = Path(__file__).resolve().parents[2]
ROWS = {"results": 2252, "recipes": 104, "hyperparameters": 736}

COPIED = [  # by hand, from the benchmark's pages on CIFAR and ImageNet
    ("cifar100", "resnet18", "vanilla", 200, "top1", 76.42),
    ("cifar100", "resnet18", "cutmix", 1200, "top1", 78.29),
    ("cifar100", "resnet18", "alignmix", 1200, "top1", 81.71),
    ("cifar100", "resnet18", "samix", 800, "top1", 82.30),
    ("cifar100", "wrn28_8", "comixup", 400, "top1", 85.05),
    ("cifar10", "resnet18", "attentivemix", 800, "top1", 96.63),
    ("cifar10", "resnext50", "gridmix", 200, "top1", 97.18),
    ("tiny_imagenet", "resnext50", "smoothmix", 400, "top1", 69.65),
    ("imagenet1k", "resnet50", "supermix", 100, "top1", 77.63),
    ("imagenet1k", "mobilenet_v2", "rsb", 300, "top1", 72.87),
    ("imagenet1k", "deit_t", "tokenmix", 300, "top1", 75.31),
    ("imagenet1k", "convnext_t", "automix", 300, "top1", 82.28),
]


def raw(table: str) -> list[dict[str, str]]:
    with (folder() / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", COPIED, ids=lambda row: "-".join(map(str, row[:4])))
def test_numbers_are_the_printed_ones(row: tuple) -> None:
    dataset, backbone, method, epochs, metric, value = row
    found = results(dataset, backbone, method, metric, epochs)
    assert found["value"].tolist() == [value]


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_is_explained(table: str) -> None:
    rows = raw(table)
    assert list(rows[0]) == list(COLUMNS[table])
    assert all(meaning.strip() for meaning in COLUMNS[table].values())
    page = " ".join((ROOT / "data/README.md").read_text(encoding="utf-8").split())
    section = page.partition(f"### Columns of {table}.csv")[2].partition("###")[0]
    lacking = [
        name for name, meaning in COLUMNS[table].items() if f"- `{name}`: {' '.join(meaning.split())}" not in section
    ]
    assert lacking == []


@pytest.mark.parametrize("table", COLUMNS)
def test_all_rows_are_kept(table: str) -> None:
    rows = raw(table)
    assert len(rows) == ROWS[table]
    frame = {"results": lambda: results(preferred=False), "recipes": recipes, "hyperparameters": hyperparameters}[
        table
    ]()
    assert len(frame) == len(rows)
    for column in frame:
        texts = [row[str(column)] for row in rows]
        if column in YES_NO:
            assert frame[column].tolist() == [text == "True" for text in texts]
        elif column in WHOLE or column in DECIMAL:
            numbers = [None if pd.isna(v) else float(v) for v in frame[column]]
            assert numbers == [float(text) if text else None for text in texts]
        else:
            assert frame[column].tolist() == texts


def test_every_number_has_a_source() -> None:
    frame = results(preferred=False)
    assert frame["source"].str.fullmatch(r"(docs|configs)/\S+\.md # .+").all()
    assert (frame["source_line"] > 0).all()
    assert frame["value"].notna().all()
    assert set(frame["metric"]) == set(names.METRICS)
    assert set(frame["score_rule"]) <= set(names.SCORE_RULES)
    assert set(frame["dataset"]) == set(names.DATASETS)
    assert (frame["preferred"] | frame["conflict"]).all()
    assert frame.loc[frame["other_sources"] != "", "n_sources"].min() == 2


def test_one_number_of_a_conflict_is_preferred() -> None:
    both = results("CIFAR-100", "swin_t", "puzzlemix", "top1", 200, preferred=False)
    assert both["value"].tolist() == [80.33, 80.44]
    assert both["preferred"].tolist() == [True, False]
    assert results("cifar100", "swin_t", "puzzlemix", "top1", 200)["value"].tolist() == [80.33]


@pytest.mark.parametrize(
    ("column", "given", "key"),
    [
        ("dataset", "CIFAR-100", "cifar100"),
        ("dataset", "cifar100", "cifar100"),
        ("dataset", "ImageNet", "imagenet1k"),
        ("dataset", "Tiny-ImageNet", "tiny_imagenet"),
        ("dataset", "folder:/data/tiny-imagenet-200", "tiny_imagenet"),
        ("dataset", "folder:data/CUB_200_2011", "cub200"),
        ("dataset", "npz:data/cifar10.npz", "cifar10"),
        ("dataset", "Places205", "places205"),
        ("backbone", "resnext50_32x4d", "resnext50"),
        ("backbone", "deit_small_patch16_224.fb_in1k", "deit_s"),
        ("backbone", "ResNet-18", "resnet18"),
        ("backbone", "wrn28_8", "wrn28_8"),
        ("backbone", "convnext_tiny", "convnext_t"),
    ],
)
def test_other_names_are_known(column: str, given: str, key: str) -> None:
    assert getattr(names, column)(given) == key
    assert key in set(results()[column])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"dataset": "photos"}, "unknown data set with published numbers 'photos'"),
        ({"dataset": "cifar1000"}, "did you mean 'cifar100'"),
        (
            {"dataset": "cifar100", "backbone": "resnet19"},
            "did you mean 'resnet18'? (known: convnext_t, deit_s, resnet18",
        ),
        ({"dataset": "cifar100", "backbone": "resnet18", "method": "cutmx"}, "did you mean 'cutmix'"),
        ({"dataset": "cifar100", "backbone": "resnet18", "epochs": 300}, "(known: 200, 400, 800, 1200)"),
        ({"dataset": "cifar100", "backbone": "resnet18", "metric": "top5"}, "(known: top1)"),
        ({"dataset": "imagenet1k", "backbone": "resnet50", "setting": "rsb_a4"}, "did you mean 'rsb-a3'"),
        ({"dataset": "cifar10", "task": "selfsup"}, "(known: classification)"),
    ],
)
def test_what_is_not_there_is_told(wanted: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        results(**wanted)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_recipes_and_hyperparameters() -> None:
    (recipe,) = recipes("cifar100", "wrn28_8").to_dict("records")
    assert (recipe["base_lr"], recipe["weight_decay"], recipe["batch_size_total"]) == (0.03, 0.001, 100)
    tuned = hyperparameters("cifar100", "resnet18", method="automix")
    assert set(tuned["recipe_overrides"]) == {"min_lr=0.05"}
    with pytest.raises(UsageError, match="unknown setting of published recipes on cifar100 'zoo'"):
        recipes("cifar100", setting="zoo")


def test_callers_get_their_own_copy() -> None:
    mine = results()
    mine["value"] = 0.0
    assert (results()["value"] > 0).all()


def test_what_there_is() -> None:
    found = available()
    assert found["rows"].sum() == ROWS["results"]
    first = found[(found["dataset"] == "cifar100") & (found["backbone"] == "resnet18")].iloc[0]
    assert (first["methods"], first["epochs"], first["rows"]) == (15, "200, 400, 800, 1200", 57)
    assert set(available("cifar10")["backbone"]) == {"resnet18", "resnext50"}


def test_a_wheel_carries_the_tables_where_the_loader_looks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"data/published": "workbench/published/tables"}
    assert sorted(p.name for p in (ROOT / "data/published").iterdir()) == [f"{t}.csv" for t in sorted(COLUMNS)]


def test_tables_inside_the_package_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "workbench" / "published"
    (home / "tables").mkdir(parents=True)
    monkeypatch.setattr(published, "__file__", str(home / "__init__.py"))
    with pytest.raises(UsageError, match=r"expected results\.csv in .* found none"):
        folder()
    (home / "tables" / "results.csv").write_text("dataset,value\n")
    assert folder() == home / "tables"
    published._read.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"expected the columns of COLUMNS\['results'\], differing in alpha, "):
            results()
    finally:
        published._read.cache_clear()


def test_reading_does_not_wait_for_torch() -> None:
    script = (
        "import sys; from workbench.published import results; results('cifar10'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(workbench.__file__).parents[1])

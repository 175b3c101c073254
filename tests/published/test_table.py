"""Tables of published numbers: arranged as the benchmark's, conflicts and officials marked, bold only with reason."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from workbench.published import results
from workbench.published.beside import Beside
from workbench.published.table import Table, beside_text, leader, tables, text


def one(*names: str, **more: object) -> Table:
    (table,) = tables(results(*names, **more))
    return table


def line(words: str, start: str) -> list[str]:
    (found,) = [line for line in words.splitlines() if line.startswith(start)]
    return found.split()


def row(**changes: object) -> Beside:
    fields = ("batch size 128, published 100", "alpha 1, published 0.2")
    place = "cifar100, resnet18, 200 epochs"
    made = Beside("CutMix", "cutmix", place, 3, 79.1, 0.2, 79.45, 200.0, "cifar", -0.35, 0.23, 0.57, -0.57, fields)
    return replace(made, **changes)


def test_a_row_a_method_and_a_column_a_length() -> None:
    table = one("cifar100", "resnet18")
    words = text(table)
    assert words.splitlines()[0] == "CIFAR-100, ResNet-18: top-1 (%), setting cifar"
    assert table.heads == ["200 epochs", "400 epochs", "800 epochs", "1200 epochs"]
    assert line(words, "SmoothMix") == ["SmoothMix", "0.2", "77.90", "78.77", "78.69", "78.38"]
    assert line(words, "AlignMix") == ["AlignMix", "2", "–", "–", "–", "81.71", "†"]
    assert [row.label for row in table.rows][:3] == ["Vanilla", "Mixup", "CutMix"]
    assert len({len(part) for part in words.splitlines()[2:19]}) == 1
    assert "Accuracy: median of the last ten epochs." in words
    assert (
        "Trained for 200, 400, 800, 1200 epochs: sgd, lr 0.1, weight decay 0.0001, batch 100, cosine to 0, 32 px"
        in words
    )
    assert "10000 test images alone leave a standard error of 0.42 points" in words
    assert "docs/en/mixup_benchmarks/Mixup_cifar.md in the repository Westlake-AI/openmixup" in words


def test_metrics_are_columns_too() -> None:
    table = one("cifar100", "deit_s")
    assert table.heads == ["top-1 (%), 200 epochs", "top-1 (%), 600 epochs", "training (h), 600 epochs", "memory (GB)"]
    assert line(text(table), "TransMix") == ["TransMix", "0.8,1", "76.17", "79.33", "28", "8.4"]


def test_conflicts_are_marked_with_what_others_say() -> None:
    words = text(one("cifar100", "swin_t"))
    assert line(words, "PuzzleMix")[2:4] == ["80.33", "a"]
    assert "a: sources disagree: 80.44 on docs/en/model_zoos/Mixup_sup.md, line 297." in words


@pytest.fixture(scope="module")
def everything() -> list[Table]:
    return tables(results())


def test_every_conflict_is_told(everything: list[Table]) -> None:
    frame = results()
    told = {(table.slug, note) for table in everything for note in table.notes}
    for _, number in frame[frame["conflict"]].iterrows():
        slug = "-".join((number["dataset"], number["backbone"], number["setting"])).replace("_", "-")
        others = results(number["dataset"], number["backbone"], number["method"], number["metric"], preferred=False)
        rival = others[~others["preferred"] & others["epochs"].eq(number["epochs"]).fillna(False)]
        rival = rival[rival["setting"] == number["setting"]]
        assert any(s == slug and f"{rival['value'].iloc[0]:g} on" in note for s, note in told)


def test_no_number_is_lost(everything: list[Table]) -> None:
    assert sum(len(row.cells) for table in everything for row in table.rows) == len(results())
    assert len({table.slug for table in everything}) == len(everything)


def test_a_row_that_is_printed_twice_stays_twice() -> None:
    table = one("imagenet1k", "regnetx_12gf", metric="top1")
    assert [(row.label, *(cell.text for cell in row.cells.values())) for row in table.rows] == [
        ("method not stated", "79.67"), ("method not stated #2", "79.91"),
    ]  # fmt: skip


def test_bold_needs_a_lead_beyond_the_sampling_error() -> None:
    """On 10,000 images, 80 against 79: the difference has a standard error of 0.57, so 1 is within 1.96 of it."""
    frame = results("cifar100", "resnet18", metric="top1", epochs=200).head(2).copy()
    frame["value"] = [79.0, 80.0]
    error = math.sqrt((79 * 21 + 80 * 20) / 10_000)
    assert 1.96 * error > 1
    assert leader(frame) is None
    frame["value"] = [79.0, 79.0 + 2.1 * error]
    assert leader(frame) == frame.index[1]
    assert leader(frame.head(1)) is None
    assert leader(frame.assign(metric="train_hours")) is None


def test_stars() -> None:
    words = text(one("cifar100", "deit_s"))
    assert line(words, "SAMix")[2:4] == ["77.94*", "82.49*"]  # 1.7 and 1.5 points ahead
    assert words.count("*") == 3 and "*: leads the second of its column by more than 1.96 standard errors" in words
    plain = text(one("cifar100", "resnet18"))
    assert "*" not in plain and "No number leads the second of its column" in plain


def test_own_runs_beside() -> None:
    words = beside_text([row(), row(label="Mixup", differs=("batch size 128, published 100",))], "CIFAR-100, ResNet-18")
    assert line(words, "CutMix  ") == ["CutMix", "79.10", "±0.20", "(3)", "79.45", "200", "−0.35", "−0.6"]
    assert "Own runs differ in: batch size 128, published 100." in words
    assert "CutMix differs in: alpha 1, published 0.2." in words
    assert "Mixup differs" not in words and "‡" not in words


def test_one_seed_and_no_published_number_are_told() -> None:
    alone = row(seeds=1, own_sd=math.nan, seed_error=math.nan)
    nowhere = row(
        label="SMMix", published=math.nan, published_epochs=math.nan, difference=math.nan, z=math.nan, differs=()
    )
    words = beside_text([alone, nowhere], "CIFAR-100, ResNet-18")
    assert line(words, "CutMix  ")[-1] == "−0.6‡"
    assert "‡: one seed, so z leaves the spread over seeds out, and |z| is an upper bound." in words
    assert line(words, "SMMix")[-4:] == ["–", "–", "–", "–"]


@pytest.mark.parametrize("differs", [(), ("epochs 20, published 200",)])
def test_a_protocol_that_is_the_same(differs: tuple[str, ...]) -> None:
    words = beside_text([row(differs=differs)], "title")
    assert ("No field of the published protocol is known to differ." in words) == (not differs)

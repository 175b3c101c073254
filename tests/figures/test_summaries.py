"""Printed summaries: what fits a line, what is turned, and that no number is lost or changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.fake_runs import write_runs
from workbench.analysis import analyse
from workbench.figures.export import report
from workbench.figures.summaries import WIDTH, summary_text

RUNS = [f"photos-resnet8-{method}-s{seed}-0a1b2c{seed}d" for method in ("cutmix", "mixup") for seed in (0, 1)]


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"name": RUNS, **columns})


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_row_a_line_with_short_names_and_rounded_numbers() -> None:
    found = table(
        accuracy=[0.71234, 0.5, 1.0, np.nan], nll=[1.23456, 2, 3, 4], signed_gap=[-0.0712, 0, 0.1, 0.2], steps=1200
    )
    assert summary_text(found, RUNS).splitlines() == [
        "name       accuracy   nll  signed_gap",
        "CutMix s0    71.2 %  1.23      −7.1 %",
        "CutMix s1    50.0 %     2       0.0 %",
        "Mixup s0    100.0 %     3      10.0 %",
        "Mixup s1          –     4      20.0 %",
        "",
        "in all rows: steps 1,200",
    ]


def test_errors_stand_behind_their_measures() -> None:
    text = summary_text(table(iou=[0.5, 0.6, 0.7, 0.8], iou_se=[0.01, 0.02, 0.03, np.nan]), RUNS)
    assert words(text)[1] == ["CutMix", "s0", "0.5", "±", "0.01"]
    assert words(text)[4] == ["Mixup", "s1", "0.8"]


def test_a_wide_table_is_turned() -> None:
    measures = {f"a_measure_with_a_name_{i}": np.arange(4) + 10 * i for i in range(8)}
    lines = summary_text(table(**measures), RUNS).splitlines()
    assert lines[0].split() == ["CutMix", "s0", "CutMix", "s1", "Mixup", "s0", "Mixup", "s1"]
    assert [line.split() for line in lines[1:]] == [[key, *map(str, v)] for key, v in measures.items()]


def test_several_rows_a_run_stand_side_by_side() -> None:
    """The settings come from the left, what a run has only one of stands once, what all share below."""
    rows = [
        {"name": run, "attack": attack, "eps": eps, "accuracy": 0.1 * i + eps, "clean": 0.5 + 0.1 * i, "images": 9}
        for i, run in enumerate(RUNS)
        for attack in ("FGSM", "PGD")
        for eps in (0.01, 0.02)
    ]
    lines = words(summary_text(pd.DataFrame(rows), RUNS))
    assert lines[0][:2] == ["attack", "eps"] and lines[0].count("CutMix") == 2
    assert lines[3] == ["accuracy", "PGD", "0.01", "1.0", "%", "11.0", "%", "21.0", "%", "31.0", "%"]
    assert lines[5] == ["clean", "50.0", "%", "60.0", "%", "70.0", "%", "80.0", "%"]
    assert lines[-1] == ["in", "all", "rows:", "images", "9"]
    assert len(lines) == 8


def test_rows_of_other_settings_stay_rows() -> None:
    rows = [(RUNS[0], 0.2, 1.0), (RUNS[0], 0.5, 2.0), (RUNS[1], np.nan, 3.0)]
    text = summary_text(pd.DataFrame(rows, columns=["name", "alpha", "bias"]), RUNS)
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize(("rows", "columns"), [(1, 40), (3, 12), (9, 30), (40, 25), (60, 3)])
def test_no_line_is_too_long_and_no_cell_is_lost(rows: int, columns: int) -> None:
    names = [f"photos-resnet8-cutmix-s{i}-0a1b2c{i}d" for i in range(rows)]
    cells = 1000 + np.arange(rows * columns).reshape(rows, columns)
    found = pd.DataFrame(cells, columns=[f"measure_{i}" for i in range(columns)]).assign(name=names)
    text = summary_text(found[["name", *found.columns[:-1]]], names)
    assert max(map(len, text.splitlines())) <= WIDTH
    printed = [word.replace(",", "") for line in words(text) for word in line]
    assert all(printed.count(str(cell)) == 1 for cell in cells.ravel())


def test_what_is_printed_is_written_too(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", ("vanilla", "mixup", "cutmix"))
    text = report("calibration", runs, tmp_path / "out")
    written = pd.read_csv(tmp_path / "out" / "calibration-summary.csv")
    for run, (_, row) in zip(runs, written.iterrows(), strict=True):
        found = analyse(run, "calibration")
        assert row["name"] == run.name
        numbers = (found.ece, found.mce, found.brier, found.nll, found.temperature)
        np.testing.assert_allclose([row[key] for key in ("ece", "mce", "brier", "nll", "temperature")], numbers)
        assert f"{100 * found.ece:.1f} %" in text
    assert "Mixup s1" in text and max(map(len, text.splitlines())) <= WIDTH


def test_a_rankings_tests_are_printed_and_written(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", ("vanilla", "mixup", "cutmix"))
    text = report("ranking", runs, tmp_path / "out")
    found = analyse(runs, "ranking")
    summary = pd.read_csv(tmp_path / "out" / "ranking-summary.csv")
    assert summary["critical_difference"].tolist() == pytest.approx([found.critical_difference] * 3)
    assert summary["friedman_p"].tolist() == pytest.approx([found.friedman] * 3)
    np.testing.assert_allclose(summary["mean_rank"], found.mean_rank)
    assert f"critical_difference {found.critical_difference:.3g}" in text
    assert set(pd.read_csv(tmp_path / "out" / "ranking.csv")["name"]) == {found.setting}

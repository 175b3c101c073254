"""The benchmark of analyses: each is timed beside what it is held against."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from workbench.bench import bench_analyses
from workbench.config import UsageError


@pytest.mark.slow
def test_table_and_file(tmp_path: Path) -> None:
    text = bench_analyses(1, tmp_path / "new", logits=(200, 5), side=64, rows=2)
    table = pd.read_csv(tmp_path / "new" / "analyses.csv")
    assert len(table) == 6 and (table["ratio"] > 0).all() and table["against"].notna().all()
    for what in ("calibration", "Grad-CAM", "corruptions", "landscape", "top eigenvalue"):
        assert what in text


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rounds must be a whole number from 1"):
        bench_analyses(0, tmp_path / "out")
    assert not (tmp_path / "out").exists()

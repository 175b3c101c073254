"""The main job, short: everything that it promises is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_runs import write_runs
from workbench import tour as module
from workbench.figures import lint
from workbench.tour import EXPERIMENT, tour


@pytest.mark.slow
def test_the_tour_makes_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tour(tmp_path, jobs=2, epochs=1)
    names = {path.name for path in files}
    for figure in ("samples", "curves", "reliability", "tradeoff"):
        assert {f"{figure}.pdf", f"{figure}.png"} <= names
    assert {"compare.txt", "compare.csv", "compare.tex", "00_tour.html"} <= names
    assert all(path.stat().st_size > 500 for path in files)
    assert len(list((tmp_path / "runs").iterdir())) == len(EXPERIMENT.methods) * len(EXPERIMENT.seeds)
    shown = capsys.readouterr().out
    assert "AutoMix" in shown and "make lab" in shown and str(tmp_path) in shown
    page = (tmp_path / "00_tour.html").read_text()
    assert page.count("data:image/png;base64,") >= 5, "the notebook shows its figures"
    assert "Traceback" not in page


def test_a_faulty_figure_is_told_after_everything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_runs(tmp_path / "runs", ("vanilla", "mixup"))
    monkeypatch.setattr(module, "train", lambda *_: runs)

    def export(*_: object) -> list[Path]:
        raise lint.Faulty(["figure curves: cut off: Text 'x'"], [tmp_path / "curves.pdf"])

    monkeypatch.setattr(module, "export", export)
    with pytest.raises(lint.Faulty) as caught:
        tour(tmp_path, notebook=False)
    assert str(caught.value) == "figure curves: cut off: Text 'x'"
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'curves.pdf'}" in shown
    assert "Mixup" in shown and "make lab" in shown

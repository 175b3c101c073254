"""The command `workbench figures`: what it writes, what it leaves out, and when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_results import hessian, store, store_all
from tests.fake_runs import write_runs
from workbench import figures, style
from workbench.__main__ import main
from workbench.config import UsageError
from workbench.figures import Entry, lint
from workbench.figures.export import export


def cut(runs, *, venue: str, columns: int):
    """A figure that is wrong on purpose."""
    with style.paper(venue, columns) as width:
        figure = style.new_figure(width, 1)
        figure.text(0.98, 0.5, "over the edge")
        return figure


def test_everything_is_written_and_passes_the_lint(tmp_path: Path) -> None:
    runs = store_all(write_runs(tmp_path / "runs", ("vanilla", "mixup")))
    files = {path.name for path in export(runs, tmp_path / "out", formats=("png",))}
    tables = {f"{name}.{kind}" for name in ("compare", "calibration", "robustness") for kind in ("txt", "csv", "tex")}
    pages = {f"{name}.png" for name in figures.FIGURES if name != "card"}
    cards = {f"card-{method}.png" for method in ("vanilla", "mixup")}
    assert files == tables | pages | cards
    assert {path.name for path in (tmp_path / "out").iterdir()} == files


def test_what_is_not_stored_is_left_out_unless_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_runs(tmp_path / "runs", ("vanilla",), (0,))
    (runs[0].path / "weights.safetensors").write_text("")
    store(runs, "hessian", hessian(runs[0]))
    names = {path.name for path in export(runs, tmp_path / "out", formats=("png",))}
    assert {"curves.png", "hessian.png"} <= names
    assert not {"corruptions.png", "samples.png"} & names
    stored, *others = [line for line in "".join(capsys.readouterr()).splitlines() if "left out" in line]
    assert stored.endswith(
        "left out landscape, cam, corruptions, fidelity: nothing stored yet; `workbench analyse landscape RUNS` "
        "(likewise cam, robustness, fidelity)"
    )
    assert any("left out figure samples: " in line for line in others)  # vanilla mixes nothing
    with pytest.raises(UsageError, match="no stored cam"):
        export(runs, tmp_path / "out", only=("cam",))


def test_the_run_that_lacks_a_result_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = write_runs(tmp_path / "runs", ("vanilla", "mixup"), (0,))
    for run in runs:
        (run.path / "weights.safetensors").write_text("")
    store(runs[:1], "hessian", hessian(runs[0]))
    export(runs, tmp_path / "out", formats=("png",))
    told = [line for line in "".join(capsys.readouterr()).splitlines() if "nothing stored" in line or "hessian" in line]
    assert any(f"no stored hessian of 1 of 2 runs: `workbench analyse hessian {runs[1].path}`" in line for line in told)
    assert not any("hessian" in line and "nothing stored" in line for line in told)
    assert any("cards are without fidelity, robustness, cost: nothing stored yet" in line for line in told)


def test_a_run_with_damaged_predictions_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = write_runs(tmp_path / "runs", ("mixup", "vanilla"), (0,))
    for run in (bad, good):
        (run.path / "weights.safetensors").write_text("")
    (bad.path / "predictions.npz").write_text("damaged")
    words = ["figures", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--only", "curves", "reliability"]
    main([*words, "--formats", "png"])
    assert f"left out {bad.path / 'predictions.npz'}" in "".join(capsys.readouterr())
    assert (tmp_path / "out" / "reliability.png").exists()
    (good.path / "predictions.npz").write_text("damaged")
    with pytest.raises(SystemExit):
        main(words)


def test_a_faulty_figure_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_runs(tmp_path / "runs", ("mixup",), (0,))
    (runs[0].path / "weights.safetensors").write_text("")
    monkeypatch.setattr(figures.export, "FIGURES", {"curves": Entry(cut, "cut")}, raising=False)
    monkeypatch.setattr(figures, "FIGURES", {"curves": Entry(cut, "cut")})
    with pytest.raises(lint.Faulty, match="figure curves: cut off: Text 'over the edge'"):
        export(runs, tmp_path / "out")
    with pytest.raises(SystemExit) as caught:
        main(["figures", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert "figure curves: cut off: Text 'over the edge'" in told
    assert f"written all the same:\n  {tmp_path / 'out' / 'compare.txt'}" in told
    assert str(tmp_path / "out" / "curves.pdf") in told
    assert (tmp_path / "out" / "curves.pdf").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--venue", "cvprr"), "unknown venue 'cvprr'; did you mean 'cvpr'"),
        (("--only", "hesian"), "unknown figure 'hesian'; did you mean 'hessian'"),
        (("--formats", "pdff"), "unknown figure format 'pdff'; did you mean 'pdf'"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    (run,) = write_runs(tmp_path / "runs", ("mixup",), (0,))
    (run.path / "weights.safetensors").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["figures", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), *words])
    told = capsys.readouterr().err.strip()
    assert caught.value.code == 2
    assert message in told
    assert "\n" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("figures", "RUNS", "--out", "FILE"),
        ("figures", "RUNS", "--out", "FILE/deep"),
        ("analyse", "compare", "RUNS", "--out", "FILE"),
        ("published", "--figures", "FILE"),
        ("published", "--dataset", "cifar100", "--backbone", "deit_s", "--out", "FILE"),
        ("audit", "mixup", "--out", "FILE/mixup.png"),
        ("gallery", "--only", "mixup", "--out", "FILE"),
    ],
)
def test_a_file_where_a_folder_should_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    (run,) = write_runs(tmp_path / "runs", ("mixup",), (0,))
    (run.path / "weights.safetensors").write_text("")
    file = tmp_path / "file"
    file.write_text("of somebody")
    with pytest.raises(SystemExit) as caught:
        main([w.replace("FILE", str(file)).replace("RUNS", str(tmp_path / "runs")) for w in words])
    told = capsys.readouterr().err.strip()
    assert caught.value.code == 2
    assert f"must be a folder, but {file} is a file; name another folder" in told
    assert "\n" not in told and "Errno" not in told
    assert file.read_text() == "of somebody"


def test_runs_that_are_not_whole_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half, old, good = write_runs(tmp_path / "runs", ("mixup", "cutmix", "vanilla"), (0,))
    (half.path / "result.json").write_text('{"accuracy": 0.5')
    (old.path / "config.yaml").write_text("method: cutmix\nkind: of an older version\n")
    for run in (half, old, good):
        (run.path / "weights.safetensors").write_text("")
    main(["figures", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--only", "curves", "--formats", "png"])
    told = capsys.readouterr().err
    assert f"left out {half.path}: " in told
    assert f"left out {old.path}: " in told
    assert "unknown" in told
    assert (tmp_path / "out" / "curves.png").exists()
    with pytest.raises(SystemExit):
        main(["figures", str(half.path), "--out", str(tmp_path / "none")])
    assert "no finished run" in capsys.readouterr().err

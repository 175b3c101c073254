"""The command line, tried as a newcomer would, mistakes included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from workbench.__main__ import main
from workbench.runs import Run, runs

TRAIN = ["train", "--data", "digits", "--model", "resnet8", "--size", "16", "--device", "cpu", "--no-progress"]
COMMANDS = ["tour", "train", "resume", "runs", "sweep", "analyse", "figures", "mix", "gallery"]
COMMANDS += ["data", "methods", "audit", "bench", "explore", "site", "published"]


def code_of(*words: str) -> int:
    """The exit code of a command."""
    try:
        main([str(word) for word in words])
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    for method in ("vanilla", "cutmix"):
        assert code_of(*TRAIN, "--method", method, "--epochs", "2", "--root", root) == 0
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(command, "--help") == 0
    text = capsys.readouterr().out
    assert "usage: workbench" in text and len(text.splitlines()) > 5


def test_figures_and_analyses_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for command, named in (("figures", "reliability"), ("analyse", "calibration")):
        assert code_of(command) == 0
        assert named in capsys.readouterr().out


def test_help_does_not_wait_for_torch() -> None:
    script = """
import sys
from workbench.__main__ import main
try:
    main(["--help"])
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*TRAIN, "--method", "cutmx"], "did you mean 'cutmix'"),
        ([*TRAIN, "--data", "photo"], "did you mean 'photos'"),
        ([*TRAIN, "--model", "resnet81"], "unknown model 'resnet81'"),
        ([*TRAIN, "--params", "alpha=9"], "alpha must be a number from 0.05 to 5, got 9"),
        ([*TRAIN, "--epochs", "0"], "epochs must be a whole number from 1"),
        ([*TRAIN, "--name", "../../etc"], "run name '../../etc'"),
        ([*TRAIN, "--file", "nothing.yaml"], "no settings file at nothing.yaml"),
        ([*TRAIN, "--file=nothing.yaml"], "no settings file at nothing.yaml"),
        ([*TRAIN, "--processes", "0"], "processes must be a whole number from 1, got 0"),
        ([*TRAIN, "--name", ""], "run name"),
        ([*TRAIN, "--data", "cifar10", "--data-root", "nowhere"], "nowhere"),
        ([*TRAIN, "--data", "folder:nowhere"], "nowhere"),
        (["resume", "nowhere"], "no run folder"),
        (["runs", "nowhere"], "no runs below nowhere"),
        (["figures", "nowhere"], "there is no folder nowhere"),
        (["analyse", "calibraton", "nowhere"], "there is no folder nowhere"),
        (["methods", "mixpu"], "did you mean 'mixup'"),
        (["data", "shape"], "did you mean 'shapes'"),
        (["mix", "--images", "a.jpg", "b.jpg"], "a.jpg"),
        (["mix", "--images", "a.jpg"], "two"),
        (["sweep", "nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert code_of(*words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "Traceback" not in error
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert not list(tmp_path.rglob("config.yaml")), "a mistake must not leave a run folder behind"


@pytest.mark.parametrize("words", [["trian"], [*TRAIN, "--epoch", "3"], [*TRAIN, "--epochs", "three"], []])
def test_words_that_are_no_command_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_training_is_stored_and_listed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {run.label for run in runs(trained)} == {"vanilla", "cutmix"}
    assert code_of("runs", trained) == 0
    listed = capsys.readouterr().out
    assert listed.count("done") == 2 and "2/2" in listed and "%" in listed


def test_resume_of_a_finished_run_changes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("resume", runs(trained)[0].path) == 0
    assert "accuracy" in capsys.readouterr().out


def test_settings_from_a_file_with_the_command_line_on_top(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "method: mixup\nparams: {alpha: 0.3}\ndata: digits\nmodel: resnet8\nepochs: 5\nbatch_size: 512\n"
    )
    assert code_of("train", "-f", tmp_path / "s.yaml", "--epochs", "1", "--root", tmp_path, "--no-progress") == 0
    config = runs(tmp_path)[0].config
    assert (config.method, dict(config.params), config.epochs) == ("mixup", {"alpha": 0.3}, 1)


@pytest.mark.parametrize("analysis", ["calibration", "compare"])
def test_analyse(analysis: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("analyse", analysis, trained, "--out", tmp_path) == 0
    assert "cutmix" in capsys.readouterr().out.lower()
    assert {p.suffix for p in tmp_path.iterdir()} >= {".csv", ".pdf", ".png"}


def test_unknown_analysis(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("analyse", "calibraton", trained) == 2
    assert "did you mean 'calibration'" in capsys.readouterr().err


def test_figures(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("figures", trained, "--out", tmp_path) == 0
    made = {path.name for path in tmp_path.iterdir()}
    for figure in ("samples", "curves", "reliability", "tradeoff"):
        assert {f"{figure}.pdf", f"{figure}.png"} <= made
    assert {"compare.csv", "compare.tex", "compare.txt"} <= made
    assert code_of("figures", trained, "--out", tmp_path, "--venue", "cvrp") == 2
    assert "did you mean 'cvpr'" in capsys.readouterr().err


def test_mixing_ones_own_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("chelsea", "coffee"):
        Image.fromarray(getattr(pictures, name)()).save(tmp_path / f"{name}.jpg")
    out = tmp_path / "mixed.png"
    images = [tmp_path / "chelsea.jpg", tmp_path / "coffee.jpg"]
    assert code_of("mix", "--method", "mixup", "--images", *images, "--lam", "0.6", "--out", out, "--size", "64") == 0
    assert "0.60" in capsys.readouterr().out
    assert np.asarray(Image.open(out)).std() > 10


def test_mixing_with_a_method_that_needs_a_net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    assert code_of("mix", "--method", "automix", "--images", *images, "--out", tmp_path / "m.png") == 2
    assert "--run" in capsys.readouterr().err


def test_data_is_listed_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("data") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("digits", "photos", "shapes", "cifar10", "stl10"))
    assert code_of("data", "digits", "--out", tmp_path / "sheet.png") == 0
    described = capsys.readouterr().out
    assert "1,438" in described
    assert Image.open(tmp_path / "sheet.png").size[0] > 200


def test_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "e.yaml").write_text(
        "methods: [vanilla, mixup]\nseeds: [0]\n"
        "settings: {data: digits, model: resnet8, epochs: 1, batch_size: 512, device: cpu}\n"
    )
    assert code_of("sweep", tmp_path / "e.yaml", "--out", tmp_path / "runs", "--jobs", "2") == 0
    assert "Mixup" in capsys.readouterr().out
    assert all(Run(run.path).state == "done" for run in runs(tmp_path / "runs"))
    (tmp_path / "bad.yaml").write_text("method: [vanilla]\nmethods: [vanilla]\n")
    assert code_of("sweep", tmp_path / "bad.yaml") == 2
    assert "did you mean 'methods'" in capsys.readouterr().err


def test_gallery_of_methods_without_a_net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("gallery", "--out", tmp_path, "--only", "cutmix", "fmix", "--lam", "0.3") == 0
    assert str(tmp_path / "gallery.png") in capsys.readouterr().out
    assert Image.open(tmp_path / "gallery.png").size[0] > 2000
    assert code_of("gallery", "--out", tmp_path, "--only", "cutmx") == 2
    assert "did you mean 'cutmix'" in capsys.readouterr().err


def test_bench_of_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("bench", "methods", "--only", "mixup", "--size", "16", "--batch-size", "4", "--rounds", "1")
    assert code_of(*words, "--out", tmp_path) == 0
    assert "4 x 3 x 16 x 16" in capsys.readouterr().out and (tmp_path / "methods.csv").exists()
    assert code_of("bench", "methods", "--size", "4", "--out", tmp_path) == 2
    assert "size must be from 8" in capsys.readouterr().err


def test_analyses_are_listed_and_take_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("analyse") == 0
    assert "calibration" in capsys.readouterr().out
    assert code_of(*TRAIN, "--epochs", "1", "--root", tmp_path) == 0
    assert code_of("analyse", "calibration", tmp_path, "--options", "bins=10") == 0
    assert code_of("analyse", "calibration", tmp_path, "--options", "bin=10") == 2
    assert "did you mean 'bins'" in capsys.readouterr().err


def test_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("audit", "mixup", "--out", tmp_path / "audit.png") == 0
    assert "labels sum to 1" in capsys.readouterr().out and (tmp_path / "audit.pdf").exists()
    assert code_of("audit", "puzzlemix") == 2
    assert "--run" in capsys.readouterr().err

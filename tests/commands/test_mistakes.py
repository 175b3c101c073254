"""What the parser of the command line refuses: one line, exit code 2, what was expected, what came."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import pytest

from workbench.__main__ import main
from workbench.commands import mistakes
from workbench.commands.looking import audit, mix
from workbench.commands.training import train_from
from workbench.config import RunConfig


def told(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What comes on standard error where a command is refused."""
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian", "unknown command 'trian'; did you mean 'train'?"),
        ("--versoin", "unknown command '--versoin' (known: analyse"),
        ("", "expected a command, got none (known: analyse"),
        ("train --epoch 3", "train has no option '--epoch'; did you mean '--epochs'?; see `workbench train --help`"),
        ("train --mehtod=cutmix", "train has no option '--mehtod'; did you mean '--method'?"),
        ("analyse calibration x --option bins=3", "analyse has no option '--option'; did you mean '--options'?"),
        ("train extra", "train has no use for 'extra'"),
        ("train --epochs 3 4", "train has no use for '4'"),
        ("train --epochs", "train: --epochs needs a value, a whole number"),
        ("mix --run", "mix: --run needs a value, a path"),
        ("audit", "audit needs METHOD (a text); see `workbench audit --help`"),
        ("sweep", "sweep needs EXPERIMENT (a path)"),
        ("bench", "bench needs WHAT (one of methods, steps, analyses, train)"),
        ("train --epochs three", "train: --epochs must be a whole number, got 'three'"),
        ("gallery --lam much", "gallery: --lam must be a number, got 'much'"),
        ("train --precision fp8", "--precision must be one of fp32, bf16, fp16, got 'fp8'; did you mean 'fp32'?"),
        ("figures x --columns 3", "figures: --columns must be one of 1, 2, got '3'"),
        ("bench methos", "bench: WHAT must be one of methods, steps, analyses, train, got 'methos'; did you mean"),
    ],
)
def test_one_line(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = told(words.split(), capsys)
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("analyse calibration here --options bins=15 bins=10", "--options: expected every setting once, got bins=15"),
        ("analyse calibration", "no runs were named; give run folders"),
        ("analyse calibration here", "no finished run in here"),
    ],
)
def test_words_that_can_be_read_but_not_meant(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert message in told(words.split(), capsys)


def test_options_are_those_of_the_signature_and_of_the_settings() -> None:
    assert {"--method", "--batch-size", "--data-root", "--no-such"} & set(
        mistakes.options(train_from(RunConfig()))
    ) == {"--method", "--batch-size", "--data-root"}
    assert "--method" not in mistakes.options(audit), "there it is no option"
    assert mistakes.options(mix) == [f"--{name}" for name in inspect.signature(mix).parameters]


def test_a_parser_without_the_hook_keeps_its_boxes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mistakes.importlib, "import_module", _missing)
    assert "--epochs" in told(["train", "--epoch", "3"], capsys)


def _missing(name: str) -> None:
    raise ImportError(name)

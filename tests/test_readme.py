"""The README's code runs as it stands, and the files and commands that it names exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from workbench.__main__ import main
from workbench.methods import METHODS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("code", CODE, ids=lambda code: code.split("\n")[0])
def test_code_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(METHODS)
    cell = ModuleType("cell")
    cell.__dict__.update(images=torch.rand(4, 3, 8, 8), labels=torch.arange(4))
    monkeypatch.setitem(sys.modules, "cell", cell)  # where a dataclass looks its annotations up
    try:
        exec(compile(code, "README.md", "exec", dont_inherit=True), cell.__dict__)
    finally:
        METHODS.clear()
        METHODS.update(before)


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"`workbench ([a-z]+)", TEXT))
    assert len(named) > 8
    for command in sorted(named):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, command


def test_files_exist() -> None:
    paths = re.findall(r"[`(]((?:workbench|tests|experiments|data)/[\w/.]+\w)[`)]", TEXT)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []

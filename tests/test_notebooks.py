"""The notebooks run from top to bottom, show their figures, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from workbench.pages import execute

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SHORT = {  # the tour's own test executes 00_tour; settings that make the others short, and how many figures they show
    "01_mixed_samples": ({"WORKBENCH_ONLY": "vanilla cutmix fmix transmix", "WORKBENCH_EPOCHS": "1"}, 2),
}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_stored_without_outputs_and_short(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert sum(len(cell.source.splitlines()) for cell in code) <= 60
    assert path.stem in SHORT or path.stem == "00_tour", "add settings to SHORT that make this notebook short"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    settings, figures = SHORT[name]
    page = execute(
        NOTEBOOKS / f"{name}.ipynb", tmp_path / "page.html", {"WORKBENCH_OUT": str(tmp_path / "out"), **settings}
    ).read_text()
    assert page.count("data:image/png;base64,") >= figures
    assert "Traceback" not in page

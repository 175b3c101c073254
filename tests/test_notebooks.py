"""The notebooks run from top to bottom, show their figures, and are stored without outputs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from workbench.pages import execute

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
FIGURES = {  # at least so many pictures; 00_tour is executed by the tour's own test
    "01_mixed_samples": 3,
    "02_train_and_compare": 2,
    "03_calibration": 2,
    "04_saliency_and_cam": 4,
    "05_loss_landscape": 4,
    "06_hessian": 1,
    "07_robustness": 3,
    "08_label_fidelity_and_audit": 3,
    "09_your_own_method": 2,
    "10_your_own_images": 2,
    "11_paper_figures": 7,
    "12_replay": 3,
}
SHORT = {"01_mixed_samples": {"WORKBENCH_ONLY": "vanilla cutmix fmix transmix"}}
"""Settings that make a notebook shorter."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the runs of all notebooks: what one has trained, the next finds."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_stored_without_outputs_and_short(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert sum(len(cell.source.splitlines()) for cell in code) <= 60
    assert not re.search(r"^\s*(class|def) (?!stripes|mistaken)", "\n".join(c.source for c in code), re.M), (
        "what can be used again belongs into the package"
    )
    assert path.stem in FIGURES or path.stem == "00_tour", "add the notebook to FIGURES"


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_runs_from_top_to_bottom(name: str, runs: Path, tmp_path: Path) -> None:
    settings = {"WORKBENCH_OUT": str(runs), **SHORT.get(name, {})}
    page = execute(NOTEBOOKS / f"{name}.ipynb", tmp_path / "page.html", settings).read_text()
    assert page.count("data:image/png;base64,") >= FIGURES[name]
    assert "Traceback" not in page and "application/vnd.jupyter.widget" not in page

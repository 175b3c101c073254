"""Every figure keeps the rules of a paper, and says what it lacks. What each of them shows: `test_shown.py`."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from tests.fake_results import store, store_all
from tests.fake_runs import FakeRun, write_run, write_runs
from workbench import figures, style
from workbench.analysis import base, stored
from workbench.config import RunConfig, UsageError
from workbench.figures import FIGURES, FORMATS, lint, render, save

WRITABLE = tuple(kind for kind in FORMATS if kind != "pgf" or shutil.which(figures.TEX))
USUAL = [("cvpr", 1), ("cvpr", 2), ("neurips", 1)]
"""The narrowest page, the widest but one, and the largest font; the others lie between them."""
_SIZES = {(style.page_width(v, c), style.VENUES[v].font): (v, c) for v in reversed(style.VENUES) for c in (2, 1)}
PAGES = [*USUAL, *(pytest.param(*page, marks=pytest.mark.slow) for page in _SIZES.values() if page not in USUAL)]
"""Every page of every venue, once where several are of one size."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[FakeRun]:
    """All twenty methods, two seeds each."""
    return store_all(write_runs(tmp_path_factory.mktemp("all"), tuple(style.LABELS)))


def edges(figure: Figure) -> np.ndarray:
    """Of all axes, in shares of the figure."""
    return np.array([ax.get_position().extents for ax in figure.axes])


# ------------------------------------------------------------------------------------------- the rules, for all of them


@pytest.mark.parametrize(("venue", "columns"), PAGES)
@pytest.mark.parametrize("name", FIGURES)
def test_layout(drawn: Callable[..., Figure], name: str, venue: str, columns: int) -> None:
    before = dict(matplotlib.rcParams)
    figure = drawn(name, venue, columns)
    assert figure.get_figwidth() == style.page_width(venue, columns)
    assert figure.get_figheight() < 9  # a page is
    assert lint.faults(figure) == []
    first = edges(figure)
    figure.draw_without_rendering()
    np.testing.assert_allclose(edges(figure), first, atol=2e-4)  # it has come to rest
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("samples", 2), ("curves", 2), ("reliability", 2), ("critical", 2), ("tradeoff", 2),
        ("landscape", 1), ("hessian", 1), ("hessian", 2), ("cam", 1), ("corruptions", 1), ("fidelity", 1),
    ],
)  # fmt: skip
def test_layout_of_all_methods(everything: list[FakeRun], name: str, columns: int) -> None:
    figure = render(everything, name, "cvpr", columns)
    assert lint.faults(figure) == []
    assert figure.get_figheight() < 9


def test_layout_of_a_card_of_a_users_own_method(few: list[FakeRun]) -> None:
    assert lint.faults(render(few, "card", method="a_method_of_my_own")) == []


WRITE = """
import json, sys
from pathlib import Path
from tests.fake_runs import FakeRun
from workbench.figures import FIGURES, render, save
runs = [FakeRun(p) for p in sorted(Path(sys.argv[1]).iterdir())]
for name in FIGURES:
    options = {"method": "vanilla"} if name == "card" else {}
    save(render(runs, name, "icml", **options), Path(sys.argv[3]) / "new" / name, json.loads(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def elsewhere(few: list[FakeRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every figure in every format, written by another process with other hashes of texts."""
    folder = tmp_path_factory.mktemp("elsewhere")
    words = [sys.executable, "-c", WRITE, str(few[0].path.parent), json.dumps(WRITABLE)]
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    subprocess.run([*words, str(folder)], check=True, cwd=Path.cwd(), env=os.environ | {"PYTHONHASHSEED": seed})
    return folder / "new"


@pytest.mark.parametrize("name", FIGURES)
def test_files(few: list[FakeRun], elsewhere: Path, tmp_path: Path, name: str) -> None:
    """Nothing cut, exact size, TrueType fonts, and a rendering by another process is the same to the byte."""
    figure = render(few, name, "icml", **({"method": "vanilla"} if name == "card" else {}))
    files = save(figure, tmp_path / name, WRITABLE)
    assert lint.faults(figure) == []
    pages = [p for p in files if "-img" not in p.name]  # without the pictures of a PGF
    assert [p.name for p in pages] == [f"{name}.{kind}" for kind in WRITABLE]
    assert [p.read_bytes() for p in files] == [(elsewhere / p.name).read_bytes() for p in files]
    width = style.page_width("icml")
    assert [fault for path in pages for fault in lint.file_faults(path, width)] == []
    pdf, png, svg = (p.read_bytes() for p in files[:3])
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * width)
    assert Image.open(io.BytesIO(png)).width == round(300 * width)
    assert b"/Type3" not in pdf
    assert b"/Subtype /CIDFontType2" in pdf  # TrueType
    assert b"STIX" in pdf
    assert b"/CreationDate" not in pdf
    assert b"<dc:date>" not in svg


def test_every_figure_is_described() -> None:
    assert all(entry.summary for entry in FIGURES.values())
    assert set(FIGURES) == {
        "samples", "curves", "reliability", "critical", "tradeoff", "landscape", "hessian", "cam", "corruptions",
        "fidelity", "card",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- what they refuse


@pytest.mark.parametrize("name", ["landscape", "hessian", "cam", "corruptions", "fidelity"])
def test_what_is_not_stored_is_named_with_its_command(tmp_path: Path, name: str) -> None:
    runs = write_runs(tmp_path, ("mixup",), (0,))
    analysis = {"corruptions": "robustness"}.get(name, name)
    (runs[0].path / "weights.safetensors").write_text("")
    with pytest.raises(UsageError, match=f"no stored {analysis} .*`workbench analyse {analysis} ") as caught:
        render(runs, name)
    assert "\n" not in str(caught.value)


def test_results_of_different_options_are_not_compared(tmp_path: Path) -> None:
    runs = store_all(write_runs(tmp_path, ("mixup", "cutmix"), (0,)))
    store(runs[:1], "hessian", dataclasses.replace(stored(runs, "hessian")[0], images=999), images=999)
    os.utime(
        next(p for p in (runs[0].path / "analysis").glob("hessian-*") if "999" in str(base.made_with(p))), (2e9, 2e9)
    )
    with pytest.raises(UsageError, match=r"hessian differ in images .999 and 64."):
        render(runs, "hessian")


def test_pgf_without_latex_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="pgf needs LaTeX, and there is no pdflatex here"):
        save(style.new_figure(1, 1), tmp_path / "x", ("pdf", "pgf"))
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told(runs: list[FakeRun], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure 'curve'; did you mean 'curves'"):
        render(runs, "curve")
    with pytest.raises(UsageError, match="unknown venue 'cvprr'; did you mean 'cvpr'"):
        render(runs, "curves", "cvprr")
    with pytest.raises(UsageError, match="needs at least one finished run, got none"):
        render([], "curves")
    with pytest.raises(UsageError, match="unknown figure format 'pdff'; did you mean 'pdf'"):
        save(style.new_figure(1, 1), tmp_path / "x", ("png", "pdff"))
    assert list(tmp_path.iterdir()) == []  # nothing half done


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "card"])
def test_settings_are_not_mixed(runs: list[FakeRun], tmp_path: Path, name: str) -> None:
    other = write_run(tmp_path, RunConfig(method="fmix", data="digits", epochs=3))
    np.savez_compressed(
        other.path / "samples.npz", **{k: v[::-1] for k, v in (other.samples() or {}).items() if v.ndim}
    )
    with pytest.raises(UsageError, match="digits, resnet20, 3 epochs"):
        render([*runs, other], name)


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    run, vanilla = (write_run(tmp_path, RunConfig(method=m)) for m in ("mixup", "vanilla"))
    with pytest.raises(UsageError, match="got vanilla alone"):
        render([vanilla], "samples")
    with pytest.raises(UsageError, match="no vanilla run"):
        render([run], "tradeoff")
    (run.path / "samples.npz").unlink()
    with pytest.raises(UsageError, match=rf"run {run.name} has no samples\.npz"):
        render([run], "samples")
    (run.path / "history.jsonl").write_text("")
    with pytest.raises(UsageError, match="has not finished an epoch"):
        render([run], "curves")
    (run.path / "predictions.npz").unlink()
    with pytest.raises(UsageError, match=r"has no predictions\.npz"):
        render([run], "reliability")


def test_curves_and_samples_need_no_torch(runs: list[FakeRun]) -> None:
    code = f"""
import sys
from pathlib import Path
from tests.fake_runs import FakeRun
from workbench.figures import render
runs = [FakeRun(p) for p in sorted(Path({str(runs[0].path.parent)!r}).iterdir())]
for name in ("curves", "samples"):
    render(runs, name)
print("torch" in sys.modules)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert shown.stdout.strip() == "False"

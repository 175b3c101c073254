"""The notebooks in JupyterLab as `make lab` starts it: an explorer that reacts, a training that outlives its page."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.looking import cut, mixed_by, pixels, press, wait_for_change, window
from tests.browser.notebook import end_kernels, open_notebook, run_cell
from tests.browser.serving import LONG, Server, end_trainings, lab, wait_for
from workbench.runs import Run, runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

ADDRESS = r"http://127\.0\.0\.1:\d+/lab/tree/notebooks/00_tour\.ipynb\?token=\w+"
SHEET = ".jp-WindowedPanel-outer"
"""What scrolls in a notebook."""
EPOCHS = 500
"""Of the training, so many that it still runs when the page is opened again; the test ends it."""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Iterator[Path]:
    """Where the notebooks leave their runs; trainings are ended at the end."""
    folder = tmp_path_factory.mktemp("out")
    yield folder
    end_trainings(folder)


@pytest.fixture(scope="module")
def server(chromium, out: Path, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("lab")
    with lab(folder, {"WORKBENCH_OUT": str(out)}) as server:
        change(folder / "notebooks" / "02_train_and_compare.ipynb", {
            'methods={"vanilla": {}, "cutmix": {}}': 'methods={"cutmix": {}}',
            "seeds=(0, 1)": "seeds=(0,)",
            '"data": "photos"': '"data": "digits"',
            '"size": 32': '"size": 16',
            '"epochs": 3': f'"epochs": {EPOCHS}',
        })  # fmt: skip
        yield server


def change(notebook: Path, parameters: dict[str, str]) -> None:
    """Set parameters in the first code cell of a notebook."""
    page = json.loads(notebook.read_text())
    cell = next(cell for cell in page["cells"] if cell["cell_type"] == "code")
    source = "".join(cell["source"])
    for old, new in parameters.items():
        assert old in source
        source = source.replace(old, new)
    cell["source"] = source
    notebook.write_text(json.dumps(page))


def test_the_door_is_shut_without_the_token(server: Server):
    address = server.address(ADDRESS).partition("/lab")[0]
    with urllib.request.urlopen(f"{address}/lab", timeout=LONG) as answer:
        assert "/login" in answer.url
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/api/contents/notebooks", timeout=LONG)


def test_a_slider_moved_by_keyboard_changes_the_mixed_picture(chromium, server: Server):
    with window(chromium) as page:
        open_notebook(page, server.address(ADDRESS), "01_mixed_samples.ipynb")
        run_cell(page, "import os")
        run_cell(page, "MixedSamples(")
        card = page.locator(".wb-mixed .wb-card").first
        mix, handle = card.locator("img.wb-mix"), page.locator(".wb-mixed .wb-lambda .noUi-handle")
        mix.wait_for()
        a, b = (pixels(page.locator(f"img.wb-source-{letter}")) for letter in "ab")
        first, before = pixels(mix), mix.get_attribute("src")
        assert abs(first.astype(int) - mixed_by(a, b, 0.5)).max() <= 1
        assert card.locator(".wb-numbers").inner_text() == "label 0.50 A · visible 0.50 A"

        press(page, handle, "ArrowLeft", times=30)
        card.get_by_text("label 0.20 A · visible 0.20 A", exact=True).wait_for()
        wait_for_change(mix, before)

        assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(0.2)
        wait_for("the mix at 0.20", lambda: abs(pixels(mix).astype(int) - mixed_by(a, b, 0.2)).max() <= 1)
        assert abs(first.astype(int) - mixed_by(a, b, 0.2)).max() > 10, "else the test could not fail"
        assert not cut(page, ".wb-mixed", SHEET)
        assert page.get_by_text("notified about official Jupyter news").count() == 0


def test_a_training_goes_on_when_its_page_is_closed_and_is_found_again(chromium, server: Server, out: Path):
    address = server.address(ADDRESS)
    with window(chromium) as page:
        watch_training(page, address)
        (run,) = runs(out)
        page.locator(".wb-live td", has_text=run.name).wait_for()
        wait_for("the first epoch", lambda: done(run) >= 1)
        process = run.status["pid"]

    assert end_kernels(address) >= 1
    before = done(run)
    wait_for("an epoch without page and kernel", lambda: done(run) > before)

    with window(chromium) as page:
        watch_training(page, address)
        row = page.locator(".wb-live tr", has_text=run.name)
        row.wait_for()
        shown = wait_for("more epochs in the table", lambda: epochs(row.inner_text()) > before and row.inner_text())
        assert "running" in shown and f"of {EPOCHS}" in shown
        assert [run.path for run in runs(out)] == [run.path] and run.status["pid"] == process, "another was started"
        curves = page.locator(".wb-live img").first
        wait_for("curves", lambda: curves.evaluate("image => image.naturalWidth") > 900)
        assert not cut(page, ".wb-live", SHEET)


def watch_training(page: Page, address: str) -> None:
    """Open the notebook and run its cells as far as the explorer: the first time this starts the training."""
    open_notebook(page, address, "02_train_and_compare.ipynb")
    for text in ("import os", "launch_all(EXP", "LiveTraining("):
        run_cell(page, text)


def done(run: Run) -> int:
    return len(run.history)


def epochs(row: str) -> float:
    """The epochs done, as a row of the table tells them: "3.4 of 40"."""
    return float(row.split(" of ")[0].split()[-1])

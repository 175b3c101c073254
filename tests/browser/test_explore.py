"""`workbench explore`: the explorers in a browser, without Jupyter."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.browser.looking import assert_whole, cut, mixed_by, pixels, press, wait_for_change, window
from tests.browser.serving import LONG, Server, descendants, explore, is_running, wait_for
from tests.fake_runs import write_runs

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ADDRESS = r"http://127\.0\.0\.1:\d+/\?token=\S+"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Six finished runs with made-up numbers."""
    root = tmp_path_factory.mktemp("runs")
    for run in write_runs(root, ("vanilla", "mixup", "cutmix"), (0, 1), epochs=6):
        (run.path / "weights.safetensors").touch()
    return root


@pytest.fixture(scope="module")
def server(chromium, finished: Path, tmp_path_factory) -> Iterator[Server]:
    with explore(finished, tmp_path_factory.mktemp("explore")) as server:
        yield server


@pytest.fixture(scope="module")
def page(chromium, server: Server) -> Iterator[Page]:
    with window(chromium) as page:
        page.goto(server.address(ADDRESS))
        page.locator(".wb-mixed img.wb-mix").first.wait_for()
        yield page


@pytest.fixture
def opened(page: Page) -> Iterator[Page]:
    """The page with the first explorer on it, which all these tests share."""
    show_tab(page, "Mixed samples")
    yield page
    assert_whole(page)


def show_tab(page: Page, title: str) -> None:
    page.locator(".wb-page").get_by_role("tab", name=title).click()


def choose(page: Page, *files: Path) -> None:
    """By the file chooser."""
    with page.expect_file_chooser() as chooser:
        page.get_by_text("or click to choose").click()
    chooser.value.set_files(files)


def at(image: Locator, column: int) -> tuple[int, ...]:
    """What an <img> of a source shows in a column of its middle row; one that is not loaded yet shows nothing."""
    image.evaluate("image => image.decode()")
    red, green, blue = pixels(image)[112, column].tolist()
    return red, green, blue


DROP = """async (place, [name, content]) => {
  const bytes = await (await fetch('data:application/octet-stream;base64,' + content)).arrayBuffer();
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], name));
  for (const kind of ['dragenter', 'dragover', 'drop'])
    place.dispatchEvent(new DragEvent(kind, {dataTransfer: dropped, bubbles: true, cancelable: true}));
}"""


def drop(page: Page, file: Path, place: str = ".wb-drop") -> None:
    """By dragging it from a folder onto the page."""
    content = base64.b64encode(file.read_bytes()).decode()
    page.locator(place).evaluate(DROP, [file.name, content])


def test_a_slider_moved_by_keyboard_changes_the_mixed_picture(opened):
    card = opened.locator(".wb-card").first
    mix, handle = card.locator("img.wb-mix"), opened.locator(".wb-lambda .noUi-handle")
    a, b = (pixels(opened.locator(f"img.wb-source-{letter}")) for letter in "ab")
    first = pixels(mix)
    assert abs(first.astype(int) - mixed_by(a, b, 0.5)).max() <= 1

    before = mix.get_attribute("src")
    press(opened, handle, "ArrowRight", times=20)
    card.locator(".wb-numbers", has_text="0.70").wait_for()
    wait_for_change(mix, before)

    assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(0.7)
    wait_for("the mix at 0.70", lambda: abs(pixels(mix).astype(int) - mixed_by(a, b, 0.7)).max() <= 1)
    assert abs(first.astype(int) - mixed_by(a, b, 0.7)).max() > 10, "else the test could not fail"


def test_live_training_and_results_show_the_runs_and_their_figures(opened, finished: Path):
    names = [path.name for path in finished.iterdir()]
    show_tab(opened, "Live training")
    live = opened.locator(".wb-live")
    live.locator("td", has_text=names[0]).wait_for()
    assert all(live.locator("td", has_text=name).count() for name in names)
    curves = live.locator("img").first
    wait_for("curves", lambda: curves.evaluate("image => image.naturalWidth") > 900)
    assert pixels(curves).std() > 10, "an empty picture"

    show_tab(opened, "Results")
    results = opened.locator(".wb-results")
    figure = results.locator("img").first
    wait_for("a figure", lambda: figure.is_visible() and figure.evaluate("image => image.naturalWidth") > 300)
    before = figure.get_attribute("src")
    results.get_by_label("Show").select_option(label="analysis: compare")
    results.locator("table").wait_for()
    wait_for_change(figure, before)
    assert pixels(figure).std() > 5, "an empty picture"
    assert "CutMix" in results.inner_text() or "cutmix" in results.inner_text()


def test_a_picture_of_ones_own_with_alpha_is_taken(opened, tmp_path: Path):
    picture = Image.new("RGBA", (300, 200), (200, 30, 40, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 150, 200))
    picture.save(tmp_path / "half.png")
    shown = opened.locator("img.wb-source-a")

    choose(opened, tmp_path / "half.png")
    opened.locator(".wb-message", has_text="half.png: transparent parts made white").wait_for()

    wait_for("white on the left", lambda: at(shown, 20) == (255, 255, 255))
    wait_for("red on the right", lambda: at(shown, 200) == (200, 30, 40))


def test_a_large_picture_that_is_dropped_arrives_whole(opened, tmp_path: Path):
    """Fourteen million bytes that can't be compressed: more than a server takes in one message."""
    noise = np.random.default_rng(0).integers(0, 256, (2300, 2400, 3), np.uint8)
    noise[1000:1300] = (20, 120, 220)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 14e6
    shown = opened.locator("img.wb-source-a")

    drop(opened, tmp_path / "noise.png")

    wait_for("its blue", lambda: abs(np.subtract(at(shown, 112), (20, 120, 220))).max() <= 2)
    assert opened.locator(".wb-mistake").count() == 0


def test_a_file_that_is_no_picture_is_told_in_one_line(opened, tmp_path: Path):
    (tmp_path / "notes.png").write_text("dear diary")
    before = opened.locator("img.wb-source-a").get_attribute("src")

    drop(opened, tmp_path / "notes.png", place="img.wb-source-a")  # beside the place, on the explorer
    message = opened.locator(".wb-message.wb-mistake")
    message.get_by_text("notes.png").wait_for()

    assert "no picture" in message.inner_text() and "\n" not in message.inner_text().strip()
    assert opened.locator("img.wb-source-a").get_attribute("src") == before


@pytest.mark.parametrize(
    ("title", "root"), [("Mixed samples", "mixed"), ("Live training", "live"), ("Results", "results")]
)
def test_nothing_is_cut_in_a_window_of_1000_pixels(opened, title: str, root: str):
    show_tab(opened, title)
    opened.locator(f".wb-{root} img").first.wait_for()
    wait_for("its picture", lambda: opened.locator(f".wb-{root} img").first.evaluate("image => image.naturalWidth") > 1)
    show, table = opened.locator(".wb-results").get_by_label("Show"), opened.locator(".wb-results table")
    if root == "results":  # with a table that is wider than the page
        show.select_option(label="analysis: compare")
        table.wait_for()

    faults = cut(opened, f".wb-{root}")

    if root == "results":  # as it was found: the tests share the page
        show.select_option(index=0)
        table.wait_for(state="hidden")
    assert not faults


def test_without_the_token_there_is_no_page(server: Server):
    address = server.address(ADDRESS).partition("?")[0]
    for place in ("", "api/kernels"):
        with urllib.request.urlopen(address + place, timeout=LONG) as answer:
            assert "/login" in answer.url
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address + "api/kernels", data=b"{}", timeout=LONG)


def test_a_taken_port_is_told_in_one_line(server: Server, finished: Path):
    port = server.address(ADDRESS).split(":")[2].partition("/")[0]
    command = [sys.executable, "-m", "workbench", "explore", str(finished), "--port", port, "--no-browser"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"port {port} is taken" in line and "--port" in line and not ended.stdout


def test_a_page_loaded_again_or_closed_ends_its_kernel_and_asks_no_other_machine(
    chromium, finished: Path, tmp_path: Path
):
    with explore(finished, tmp_path) as server, window(chromium) as page:
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        page.goto(server.address(ADDRESS))
        page.locator(".wb-mixed img.wb-mix").first.wait_for()
        alone = len(descendants(server.process.pid))
        page.reload()
        page.locator(".wb-mixed img.wb-mix").first.wait_for()
        wait_for("the first kernel to end", lambda: len(descendants(server.process.pid)) <= alone)
        page.goto("about:blank")
        wait_for("the second to end", lambda: len(descendants(server.process.pid)) < alone)
        foreign = [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:", "about:"))]
        assert foreign == []


def test_ctrl_c_ends_the_server_and_its_kernels(chromium, finished: Path, tmp_path: Path):
    with explore(finished, tmp_path) as server, window(chromium) as page:
        page.goto(server.address(ADDRESS))
        page.locator(".wb-mixed img.wb-mix").first.wait_for()
        family = descendants(server.process.pid)
        assert len(family) >= 2, "the server and a kernel"

        os.kill(server.process.pid, signal.SIGINT)

        assert server.process.wait(LONG) == 0
        wait_for("its processes to end", lambda: not any(map(is_running, family)))
        assert "Traceback" not in server.said() and server.said().endswith("explorers ended\n")

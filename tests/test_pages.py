"""Notebooks as pages: outputs and widgets' pictures stay, progress bars go, nothing is fetched from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from workbench.config import RunFailed, UsageError
from workbench.pages import WIDGET, _alone, _framed, _without_widgets, execute, site, title

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIDGETS = f"""
import sys, warnings
from IPython.display import display
view = "application/vnd.jupyter.widget-" + "view+json"
display({{view: {{"model_id": "1"}}, "image/png": "{PIXEL}", "text/plain": "Explorer" + "()"}}, raw=True)
display({{view: {{"model_id": "2"}}, "text/plain": "Bar" + "()"}}, raw=True)
print(f"training: {{40}}%|####      | 4/10", end="\\r", file=sys.stderr)
print("</body> is a word here")
warnings.warn("mind " + "the gap")
"""


def write(path: Path, *cells: str, heading: str = "# A & B\n\nIs *this* `so`?\n\nMore.") -> Path:
    made = [v4.new_markdown_cell(heading)] if heading else []
    nbformat.write(v4.new_notebook(cells=[*made, *map(v4.new_code_cell, cells)]), path)
    return path


def outside(page: str) -> list[str]:
    """What a browser would fetch from elsewhere."""
    scripts = re.findall(r"<script\b[^>]*>.*?</script>", page, re.DOTALL)
    links = re.findall(r"<(?:link|script|img|iframe)\b[^>]*(?:src|href)=[\"']https?:[^>]*>", page)
    return links + [script for script in scripts if "http" in script or "import(" in script]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two notebooks."""
    folder = tmp_path_factory.mktemp("notebooks")
    write(folder / "00 first #1.ipynb", WIDGETS)
    write(folder / "01_<b>.ipynb", "import os\nprint(os.environ['WORKBENCH_OUT'], os.environ['GIVEN'])", heading="")
    return site(folder / "html", folder=folder, environment={"GIVEN": "a word"})


def test_the_first_page_leads_to_every_page(built: Path) -> None:
    index = built.read_text()
    assert 'href="00%20first%20%231.html"' in index and 'href="01_%3Cb%3E.html"' in index
    assert "<h2>A &amp; B</h2><p>Is this so?</p>" in index and "<h2>01_&lt;b&gt;</h2>" in index
    assert index.count("data:image/png;base64,") == 1 and outside(index) == []
    assert {p.name for p in built.parent.glob("*.html")} == {"index.html", "00 first #1.html", "01_<b>.html"}


def test_widgets_become_pictures_and_bars_vanish(built: Path) -> None:
    page = (built.parent / "00 first #1.html").read_text()
    assert PIXEL in page and "Bar()" not in page and "Explorer()" not in page
    assert "40%|" not in page and "mind the gap" in page and "widget-view" not in page
    assert outside(page) == []


def test_pages_lead_to_each_other_and_know_their_folder(built: Path) -> None:
    first, second = ((built.parent / name).read_text() for name in ("00 first #1.html", "01_<b>.html"))
    assert first.count('href="01_%3Cb%3E.html"') == 2 and second.count('href="00%20first%20%231.html"') == 2
    assert first.count('href="index.html"') == 2  # above and below
    assert f"{(built.parent / 'runs').resolve()} a word" in second


def test_a_failing_notebook_is_told_with_its_error(tmp_path: Path) -> None:
    notebook = write(tmp_path / "bad.ipynb", "raise ValueError('first\\nsecond')")
    before = notebook.read_bytes()
    with pytest.raises(RunFailed, match=r"bad.ipynb stopped with ValueError: first second"):
        execute(notebook, tmp_path / "bad.html", {})
    assert notebook.read_bytes() == before and not (tmp_path / "bad.html").exists()


def test_a_failing_notebook_stops_none_of_the_others(tmp_path: Path) -> None:
    write(tmp_path / "00.ipynb", "raise ValueError('a < b')", heading="# Bad")
    write(tmp_path / "01.ipynb", "print('here')", heading="# Good")
    with pytest.raises(RunFailed) as error:
        site(tmp_path / "html", folder=tmp_path)
    first, last = str(error.value).splitlines()
    assert first.endswith("00.ipynb stopped with ValueError: a < b") and last.endswith("index.html")
    index = (tmp_path / "html" / "index.html").read_text()
    assert index.count('<p class="failed">') == 1 and "ValueError: a &lt; b" in index.split("<h2>Good")[0]
    assert "ValueError: a &lt; b" in (tmp_path / "html" / "00.html").read_text()
    assert "here" in (tmp_path / "html" / "01.html").read_text()


@pytest.mark.parametrize("content", [None, b"", b"nothing", b"[]", b"\xff\xfe", b'{"cells": 3, "nbformat": 4}'])
def test_what_is_no_notebook_is_told_before_any_is_executed(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "odd.ipynb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"odd.ipynb (is no notebook|can't be read)"):
        site(tmp_path / "html", [write(tmp_path / "good.ipynb", "1"), path])
    assert not (tmp_path / "html").exists()


def test_a_folder_without_notebooks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no notebooks in .*; they come with a checkout"):
        site(tmp_path / "html", folder=tmp_path)


def output(kind: str, **data: Any) -> Any:
    return v4.new_output(kind, **data)


def test_outputs_are_sorted() -> None:
    bars = "a:  3%|# | 1/30\ra: 9%|## | 3/30\n\nwarning: so\n12it [00:01, 10.1it/s]\n"
    outputs = [
        output("stream", name="stderr", text=bars),
        output("stream", name="stderr", text="a: 100%|####| 3/3\n"),
        output("stream", name="stdout", text="50%|half|\n"),
        output("display_data", data={WIDGET: {}, "text/plain": "Box()"}),
        output("execute_result", data={WIDGET: {}, "image/png": PIXEL, "text/plain": "Explorer()"}),
        output("execute_result", data={"text/plain": "3"}),
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("", outputs=outputs)], metadata={"widgets": {"state": {}}})
    _without_widgets(notebook)
    kept = notebook.cells[0].outputs
    assert [one.get("text") for one in kept[:2]] == ["warning: so\n", "50%|half|\n"]
    assert [dict(one.data) for one in kept[2:]] == [{"image/png": PIXEL}, {"text/plain": "3"}]
    assert "widgets" not in notebook.metadata


def test_a_frame_goes_around_the_body_and_scripts_of_the_head_go() -> None:
    head = '<head><script src="https://x"></script><script>\na\n</script></head>'
    assert _alone(f'{head}<body class="c"><script>kept</script></body>') == (
        '<head></head><body class="c"><script>kept</script></body>'
    )
    assert _framed("<body>a</body>b</body></html>", "1", "2") == "<body>1a</body>b2</body></html>"


def test_titles(tmp_path: Path) -> None:
    assert title(write(tmp_path / "a.ipynb", heading="## Why <b>?")) == "Why &lt;b&gt;?"
    assert title(write(tmp_path / "b.ipynb", "# code", heading="")) == "b"
    assert title(write(tmp_path / "empty.ipynb", heading="")) == "empty"

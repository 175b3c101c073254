"""Notebooks as pages: executed in a kernel of their own, stored as HTML with pictures in the place of widgets, and
all of them together as a site to browse."""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench.config import RunFailed, UsageError
from workbench.runs.folder import make_folder

INLINE = "module://matplotlib_inline.backend_inline"  # whatever backend the caller's environment asks for
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"\d+%\|.*\||\d+\S* \[\d+:\d\d, .*\]")
"""A progress bar as text, of a known length or not."""
THUMBNAIL = 360
"""Pixels of the width of a picture on the site's first page."""


def execute(notebook: Path, page: Path, environment: Mapping[str, str], around: tuple[str, str] = ("", "")) -> Path:
    """Run a notebook in a kernel of its own and store it, with its outputs, as HTML; the notebook is not changed.

    Where a widget was shown, the page shows its picture. environment: variables for the kernel. around: HTML before and
    after the notebook. UsageError for what is no notebook; RunFailed, with the error's text, where a cell fails.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from nbconvert import HTMLExporter

    cells = _read(notebook)
    client = NotebookClient(
        cells,
        timeout=1200,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of traffic that never leaves the machine
    )
    try:
        client.execute(env={**os.environ, "MPLBACKEND": INLINE, **environment})
    except CellExecutionError as error:
        raise RunFailed(f"{notebook} stopped with {error.ename}: {' '.join(error.evalue.split())}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise RunFailed(f"{notebook} stopped: {' '.join(str(error).split())}") from error
    _without_widgets(cells)
    text, _ = HTMLExporter(embed_images=True).from_notebook_node(cells)
    make_folder(page.parent)
    page.write_text(_framed(_alone(text), *around), encoding="utf-8")
    return page


def _read(notebook: Path) -> Any:
    import nbformat

    try:
        return nbformat.read(notebook, as_version=4)
    except OSError as error:
        raise UsageError(f"{notebook} can't be read: {error.strerror or error}") from None
    except (ValueError, TypeError, LookupError, AttributeError, nbformat.ValidationError) as error:  # any other JSON
        raise UsageError(f"{notebook} is no notebook: {' '.join(str(error).split())[:200]}") from None


def _alone(text: str) -> str:
    """A page without the scripts of its head, which would be fetched from other machines, for formulas and diagrams."""
    head, body, rest = text.partition("<body")
    return re.sub(r"<script\b.*?</script>", "", head, flags=re.DOTALL) + body + rest


def _without_widgets(notebook: Any) -> None:
    """Leave of every widget its static twin, and of progress bars nothing: a page has no kernel that moves them."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_static, cell.outputs) if output is not None]


def _static(output: Any) -> Any:
    """An output as a page can show it; None where nothing is left."""
    if output.output_type == "stream" and output.name == "stderr":
        lines = [line for line in re.split(r"[\r\n]+", output.text) if line.strip() and not BAR.search(line)]
        output.text = "".join(line + "\n" for line in lines)
        return output if lines else None
    data = output.get("data", {})
    if data.pop(WIDGET, None) is None:
        return output
    if "image/png" not in data:
        return None
    data.pop("text/plain", None)
    return output


def _framed(text: str, before: str, after: str) -> str:
    head, body, rest = re.sub(r"(<body[^>]*>)", lambda found: found[1] + before, text, count=1).rpartition("</body>")
    return head + after + body + rest


def site(
    out: Path, notebooks: Sequence[Path] = (), environment: Mapping[str, str] | None = None, folder: Path = NOTEBOOKS
) -> Path:
    """Execute all notebooks of a folder (or those given) and store them as pages that lead to each other, with a first
    page of titles, questions and pictures. Gives the path of that page.

    A notebook that fails stops none of the others: its page says why, the first page marks it, and RunFailed, with a
    line a failure, comes when all is written. UsageError where there are no notebooks: they come with a checkout, not
    with the package.
    """
    from tqdm.auto import tqdm

    chosen = list(notebooks) or sorted(folder.glob("*.ipynb"))
    if not chosen:
        raise UsageError(f"no notebooks in {folder}; they come with a checkout of the repository")
    for notebook in chosen:
        _read(notebook)  # a mistake is told before minutes are spent
    given = {"WORKBENCH_OUT": str((out / "runs").resolve()), **(environment or {})}
    entries, failures = [], []
    for i, notebook in enumerate(tqdm(chosen, desc="notebooks", unit="page")):
        bar = _navigation(chosen[i - 1] if i else None, chosen[i + 1] if i + 1 < len(chosen) else None)
        page, failure = out / f"{notebook.stem}.html", ""
        try:
            execute(notebook, page, given, (bar, bar))
        except RunFailed as error:
            failure = str(error)
            failures.append(failure)
            make_folder(out)
            page.write_text(FAILED.format(bar=bar, title=title(notebook), why=html.escape(failure)), encoding="utf-8")
        entries.append(_entry(notebook, page, failure))
    index = out / "index.html"
    index.write_text(INDEX.format(entries="\n".join(entries)), encoding="utf-8")
    if failures:
        raise RunFailed("\n".join([*failures, f"written all the same: {index}"]))
    return index


def _navigation(before: Path | None, after: Path | None) -> str:
    links = [
        f'<a href="{_address(before)}">← {title(before)}</a>' if before else "<span></span>",
        '<a href="index.html">all notebooks</a>',
        f'<a href="{_address(after)}">{title(after)} →</a>' if after else "<span></span>",
    ]
    style = "display:flex; justify-content:space-between; padding:10px 24px; font-family:sans-serif; font-size:14px"
    return f'<nav style="{style}">{"".join(links)}</nav>'


def _address(notebook: Path) -> str:
    """Of a notebook's page, beside the others."""
    return quote(f"{notebook.stem}.html")


def title(notebook: Path) -> str:
    """The first heading of a notebook, or its file's name, as HTML."""
    return _first_text(notebook)[0]


def _first_text(notebook: Path) -> tuple[str, str]:
    """(heading, first paragraph) of the first cell, as HTML without markup."""
    cells = [cell for cell in _read(notebook).cells[:1] if cell.cell_type == "markdown"]
    heading, _, rest = str(cells[0].source if cells else "").partition("\n")
    paragraph = rest.strip().split("\n\n")[0].replace("\n", " ")
    plain = re.sub(r"[*`]", "", paragraph)
    return html.escape(heading.lstrip("# ").strip() or notebook.stem), html.escape(plain)


def _entry(notebook: Path, page: Path, failure: str) -> str:
    """A card of the first page: picture, title, question; where the notebook failed, why."""
    heading, question = _first_text(notebook)
    picture = _thumbnail(page.read_text(encoding="utf-8"))
    image = f'<img src="{picture}" alt="">' if picture else ""
    mark = f'<p class="failed">Failed: {html.escape(failure)}</p>' if failure else ""
    return f'<a class="card" href="{_address(page)}">{image}<h2>{heading}</h2>{mark}<p>{question}</p></a>'


def _thumbnail(text: str) -> str:
    """The largest picture of a page, made small, as a data URL; empty where there is none."""
    from PIL import Image

    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    if not found:
        return ""
    image = Image.open(io.BytesIO(base64.b64decode(max(found, key=len)))).convert("RGB")
    image.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    buffer = io.BytesIO()
    image.crop((0, 0, image.width, min(image.height, THUMBNAIL * 2 // 3))).save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Workbench</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font-family: sans-serif; color: #222; max-width: 1180px; margin: 40px auto; padding: 0 20px; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 24px; }}
.card {{ border: 1px solid #ddd; border-radius: 8px; padding: 14px 16px; text-decoration: none; color: inherit; }}
.card:hover {{ border-color: #888; }}
.card img {{ width: 100%; height: 190px; object-fit: contain; object-position: center; }}
h2 {{ font-size: 18px; margin: 10px 0 6px; }} p {{ margin: 0; font-size: 14px; line-height: 1.45; color: #555; }}
.card .failed {{ border-left: 4px solid #b00020; padding-left: 8px; margin-bottom: 6px; color: #b00020; }}
</style></head><body>
<h1>Workbench</h1>
<p>A research workbench for mixup augmentation: each notebook is a question, a few calls, and a reading.</p>
<br><main>
{entries}
</main></body></html>
"""
FAILED = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif">{bar}<h1>{title}</h1><p>This notebook failed: {why}</p></body></html>
"""

"""A notebook in JupyterLab's page: opened, its cells run, its kernel ended."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.browser.serving import LONG

if TYPE_CHECKING:
    from playwright.sync_api import Page

READY = """() => window.jupyterapp?.shell?.currentWidget?.context?.isReady
    && window.jupyterapp.shell.currentWidget.sessionContext?.isReady
    && document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')"""
RUN = """async text => {
    const panel = window.jupyterapp.shell.currentWidget;
    const i = panel.content.widgets.findIndex(
        cell => cell.model.type === 'code' && cell.model.sharedModel.getSource().includes(text));
    if (i < 0) return 'no cell holds it';
    panel.content.activeCellIndex = i;
    panel.content.deselectAll();
    await window.jupyterapp.commands.execute('notebook:run-cell');
    const wrong = panel.content.widgets[i].model.sharedModel.getOutputs().filter(o => o.output_type === 'error');
    return wrong.map(o => o.evalue).join();
}"""


def open_notebook(page: Page, address: str, name: str) -> None:
    """Open a notebook and wait until its kernel can take cells; "idle" alone is also said before there is one."""
    parts = urlsplit(address)
    page.goto(f"{parts.scheme}://{parts.netloc}/lab/tree/notebooks/{name}?{parts.query}&reset", timeout=LONG * 1000)
    page.wait_for_function(READY, timeout=LONG * 1000)


def run_cell(page: Page, text: str) -> None:
    """Run the first code cell that holds a text, and wait until it is done."""
    wrong = page.evaluate(RUN, text)
    assert not wrong, f"the cell with {text!r}: {wrong}"


def end_kernels(address: str) -> int:
    """Shut down every kernel of the server, as closing the notebook for good does; how many there were."""
    parts = urlsplit(address)
    head = {"Authorization": f"token {parse_qs(parts.query)['token'][0]}"}
    base = f"{parts.scheme}://{parts.netloc}/api/sessions"
    sessions = json.load(urllib.request.urlopen(urllib.request.Request(base, headers=head), timeout=LONG))
    for session in sessions:
        request = urllib.request.Request(f"{base}/{session['id']}", headers=head, method="DELETE")
        urllib.request.urlopen(request, timeout=LONG)
    return len(sessions)

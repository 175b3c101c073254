"""The page of the explorers, and what the server is given, without a browser or a server."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_runs import write_run
from workbench.config import RunConfig, RunFailed, UsageError
from workbench.explorers import app, base


@pytest.fixture
def root(tmp_path: Path) -> Path:
    config = RunConfig(method="mixup", data="digits", size=16, model="resnet8", epochs=2)
    run = write_run(tmp_path / "a 'quoted' folder", config, "one")
    (run.path / "weights.safetensors").write_text("weights")
    return run.path.parent


def of_page() -> list[str]:
    return sorted(kind.name for kind, key in base._OPEN if key == "page")


def test_explorers_are_made_when_their_tab_is_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    first = app._explorer
    monkeypatch.setattr(app, "_explorer", lambda index, root: made.append(index) or first(index, root))
    monkeypatch.setattr("workbench.runs.finished", lambda paths: ([], []))  # the weights of this run are none
    tabs = app.page(root)
    assert tabs.titles == app.TITLES and made == [0]
    tabs.selected_index = 1
    tabs.selected_index = 0
    tabs.selected_index = 1
    assert made == [0, 1] and [len(place.children) for place in tabs.children] == [1, 1, 0]
    tabs.selected_index = 2
    assert len(of_page()) == 3
    app.page(root / "nowhere")
    assert len(of_page()) == 1  # the older page's are closed, those of hidden tabs too
    base.close_all("page")
    assert of_page() == []


def test_the_notebook_shows_the_page_of_these_folders(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = json.loads(app._notebook(root, tmp_path))
    (cell,) = notebook["cells"]
    shown: list[Any] = []
    monkeypatch.setattr(app, "page", shown.append)
    here = Path.cwd()
    try:
        exec("".join(cell["source"]), {})
        assert shown == [str(root)] and Path.cwd() == tmp_path
    finally:
        os.chdir(here)


def test_what_voila_reads_keeps_it_on_this_machine_and_the_token_off_the_command_line(
    root: Path, tmp_path: Path
) -> None:
    place = tmp_path / "served"
    place.mkdir()
    app._prepare(place, root, {"port": 8899, "token": "secret", "open_browser": False})
    settings = json.loads((place / "voila.json").read_text())["Voila"]
    assert (settings["ip"], settings["port"], settings["token"]) == ("127.0.0.1", 8899, "secret")
    assert settings["port_retries"] == 0 and not settings["open_browser"]
    notebook = json.loads((place / app.NOTEBOOK).read_text())
    kernel = json.loads((place / "kernels" / notebook["metadata"]["kernelspec"]["name"] / "kernel.json").read_text())
    assert kernel["argv"][0] == sys.executable


def test_what_keeps_it_from_being_served_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(app, "_served", started.append)
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: object())
    for port in (0, 70000):
        with pytest.raises(UsageError, match=f"a port is a whole number from 1 to 65535, got {port}"):
            app.serve(root, port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunFailed, match=f"port {port} is taken by another program"):
            app.serve(root, port)
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs voila, which is not installed"):
        app.serve(root, 8899)
    assert started == []

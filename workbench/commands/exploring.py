"""The command that serves the explorers to a browser."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def explore(root: Positional[Path] = Path("out"), port: int = 8866, browser: bool = True) -> None:
    """Explore mixed samples, running trainings and results in a browser, without Jupyter; on this machine only.

    Args:
        root: Folder below which runs are looked for.
        port: Port of 127.0.0.1 to serve on.
        browser: Open a browser; --no-browser only prints the address.
    """
    from workbench.explorers.app import serve

    serve(root, port, browser)

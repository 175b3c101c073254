"""The main job, end to end: train five methods on real images, compare them, look at them, export the figures."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.analysis import analyse
from workbench.figures import lint
from workbench.figures.export import export
from workbench.figures.tables import text
from workbench.pages import NOTEBOOKS, execute
from workbench.runs import Run
from workbench.sweep import Experiment, sweep

NOTEBOOK = NOTEBOOKS / "00_tour.ipynb"

EPOCHS = 5
EXPERIMENT = Experiment(
    name="tour",
    question="Do five ways of mixing differ on a small net, and is the difference larger than that between seeds?",
    methods={
        # The slowest first, so that no core idles at the end. In a hundred steps a slower teacher would learn nothing.
        "automix": {"momentum": 0.9, "end_momentum": 0.99},
        "vanilla": {},
        "mixup": {},
        "cutmix": {},
        "manifoldmix": {},
    },
    seeds=(0, 1),
    settings={
        "data": "photos",
        "size": 32,
        "model": "resnet8",
        "epochs": EPOCHS,
        "batch_size": 100,
        "lr": 0.2,
        "channels_last": True,  # on a CPU a step then takes two thirds of the time
        "score": "last",  # the median of the last ten epochs would be that of the whole of so short a training
    },
)
"""`photos` rather than `digits`: on the digits every method ends within a point of 100 %, so that nothing is left to
compare; the crops of photographs leave room above and below."""


def train(out: str | Path = "out/tour", jobs: int = 2, epochs: int = EPOCHS) -> list[Run]:
    """The tour's runs; those that are there already are not trained again."""
    configs = [replace(config, epochs=epochs) for config in EXPERIMENT.configs()]
    return sweep(configs, Path(out) / "runs", jobs)


def tour(out: str | Path = "out/tour", jobs: int = 2, epochs: int = EPOCHS, notebook: bool = True) -> list[Path]:
    """Make everything, show the table, and say what was made and what to open next. Returns the files.

    `lint.Faulty` at the very end, with everything made, where a figure breaks the rules of a paper.
    """
    out, begun = Path(out), time.monotonic()
    count, minutes = len(EXPERIMENT.methods) * len(EXPERIMENT.seeds), 1 + 3 * epochs / EPOCHS
    print(f"{count} trainings of {epochs} epochs, {jobs} at a time: about {minutes:.0f} minutes on two CPU cores")
    runs = train(out, jobs, epochs)
    print("figures and tables ...")
    files, faults = _exported(runs, out)
    if notebook:
        files += _notebook(out, epochs)
    print(_last_screen(runs, files, out, time.monotonic() - begun))
    if faults:
        raise lint.Faulty(faults)
    return files


def _exported(runs: Sequence[Run], out: Path) -> tuple[list[Path], list[str]]:
    """The files of figures and tables, and what is wrong with the figures: no reason to stop before all is made."""
    try:
        return export(runs, out), []
    except lint.Faulty as faulty:
        return faulty.written, faulty.faults


def _notebook(out: Path, epochs: int) -> list[Path]:
    """The executed notebook as HTML, or nothing, with a word, where the checkout's notebooks are not at hand."""
    if not NOTEBOOK.exists():
        print(f"no notebook at {NOTEBOOK}: it comes with a checkout of the repository, not with the package")
        return []
    print("executing the notebook ...")
    settings = {"WORKBENCH_OUT": str(out.resolve()), "WORKBENCH_EPOCHS": str(epochs)}
    return [execute(NOTEBOOK, out / "00_tour.html", settings)]


def _last_screen(runs: Sequence[Run], files: Sequence[Path], out: Path, seconds: float) -> str:
    """The table, what was made and where, and what to open next."""
    width = min(shutil.get_terminal_size().columns, 100)
    listed = "\n".join(f"  {file}" for file in files)
    pages = [file for file in files if file.suffix == ".html"]
    return "\n".join(
        [
            "=" * width,
            text(analyse(runs, "compare")),
            "",
            f"{len(runs)} runs in {out / 'runs'}; made in {seconds:.0f} s:",
            listed,
            "",
            "Next:",
            *(f"  open {page} in a browser: the same story, with the pictures" for page in pages),
            "  make lab                              the notebook itself, to change and run again",
            "  workbench train --method cutmix --data cifar10 --model resnet18 --epochs 200",
            "  workbench mix --method cutmix --images A.jpg B.jpg --lam 0.6 --out mixed.png",
            "=" * width,
        ]
    )

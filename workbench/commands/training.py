"""Commands that train: the tour, one run, its resumption, a sweep, and the list of what there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from workbench.config import RunConfig, UsageError


def tour(out: Path = Path("out/tour"), jobs: int = 2, epochs: int = 5, notebook: bool = True) -> None:
    """Train five methods on real images, compare them, look at them, export the figures: the main job, in minutes.

    Args:
        out: Folder for runs, tables, figures and the executed notebook.
        jobs: Trainings at a time, each in a process of its own.
        epochs: Epochs of each training.
        notebook: Execute notebooks/00_tour.ipynb to HTML as well.
    """
    from workbench.tour import tour as make

    make(out, jobs, epochs, notebook)


def train_from(default: RunConfig) -> Callable[..., None]:
    """The command `train`, with the settings that hold where the command line says nothing."""

    def train(
        settings: Annotated[RunConfig, arg(name="")] = default,
        file: Annotated[Path | None, arg(aliases=["-f"])] = None,
        root: Path = Path("out/runs"),
        name: str | None = None,
        data_root: str | None = None,
        background: bool = False,
        processes: int = 1,
        progress: bool = True,
    ) -> None:
        """Train one method on one data set; everything about it is stored in a run folder.

        Args:
            settings: The settings of the run.
            file: YAML file with settings; what is given on the command line comes on top.
            root: Folder in which the run folder is made.
            name: Name of the run folder; made from the settings when left out.
            data_root: Where data sets lie; else $WORKBENCH_DATA, else ./data.
            background: Return at once and train in a process of its own.
            processes: Number of processes that train together, one a GPU.
            progress: Show a progress bar.
        """
        from workbench.runs import launch, run

        if background or processes != 1:
            handle = launch(settings, root, name, data_root=data_root, processes=processes)
            if background:
                print(f"training in the background: {handle.path}  (watch it with `workbench runs {root}`)")
                return
            handle.wait(progress=progress)
        else:
            handle = run(settings, root, name, data_root=data_root, progress=progress)
        _tell(handle)

    return train


def _tell(handle: Any) -> None:
    from workbench.analysis.groups import protocol_of
    from workbench.runs import is_main

    if not is_main():
        return
    result = handle.result
    protocol, images = protocol_of(handle.config), result["test_images"]
    print(f"{handle.path}: accuracy {result['accuracy']:.2%} ({protocol} on {images:,} images)")


def resume(
    run: Positional[tuple[Path, ...]], data_root: str | None = None, jobs: int = 1, progress: bool = True
) -> None:
    """Go on with interrupted runs from their last whole checkpoints; the numbers come out as if nothing had happened.

    Args:
        run: The run folder, or several.
        data_root: Where data sets lie; else $WORKBENCH_DATA, else ./data.
        jobs: Trainings at a time, of several runs.
        progress: Show a progress bar.
    """
    from workbench.runs import Run
    from workbench.runs import resume as go_on
    from workbench.sweep import train_all

    if not run:
        raise UsageError("resume needs a run folder; `workbench runs` lists what there is")
    if len(run) == 1 and jobs == 1:
        _tell(go_on(run[0], data_root=data_root, progress=progress))
        return
    try:
        train_all(run, jobs, progress, data_root)
    finally:  # those that went well, whatever became of the others
        for handle in map(Run, dict.fromkeys(run)):
            if handle.state == "done":
                _tell(handle)


def runs(root: Positional[Path] = Path("out")) -> None:
    """List the runs below a folder: state, epochs, accuracy.

    Args:
        root: Where to look, at any depth.
    """
    from workbench.runs import runs as find

    found = find(root)
    if not found:
        raise UsageError(f"no runs below {root}; `workbench train` or `workbench tour` makes some")
    for handle in found:
        try:
            done = f"{len(handle.history)}/{handle.config.epochs}"
            score = f"{handle.result['accuracy']:.2%} ({handle.config.score})" if handle.state == "done" else ""
            print(f"{handle.state:12s} {done:>9s} epochs {score:>23s}  {handle.path}")
        except UsageError as error:
            print(f"{'unreadable':12s} {handle.path}: {error}")


def sweep(experiment: Positional[Path], out: Path | None = None, jobs: int = 1) -> None:
    """Train all methods and seeds of an experiment (see experiments/), several at a time, and compare them.

    Args:
        experiment: YAML file: methods, seeds, settings.
        out: Folder for the runs; out/<name of the experiment> when left out.
        jobs: Trainings at a time.
    """
    from workbench.analysis import analyse
    from workbench.figures.tables import text
    from workbench.sweep import load_experiment
    from workbench.sweep import sweep as train

    plan = load_experiment(experiment)
    handles = train(plan.configs(), out or Path("out") / plan.name, jobs)
    print(text(analyse(handles, "compare")))


def site(out: Path = Path("out/html"), only: tuple[str, ...] = ()) -> None:
    """Execute the notebooks into a site to browse: pages with all outputs, and a first page that leads to them.

    Args:
        out: Folder for the site, and for the short trainings of the notebooks.
        only: Names of notebooks, such as 03_calibration; all when left out.
    """
    from workbench.config import choose
    from workbench.pages import NOTEBOOKS
    from workbench.pages import site as make

    known = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    print(make(out, [choose(known, name, "notebook") for name in only]))

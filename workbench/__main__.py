"""The command line: every command is a few calls into the package.

Imports stay inside the commands, so that `--help` and mistakes answer without waiting for torch.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec
from tyro.extras import subcommand_cli_from_dict

from workbench.config import RunConfig, RunFailed, UsageError, load_config, parse_yaml

ABOUT = "A research workbench for mixup augmentation. Begin with `workbench tour`."

registry = ConstructorRegistry()
Runs = Annotated[tuple[Path, ...], arg(metavar="RUN")]


@registry.primitive_rule
def _settings(info: Any) -> PrimitiveConstructorSpec | None:
    """Mappings are given as KEY=VALUE words, values as YAML: `--params alpha=0.5 mode=batch`."""
    if getattr(info.type, "__origin__", None) is not Mapping:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[KEY=VALUE ...]",
        instance_from_str=_mapping,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda mapping: [f"{key}={value}" for key, value in mapping.items()],
    )


def _mapping(words: Sequence[str]) -> dict[str, Any]:
    wrong = next((word for word in words if "=" not in word), None)
    if wrong is not None:
        raise UsageError(f"expected KEY=VALUE, got {wrong!r}")
    return {key: parse_yaml(value, key) for key, value in (word.split("=", 1) for word in words)}


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
    from workbench.runs import is_main

    if not is_main():
        return
    result = handle.result
    protocols = {"median_last10": "median of the last 10 epochs", "best": "best epoch", "last": "last epoch"}
    protocol, images = protocols[result["score"]], result["test_images"]
    print(f"{handle.path}: accuracy {result['accuracy']:.2%} ({protocol} on {images:,} images)")


def resume(run: Positional[Path], data_root: str | None = None, progress: bool = True) -> None:
    """Go on with an interrupted run from its last whole checkpoint; the numbers come out as if nothing had happened.

    Args:
        run: The run folder.
        data_root: Where data sets lie; else $WORKBENCH_DATA, else ./data.
        progress: Show a progress bar.
    """
    from workbench.runs import resume as go_on

    _tell(go_on(run, data_root=data_root, progress=progress))


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
            accuracy = f"{handle.result['accuracy']:.2%}" if handle.state == "done" else ""
            print(f"{handle.state:12s} {done:>9s} epochs {accuracy:>8s}  {handle.path}")
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
    from workbench.sweep import sweep as train_all

    plan = load_experiment(experiment)
    handles = train_all(plan.configs(), out or Path("out") / plan.name, jobs)
    print(text(analyse(handles, "compare")))


def analyse(
    analysis: Positional[str | None] = None,
    runs: Positional[Runs] = (),
    out: Path | None = None,
    options: Mapping[str, Any] = {},
) -> None:
    """Run an analysis over finished runs: prints its table, and with --out writes CSV and figure.

    Args:
        analysis: Name of the analysis; all are listed when left out.
        runs: Run folders, or folders of runs.
        out: Folder for table and figure.
        options: Options of the analysis, such as `images=500 seed=1`; a wrong name tells the right ones.
    """
    from workbench.figures.export import listing, report

    print(listing() if analysis is None else report(analysis, _find(runs), out, options))


def figures(
    runs: Positional[Runs],
    out: Path = Path("out/figures"),
    only: tuple[str, ...] = (),
    venue: str = "cvpr",
    columns: Literal[1, 2] = 2,
) -> None:
    """Render figures and tables for a paper from finished runs, as PDF, PNG, CSV and LaTeX.

    Args:
        runs: Run folders, or folders of runs.
        out: Where to write them.
        only: Names of figures; all of them when left out.
        venue: Whose column width and font sizes, e.g. cvpr, neurips, icml.
        columns: Width in columns.
    """
    from workbench.figures.export import export

    for path in export(_find(runs), out, only=only, venue=venue, columns=columns):
        print(path)


def _find(paths: Sequence[Path]) -> list[Any]:
    """The finished runs in the given folders."""
    from workbench.runs import runs as find

    finished = []
    for run in [run for path in paths for run in find(path)]:
        try:
            state = "done" if run.state == "done" and run.config else run.state
        except UsageError as error:
            state = str(error)
        if state == "done":
            finished.append(run)
        else:
            print(f"left out {run.path}: {state}", file=sys.stderr)
    if not finished:
        places = ", ".join(map(str, paths)) or "nowhere"
        raise UsageError(f"no finished run in {places}; `workbench runs` lists what there is")
    return finished


def mix(
    method: str = "cutmix",
    images: tuple[Path, ...] = (),
    lam: float = 0.5,
    out: Path = Path("mixed.png"),
    size: int = 224,
    seed: int = 0,
    params: Mapping[str, Any] = {},
    run: Path | None = None,
) -> None:
    """Mix your own pictures: A and B in, the mix and its label weights out.

    Args:
        method: Key of the method.
        images: Two picture files, A and B.
        lam: Wished weight of the first picture, 0 to 1.
        out: Picture to write; a sheet with sources, mask and mix comes beside it.
        size: Side in pixels to which the pictures are brought (shorter side, then centre crop).
        seed: Seed of what else is drawn, such as the place of a box.
        params: Parameters of the method.
        run: A finished run, for methods that look into a net or have learned.
    """
    from workbench.figures.mix import mix_files

    for line in mix_files(method, images, lam, out, size=size, seed=seed, params=params, run=run):
        print(line)


def data(
    name: Positional[str | None] = None, download: bool = False, root: str | None = None, out: Path | None = None
) -> None:
    """List the data sets, describe one, fetch one, or look at one.

    Args:
        name: Name of a data set, folder:PATH or npz:PATH; all are listed when left out.
        download: Fetch it from its official place.
        root: Where data sets lie or go; else $WORKBENCH_DATA, else ./data.
        out: Write a contact sheet of some of its images to this picture.
    """
    from workbench.data import report

    if download:
        report.fetch(name, root)
    print(report.table() if name is None else report.describe(name, root))
    if out is not None and name is not None:
        from workbench.figures.contact import contact_sheet

        print(contact_sheet(name, root, out))


def methods(name: Positional[str | None] = None) -> None:
    """List the mixup methods, or describe one with its parameters and their bounds.

    Args:
        name: Key of a method.
    """
    from workbench.methods import METHODS
    from workbench.methods.cards import card

    for key in [name] if name else METHODS:
        print(card(key, full=name is not None))


def gallery(
    out: Path = Path("out/gallery"),
    lam: float = 0.5,
    only: tuple[str, ...] = (),
    runs: tuple[Path, ...] = (),
    epochs: int = 5,
    jobs: int = 2,
) -> None:
    """See all methods on the same four photographs: mixes, masks and label weights on one page.

    Args:
        out: Folder for the page (PDF and PNG) and for the short trainings that some methods need.
        lam: Wished weight of each photograph itself, 0 to 1.
        only: Keys of methods; all when left out.
        runs: Your own finished runs, or folders of runs: their nets and what their methods learned are shown.
        epochs: Epochs of each short training.
        jobs: Trainings at a time, each in a process of its own.
    """
    from workbench.figures import save
    from workbench.figures.gallery import gallery as page
    from workbench.gallery import mixes

    for path in save(page(mixes(out, lam, only, runs, epochs, jobs), lam), out / "gallery"):
        print(path)


def audit(
    method: Positional[str],
    params: Mapping[str, Any] = {},
    run: Path | None = None,
    out: Path | None = None,
) -> None:
    """Hold a mixing method to some twenty-five invariants: labels, pixels, draws, odd batches, types.

    Args:
        method: Key of a method (your own callable: `from workbench.analysis.audit import audit`).
        params: Parameters of the method.
        run: A finished run whose net is looked into, for methods that need one.
        out: Picture of the first failure to write, as PNG and PDF.
    """
    from workbench.figures.export import audited

    found, text = audited(method, params, run, out)
    print(text)
    if not found.passed:
        sys.exit(1)


def bench(
    what: Positional[Literal["methods", "steps", "analyses", "train"]],
    model: str = "resnet18",
    batch_size: int | None = None,
    rounds: int = 5,
    out: Path = Path("out/bench"),
    size: int | None = None,
    only: tuple[str, ...] = (),
) -> None:
    """Measure the cost of mixing, of whole steps, or of the loop, as ratios within one run.

    Args:
        what: methods: each mix in multiples of a copy of the batch, public implementations beside it (two minutes).
            steps: each method's training step and peak memory in multiples of plain training (minutes).
            analyses: over the plain work that they can't do without, or a library that does the same.
            train: the training loop over a bare PyTorch loop.
        model: The net that is trained, for steps and train.
        batch_size: Images of a batch; 128, or for methods 64 at 224 pixels, when left out.
        rounds: Interleaved repetitions; medians and ranges are reported.
        out: Folder for CSV and figure.
        size: Side of the images; for methods 32 and 224, for steps 32 when left out.
        only: Keys of methods; all when left out.
    """
    from workbench import bench as suite

    if what == "train":
        print(suite.bench_train(model, batch_size or 128, rounds, out))
    elif what == "analyses":
        print(suite.bench_analyses(rounds, out))
    elif what == "steps":
        print(suite.bench_steps(model, batch_size or 128, rounds, out, size=size or 32, only=only))
    else:
        print(suite.bench_methods((size,) if size else (32, 224), batch_size, rounds, out, only=only))


def _default_settings(words: Sequence[str]) -> RunConfig:
    """The settings that a `--file` among the words holds, or the plain defaults."""
    files = [value for option, value in itertools.pairwise(words) if option in ("--file", "-f")]
    files += [word.partition("=")[2] for word in words if word.startswith(("--file=", "-f="))]
    if len(files) > 1:
        raise UsageError(f"one settings file can be given, got {', '.join(files)}")
    return load_config(files[0]) if files else RunConfig()


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script. A mistake: one line, exit code 2. A run that failed: one line, exit code 1."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        train = train_from(_default_settings(words) if words[:1] == ["train"] else RunConfig())
        commands: list[Callable[..., Any]] = [tour, train, resume, runs, sweep, analyse]
        commands += [figures, mix, gallery, data, methods, audit, bench]
        with registry:
            subcommand_cli_from_dict(
                {command.__name__: command for command in commands}, prog="workbench", description=ABOUT, args=words
            )
    except KeyboardInterrupt:
        print("interrupted; `workbench resume RUN` goes on from the last finished epoch", file=sys.stderr)
        sys.exit(130)
    except (UsageError, RunFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()

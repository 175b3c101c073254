"""The command that shows published numbers, alone and beside own runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from workbench.commands.words import Runs, finished_runs
from workbench.config import UsageError


def published(
    dataset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    metric: str | None = None,
    epochs: int | None = None,
    task: str | None = None,
    setting: str | None = None,
    runs: Runs = (),
    out: Path | None = None,
    figures: Path | None = None,
    venue: str = "cvpr",
    columns: Literal[1, 2] = 1,
) -> None:
    """Show published numbers with their protocol, and your own runs beside them. Alone, it lists what there is.

    Args:
        dataset: Data set, e.g. cifar100 or "Tiny-ImageNet"; that of the runs when left out.
        backbone: Net, e.g. resnet18 or deit_small_patch16_224; that of the runs when left out.
        method: One method, e.g. cutmix or CutMix; all when left out.
        metric: top1, top5, train_hours, memory_gb, params_m, flops_g or throughput_img_s; all when left out.
        epochs: One length of training; all when left out.
        task: classification, which is meant when left out, or selfsup for nets that were pre-trained without labels.
        setting: One family of recipes, e.g. pytorch or rsb-a3; all when left out.
        runs: Run folders, or folders of runs, to stand beside the published numbers.
        out: Folder to which tables are written, as text, CSV and LaTeX.
        figures: Folder to which two figures are written that need no run: methods over data sets, accuracy and cost.
        venue: Whose column width and font sizes the figures have, e.g. cvpr, neurips, icml.
        columns: Width of the figures in columns.
    """
    finished = finished_runs(runs) if runs else []
    dataset, backbone = _of_runs(finished, dataset, backbone)
    if figures is not None:
        _write_figures(figures, venue, columns)
    if dataset is None or backbone is None:
        narrowing = {"backbone": backbone, "--method": method, "--metric": metric, "--epochs": epochs,
                     "--task": task, "--setting": setting, "--out": out}  # fmt: skip
        _check_alone(narrowing)
        if figures is None or dataset is not None:
            print(listing(dataset))
        return
    _show(dict(dataset=dataset, backbone=backbone, method=method, metric=metric, epochs=epochs,
               task=task or "classification", setting=setting), finished, out)  # fmt: skip


def listing(dataset: str | None = None) -> str:
    """What tables there are; without a data set, those that compare methods, and how many more there are."""
    from workbench.published import available

    found = available(dataset)
    shown = found if dataset is not None else found[found["benchmark"]]
    text = shown.drop(columns="benchmark").to_string(index=False)
    more = [
        f"and {len(part)} more nets on {key} ({part['rows'].sum()} rows): workbench published --dataset {key}"
        for key, part in found.drop(index=shown.index).groupby("dataset")
    ]
    key, net, task = ("cifar100", "resnet18", "") if dataset is None else shown.iloc[0][["dataset", "backbone", "task"]]
    further = f" --task {task}" if task not in ("", "classification") else ""
    return "\n".join([text, *more, f"A table: workbench published --dataset {key} --backbone {net}{further}"])


def _check_alone(given: dict[str, Any]) -> None:
    """Refuse what only narrows a table where no table is asked for."""
    named = [name for name, value in given.items() if value is not None]
    if named:
        wanted = "--dataset" if "backbone" in named else "--dataset and --backbone"
        raise UsageError(f"{', '.join(n.replace('backbone', '--backbone') for n in named)} needs {wanted} as well")


def _of_runs(finished: Sequence[Any], dataset: str | None, backbone: str | None) -> tuple[str | None, str | None]:
    """Data set and net that are asked for, those of the runs where they are left out."""
    for key, given in (("data", dataset), ("model", backbone)):
        found = list(dict.fromkeys(getattr(run.config, key) for run in finished))
        if given is None and len(found) > 1:
            option = {"data": "--dataset", "model": "--backbone"}[key]
            raise UsageError(f"the runs are of {', '.join(found)}: choose runs of one, or give {option}")
    first = finished[0].config if finished else None
    return dataset or (first and first.data), backbone or (first and first.model)


def _show(wanted: dict[str, Any], finished: Sequence[Any], out: Path | None) -> None:
    """Print the tables, and own runs beside them; write them where a folder is given."""
    from workbench.figures.published_table import save_published
    from workbench.published import names, results
    from workbench.published.beside import beside
    from workbench.published.table import beside_text, tables, text

    frame = results(**wanted)
    found, own = tables(frame), beside(finished, frame) if finished else []
    title = names.words(frame["dataset"].iloc[0], frame["backbone"].iloc[0])
    print("\n\n".join([*map(text, found), *([beside_text(own, title)] if own else [])]), end="")
    if out is not None:
        slug = "-".join(("published", frame["dataset"].iloc[0], frame["backbone"].iloc[0])).replace("_", "-")
        for path in save_published(found, own, title, out, slug):
            print(path)


def _write_figures(out: Path, venue: str, columns: int) -> None:
    from workbench.figures import save
    from workbench.figures.published_cost import published_cost
    from workbench.figures.radar import radar

    for draw in (radar, published_cost):
        for path in save(draw(venue=venue, columns=columns), out / draw.__name__):
            print(path)

"""The method card: what a method computes, what it makes of pictures, and what it came to, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.analysis import StoredRun, analyse, stored
from workbench.analysis.calibration import pool
from workbench.analysis.compare import Comparison, count_of_seeds
from workbench.analysis.groups import Group, group, same_setting
from workbench.config import UsageError, choose
from workbench.figures import fidelity
from workbench.figures.corruptions import panels_of
from workbench.figures.found import around, counted
from workbench.figures.samples import framed, percent, pictures_of
from workbench.figures.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, PANEL = 0.72, 1.25
"""Inches of the largest pictures and panels."""
ROOMY = 4.5
"""Inches from which samples and numbers stand side by side."""
EXTRAS = ("fidelity", "robustness", "cost", "hessian")
"""Analyses whose results the card shows where they are stored."""


def card(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1, method: str = "") -> Figure:
    """Citation, formula, mixed samples with masks, accuracy with its interval, calibration, cost, robustness and label
    fidelity of one method over its seeds. What no run has stored is left out (`lacking` names it).

    `method`: its key or its label in tables, where the runs are of several. The other runs serve as what its cost and
    accuracy are held against (vanilla).
    """
    own = _chosen(group(runs), method)
    base = [run for run in runs if run.config.method == "vanilla" and same_setting(run.config, own.config)]
    others = [run for run in base if run.path not in {one.path for one in own.items}]
    found: Comparison = analyse([*own.items, *others], "compare")
    extras = {name: _extra(own, name) for name in EXTRAS}
    calibrations = analyse(list(own.items), "calibration")
    with style.paper(venue, columns) as width:
        sheet = Sheet(width)
        _head(sheet, own)
        _formula(sheet, own.method)
        samples = [lambda: _samples(sheet, own)] if _mixes(own) else []
        makers = [*samples, lambda: _numbers(sheet, own, found, calibrations, extras)]
        if width >= ROOMY and samples:
            sheet.beside(makers, (sheet.left, 0.54 * width))
            sheet.rule()
        else:
            for make in makers:
                make()
                sheet.rule()
        _panels(sheet, own, calibrations, extras)
        return sheet.finish()


def labels(runs: Sequence[StoredRun]) -> list[str]:
    """The methods that there can be a card of, as tables name them."""
    return [g.label for g in group(runs)]


def lacking(runs: Sequence[StoredRun]) -> list[str]:
    """The analyses of which none of these runs has a result, so that their cards can't show it."""
    groups = group(runs)
    return [name for name in EXTRAS if not any(_extra(g, name) for g in groups)]


def _chosen(groups: Sequence[Group[StoredRun]], method: str) -> Group[StoredRun]:
    fitting = [g for g in groups if method in ("", g.label, g.method)]
    if not fitting:
        choose({name: 0 for g in groups for name in (g.method, g.label)}, method, "method of these runs")
    if len(fitting) > 1:
        names = ", ".join(repr(g.label) + (f" ({g.setting})" if method else "") for g in fitting)
        raise UsageError(f"a card is of one method, got {names}; say method=..., or choose runs of one")
    return fitting[0]


def _extra(g: Group[StoredRun], name: str) -> list[Any]:
    """The stored results of the seeds that have one."""
    if name == "cost":
        return [found for run in g.items if (found := counted(run)) is not None]
    found = []
    for run in g.items:
        try:
            found += stored([run], name)
        except UsageError:  # not made yet: the card says so at its end
            continue
    return found


# -------------------------------------------------------------------------------------------------------- the blocks


def _head(sheet: Sheet, own: Group) -> None:
    from workbench.methods import METHODS

    points = style.points()
    sheet.text(own.label, 1.6 * points, weight="bold", color=style.dark(style.look(own.method).color))
    cls = METHODS.get(own.method)
    if cls is not None:
        paper = cls.paper
        link = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
        sheet.text(f"{paper.authors}. {paper.title}. {paper.venue}{link}.", 0.85 * points)
    kind = f"{cls.family} method; " if cls is not None else ""
    sheet.text(f"{kind}{own.setting}; {count_of_seeds(np.array([len(own.items)]))}", 0.85 * points, color=style.MUTED)
    sheet.rule()


def _formula(sheet: Sheet, method: str) -> None:
    from workbench.methods.formulas import formula

    lines = formula(method)
    for line in lines:
        sheet.formula(line, style.points())
    if lines:
        sheet.rule()


def _samples(sheet: Sheet, own: Group[StoredRun]) -> None:
    """Both pictures, the mix with the label's weights in percent, and the mask where it varies."""
    arrays = own.items[0].samples()
    if arrays is None:
        raise UsageError(f"run {own.items[0].name} has no samples.npz; finish it with `workbench resume`")
    captions = [percent(weight) for weight in arrays["weight"]]
    other = arrays["sources"][arrays["partner"]]
    rows = [
        style.GridRow("A", pictures_of(arrays["sources"])),
        style.GridRow("B", pictures_of(other)),
        style.GridRow("mix", pictures_of(arrays["mixed"]), captions),
    ]
    if arrays.get("mask") is not None and np.ptp(arrays["mask"], axis=(1, 2, 3)).max() >= 0.01:
        rows.append(style.GridRow("mask of A", [framed(mask[0]) for mask in arrays["mask"]]))
    room = 0.55
    side = min(SIDE, (sheet.room - room) / len(captions) - 0.03)
    sheet.pictures(rows, side, room)
    note = str(arrays.get("note", ""))
    about = "Below a mix: label weights of A and B in percent." + (f" {note[0].upper()}{note[1:]}." if note else "")
    sheet.text(about, style.SMALLEST, color=style.MUTED)


def _mixes(own: Group[StoredRun]) -> bool:
    arrays = own.items[0].samples()
    return arrays is None or not np.array_equal(arrays["mixed"], arrays["sources"])


def _numbers(
    sheet: Sheet, own: Group, found: Comparison, calibrations: Sequence[Any], extras: dict[str, list[Any]]
) -> None:
    row = found.label.index(own.label) if own.label in found.label else found.method.index(own.method)
    lines = {"Accuracy": _accuracy(found, row), "Calibration": _calibration(calibrations), **_cost(found, row, extras)}
    if extras["robustness"]:
        first = extras["robustness"][0]
        kept = [100 * (1 - r.mean_corruption_error) for r in extras["robustness"]]
        severities = ", ".join(map(str, first.severities.tolist()))
        lines["Robustness"] = f"{around(kept)} % under {len(first.kinds)} corruptions, severities {severities}"
        lines["Robustness"] += f"; clean {around([100 * r.clean for r in extras['robustness']])} %"
        lines["Robustness"] += f" ({_final(first.images)})"
    if extras["fidelity"] and len(extras["fidelity"][0].weight):
        bias = around([100 * r.bias for r in extras["fidelity"]])
        lost = [100 * r.lost for r in extras["fidelity"] if np.isfinite(r.lost)]
        gone = f"; object lost in {around(lost)} %" if lost else ""
        lines["Label fidelity"] = f"bias {bias} points{gone}"
    if extras["hessian"] and len(extras["hessian"][0].eigenvalues):
        top = around([r.eigenvalues[0] for r in extras["hessian"]], ".3g")
        lines["Curvature"] = f"largest eigenvalue {top}; trace {around([r.trace for r in extras['hessian']], '.3g')}"
    for name, text in lines.items():
        sheet.named(name, text, 0.85 * style.points(), 0.8)


def _accuracy(found: Comparison, row: int) -> str:
    mean, spread = 100 * found.accuracy[row], 100 * found.accuracy_sd[row]
    text = f"{mean:.1f}" + ("" if np.isnan(spread) else f" \N{PLUS-MINUS SIGN} {spread:.1f}") + " %"
    if not np.isnan(found.accuracy_low[row]):
        low, high = np.clip((100 * found.accuracy_low[row], 100 * found.accuracy_high[row]), 0, 100)
        text += f", 95 % interval {low:z.1f} to {high:z.1f}"
    if not np.isnan(found.difference[row]):
        text += f"; {100 * found.difference[row]:+z.1f} points to vanilla".replace("-", "\N{MINUS SIGN}")
    return f"{text} ({found.protocol[row]}; {_images(found.test_images[row])})"


def _calibration(results: Sequence[Any]) -> str:
    ece, gap = ([100 * getattr(r, key) for r in results] for key in ("ece", "signed_gap"))
    after = [100 * r.ece_after for r in results if np.isfinite(r.ece_after)]
    scaled = f"; ECE after temperature scaling {around(after)} %" if after else ""
    words = {pool(list(results)).leaning} - {"neither"}
    leaning = f", {words.pop()}" if words else ""
    return (
        f"ECE {around(ece)} %, confidence minus accuracy {around(gap)} %{leaning}{scaled} "
        f"({_final(results[0].count.sum())})"
    )


def _final(images: int) -> str:
    """What a number was measured on that is not the accuracy of the protocol."""
    return f"final weights; {_images(images)}"


def _images(number: int) -> str:
    return f"{int(number):,} test image" + ("s" if number != 1 else "")


def _cost(found: Comparison, row: int, extras: dict[str, list[Any]]) -> dict[str, str]:
    """Multiples of vanilla: as trained, and as counted where that is stored."""
    times = "\N{MULTIPLICATION SIGN}"
    known = {"step time": found.seconds[row], "peak memory": found.memory[row]}
    parts = [f"{name} {value:.2f}{times}" for name, value in known.items() if not np.isnan(value)]
    for result in extras["cost"][:1]:
        multiples = result.multiples()
        parts += [f"{name} {multiples[name]:.2f}{times}" for name in ("FLOPs", "parameters") if name in multiples]
    return {"Cost": ", ".join(parts) + " (vanilla: 1)"} if parts else {}


def _panels(sheet: Sheet, own: Group, calibrations: Sequence[Any], extras: dict[str, list[Any]]) -> None:
    draws: list[Callable[[Axes], None]] = [lambda ax: _reliability(ax, own, calibrations)]
    if extras["robustness"]:
        draws.append(lambda ax: _corruptions(ax, own, extras["robustness"]))
    if extras["fidelity"] and len(extras["fidelity"][0].weight):
        draws.append(lambda ax: _fidelity(ax, own, extras["fidelity"]))
    told = "Reliability: a hatched gap is over-confidence, a tinted one under-confidence."
    sheet.text(told, style.SMALLEST, color=style.MUTED)
    across = max(1, int(sheet.room / 1.55))
    for i in range(0, len(draws), across):
        part = draws[i : i + across]
        side = min(PANEL, sheet.room / len(part) - 0.6)
        sheet.panels(part, side, (0.5, 0.2, 0.34 * side + 0.4))


def _reliability(ax: Axes, own: Group, results: Sequence[Any]) -> None:
    from workbench.analysis.diagram import counts_strip, name_sides, reliability_diagram

    pooled = pool(list(results))
    reliability_diagram(ax, pooled, style.look(own.method).color)
    strip = counts_strip(ax, pooled)
    strip.set_xlabel("confidence (%)")
    name_sides(ax, strip)
    ax.set_title("reliability", fontsize="small")


def _corruptions(ax: Axes, own: Group, results: Sequence[Any]) -> None:
    """Accuracy by family of corruptions; the upright line is the clean images."""
    panels = panels_of(results[0].kinds)
    for place, rows in enumerate(panels.values()):
        values = 100 * np.array([r.accuracy[list(rows)].mean() for r in results])
        ax.barh(place, values.mean(), height=0.7, color=style.look(own.method).color)
        ax.plot((values.min(), values.max()), (place, place), color=style.INK, linewidth=0.8, solid_capstyle="butt")
    ax.axvline(100 * float(np.mean([r.clean for r in results])), color=style.INK, linewidth=1)
    ax.set(ylim=(len(panels) - 0.5, -0.5), xlim=(0, 100), xticks=(0, 50, 100), xlabel="accuracy (%), line: clean")
    ax.set_yticks(range(len(panels)), [name.replace(" ", "\n") for name in panels])
    ax.tick_params(axis="y", length=0)
    ax.set_title("under corruption", fontsize="small")


def _fidelity(ax: Axes, own: Group, results: Sequence[Any]) -> None:
    fidelity.histogram(ax, own, results)
    ax.set(xlabel="weight in the label", ylabel="visible share")
    ax.set_title("label fidelity", fontsize="small")

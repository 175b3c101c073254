"""What the results explorer shows, without widgets: views by name, diagrams, tables for a page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.colors import to_hex

from tests.fake_runs import write_runs
from workbench.explorers import views
from workbench.runs import Run
from workbench.style import look


def test_views_are_named_by_figures_and_analyses() -> None:
    assert all(views.about(view) for view in views.views().values())
    assert {"figure:curves", "analysis:hessian"} <= set(views.views().values())


def test_a_diagram_of_one_run_has_its_methods_name_and_colour(tmp_path: Path) -> None:
    made = [Run(run.path) for run in write_runs(tmp_path, ("mixup", "cutmix"), (0,))]
    figure = views.draw(made, "analysis:calibration", part=1, columns=1)
    (ax,) = [ax for ax in figure.axes if ax.get_title()]
    assert ax.get_title() == "CutMix" and to_hex(ax.patches[0].get_facecolor()) == look("cutmix").color


def test_tables_are_in_percent_with_headings_in_words() -> None:
    rows = {"name": ["v"], "accuracy_sd": [0.0123], "ece": [0.25], "seconds": [1.5], "seeds": [3], "worst": ["fog"]}
    page = views.html(pd.DataFrame(rows))
    assert all(f"<th>{head}</th>" in page for head in ("accuracy SD (%)", "ECE (%)", "step time (× plain)", "worst"))
    assert all(f"<td>{cell}</td>" in page for cell in ("1.23", "25", "1.5", "3", "fog"))


def test_texts_in_tables_are_escaped() -> None:
    page = views.html(pd.DataFrame({"name": ["<script>x</script>"] * 50, "value": [0.123456789] * 50}))
    assert "<script>" not in page and "&lt;script&gt;" in page and "0.1235" in page
    assert page.count("<tr>") <= views.LONGEST + 1 and "10 further rows" in page


def test_a_number_that_some_rows_lack_is_not_the_same_in_all() -> None:
    rows = {"name": ["v", "c", "p"], "low": [float("nan"), -0.1, float("nan")], "seeds": [2, 2, 2]}
    page = views.html(pd.DataFrame(rows))
    assert "<td>-10</td>" in page and "The same in all rows: seeds 2." in page

"""The tables say what the comparison says, and stand out only where the evidence does."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fake_results import store_all
from tests.fake_runs import write_runs
from workbench.analysis import analyse, stored
from workbench.analysis.compare import Comparison, Score, compare
from workbench.config import RunConfig, UsageError
from workbench.figures import measures, tabular
from workbench.figures.tables import csv, escape, latex, save_tables, text
from workbench.figures.tabular import Column, Table


def scores(method: str, accuracies: list[float], **settings) -> list[Score]:
    seconds = 0.1 if method == "vanilla" else 0.15
    return [
        Score(RunConfig(method=method, seed=seed, **settings), accuracy, 0.05 + 0.01 * seed, seconds, 100.0, 400)
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.fixture
def clear() -> Comparison:
    """CutMix is clear of the others with three seeds."""
    return compare(
        [
            *scores("vanilla", [0.70, 0.71, 0.72]),
            *scores("mixup", [0.72, 0.73, 0.74]),
            *scores("cutmix", [0.90, 0.91, 0.92]),
        ]
    )


@pytest.fixture
def unclear() -> Comparison:
    return compare([*scores("vanilla", [0.70, 0.72]), *scores("cutmix", [0.73, 0.77])])


def cells(table: str, name: str) -> list[str]:
    """Of a LaTeX row."""
    (line,) = [line for line in table.splitlines() if line.startswith(name)]
    return [cell.strip() for cell in line.removesuffix(r"\\").split("&")]


def test_latex_cells(clear: Comparison) -> None:
    table = latex(clear)
    assert cells(table, "CutMix") == [
        "CutMix", r"\bfseries 91.0", r"$\pm$1.0", "6.0", r"$\pm$1.0", "1.50", "1.00", "+20.0", "[+20.0, +20.0]",
    ]  # fmt: skip
    assert cells(table, "Vanilla")[-2:] == ["{--}", ""]
    assert table.count(r"\bfseries") == 1
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert table.count(rule) == 1


def test_latex_is_whole(clear: Comparison) -> None:
    """As many cells as columns in every row, columns of siunitx for numbers, braces and environments closed."""
    table = latex(clear)
    spec = re.search(r"\\begin\{tabular\}\{(.*)\}\n", table)
    assert spec is not None
    kinds = re.findall(r"S\[table-format=[^\]]*\]|@\{\\,\}>\{\\scriptsize\}l|l", spec[1])
    assert "".join(kinds) == spec[1]
    assert kinds[:3] == ["l", "S[table-format=2.1]", r"@{\,}>{\scriptsize}l"]
    assert "S[table-format=+2.1,retain-explicit-plus]" in kinds
    for line in table.splitlines():
        if line.endswith(r"\\"):
            spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", line))
            assert len(re.split(r"(?<!\\)&", line)) + spanned == len(kinds)
    assert table.count("{") == table.count("}")
    environments = re.findall(r"\\begin\{([\w*]+)\}", table)
    assert environments == ["table*", "adjustbox", "tabular"]
    assert re.findall(r"\\end\{([\w*]+)\}", table)[::-1] == environments
    assert table.startswith("% needs \\usepackage{adjustbox,booktabs,siunitx}\n")
    assert "detect-weight=true" in table


def test_latex_fits_the_page(tmp_path: Path) -> None:
    """In a document of two columns nothing prints over the neighbouring one."""
    packages = [f"{name}.sty" for name in ("adjustbox", "booktabs", "siunitx")]
    if not (shutil.which("pdflatex") and shutil.which("kpsewhich")):
        pytest.skip("there is no LaTeX (pdflatex, kpsewhich) on this machine")
    if subprocess.run(["kpsewhich", *packages], capture_output=True, text=True).stdout.count("\n") < len(packages):
        pytest.skip(f"LaTeX lacks one of {', '.join(packages)}")
    runs = store_all(write_runs(tmp_path / "runs", ("vanilla", "manifoldmix"), (0, 1)))
    made = [latex(analyse(runs, "compare")), *(p.read_text() for p in measures.save_tables(runs, tmp_path / "out"))]
    narrow = Table("", [Column("Method", ["a" * 60], words=True), Column("Top-1 (%)", ["81.25"])], [], "Narrow.")
    tables = "\n".join([*(text for text in made if text.startswith("% needs")), tabular.latex(narrow)])
    document = r"\documentclass[twocolumn]{article}\usepackage{adjustbox,booktabs,siunitx}\setlength{\hfuzz}{0pt}"
    document += rf"\setlength{{\textwidth}}{{6.875in}}\begin{{document}}{tables}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert tables.count(r"\begin{table*}") == 3 and tables.count(r"\begin{table}") == 1
    assert "Overfull" not in done.stdout


def test_measures_are_tables_too(tmp_path: Path) -> None:
    runs = store_all(write_runs(tmp_path, ("vanilla", "mixup", "cutmix"), (0, 1)))
    paths = measures.save_tables(runs, tmp_path / "out")
    kinds = ("txt", "csv", "tex")
    assert [p.name for p in paths] == [f"{name}.{kind}" for name in ("calibration", "robustness") for kind in kinds]
    results = [r for r in stored(runs, "robustness") if "mixup" in r.name]
    row = cells(paths[5].read_text(), "Mixup")
    assert row[1].endswith(f"{100 * np.mean([r.clean for r in results]):.1f}")
    assert row[3].endswith(f"{100 * np.mean([r.accuracy.mean() for r in results]):.1f}")
    eces = [r.ece for r in analyse([r for r in runs if r.config.method == "mixup"], "calibration")]
    assert cells(paths[2].read_text(), "Mixup")[1].endswith(f"{100 * np.mean(eces):.1f}")
    assert "severities 1, 3, 5" in paths[5].read_text()


def test_caption_states_the_protocol(clear: Comparison) -> None:
    caption = next(line for line in latex(clear).splitlines() if line.startswith(r"\caption"))
    for piece in (
        "photos, resnet20, 20 epochs",
        "median of the last ten epochs",
        "3 seeds (0, 1, 2)",
        "400 test images",
    ):
        assert piece in caption
    assert r"95 \% interval over seeds clear of all others" in caption
    assert "95 %" not in caption


def test_nothing_stands_out_without_evidence(unclear: Comparison) -> None:
    assert r"\bfseries" not in latex(unclear)
    assert "*" not in text(unclear)
    assert "No method's 95 % interval over seeds is clear of all others." in text(unclear)
    single = compare([*scores("vanilla", [0.1]), *scores("cutmix", [0.9])])
    assert r"\bfseries" not in latex(single)
    assert "no spread is known" in text(single)
    assert "\N{PLUS-MINUS SIGN}" not in text(single)


def test_text_is_aligned(clear: Comparison) -> None:
    lines = text(clear).splitlines()
    assert lines[0] == "photos, resnet20, 20 epochs (median of the last ten epochs)"
    assert len({len(line) for line in lines[2:7]}) == 1
    assert "91.0* \N{PLUS-MINUS SIGN}1.0" in lines[6]
    assert "+20.0 [+20.0, +20.0]" in lines[6]
    assert "Seeds" not in lines[2]  # said once, below
    assert "3 seeds (0, 1, 2)" in text(clear)


def test_settings_have_tables_of_their_own() -> None:
    found = compare([*scores("vanilla", [0.7, 0.71]), *scores("mixup", [0.8, 0.81], data="digits", epochs=3)])
    assert re.findall(r"\\begin\{(table\*?)\}", latex(found)) == ["table*", "table"]  # the second has three columns
    assert r"\label{tab:methods-2}" in latex(found)
    alone = text(found).split("\n\n\n")[1]
    assert alone.startswith("digits, resnet20, 3 epochs (median of all 3 epochs)")
    assert "Step time" not in alone
    assert "No vanilla run of this setting" in alone
    assert "No cost is given" not in alone


def test_vanilla_on_other_hardware_is_told_and_not_denied() -> None:
    """With no seed in common, there is neither a cost nor a difference, but there is a vanilla run."""
    here, there = scores("vanilla", [0.7]), scores("mixup", [0.8, 0.81])[1:]
    found = compare([*(replace(s, hardware="A100") for s in here), *(replace(s, hardware="H200") for s in there)])
    for shown in (text(found), latex(found)):
        assert "No vanilla run" not in shown
        assert "No cost is given: Mixup was measured on H200, vanilla on A100." in shown


def test_settings_that_were_tried_are_told(clear: Comparison) -> None:
    assert "settings tried" not in text(clear)
    beside = tuple(RunConfig(method="mixup", params={"alpha": a}) for a in (0.2, 0.5, 2.0))
    found = compare([replace(s, beside=beside) for s in (*scores("vanilla", [0.7]), *scores("mixup", [0.8]))])
    (caption,) = [line for line in latex(found).splitlines() if line.startswith(r"\caption")]
    for shown in (text(found), caption):
        assert "Mixup: 4 settings tried, 1 shown." in shown
    assert text(found).endswith("more than luck: `workbench analyse ranking`.\n")
    assert "ranking" not in caption  # a command is nothing for a paper


def test_seeds_are_a_column_where_they_differ() -> None:
    found = compare([*scores("vanilla", [0.7, 0.71, 0.72]), *scores("mixup", [0.8])])
    assert cells(latex(found), "Mixup")[-1] == "1"
    assert "1 to 3 seeds (0, 1, 2)" in text(found)


def test_csv_holds_all_digits(clear: Comparison) -> None:
    read = pd.read_csv(io.StringIO(csv(clear)))
    pd.testing.assert_frame_equal(read, clear.to_frame(), check_dtype=False)
    assert read["accuracy"][2] == np.mean([0.90, 0.91, 0.92])


def test_escape() -> None:
    assert escape("a_b & 5 % #1 {x} $ ~ ^ \\") == (
        r"a\_b \& 5 \% \#1 \{x\} \$ \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    mine = compare([*scores("vanilla", [0.7, 0.71]), *scores("my_mix", [0.7, 0.71], params={"p_max": 0.5})])
    assert cells(latex(mine), r"my\_mix")[0] == r"my\_mix"


def test_save(clear: Comparison, tmp_path: Path) -> None:
    paths = save_tables(clear, tmp_path / "deep" / "table")
    assert [p.name for p in paths] == ["table.txt", "table.csv", "table.tex"]
    assert paths[2].read_text() == latex(clear)
    with pytest.raises(UsageError, match="unknown table format 'html'"):
        save_tables(clear, tmp_path / "x", ("txt", "html"))
    assert not (tmp_path / "x.txt").exists()

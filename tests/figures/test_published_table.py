"""Published numbers as LaTeX: numbers in S columns, marks beside them, protocol in the caption, everything escaped."""

from __future__ import annotations

import re
from pathlib import Path

from tests.published.test_table import one, row
from workbench.figures.published_table import beside_latex, latex, save_published


def cells(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(name)]
    return [cell.strip() for cell in line.removesuffix(r"\\").split("&")]


def caption(table: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(r"\caption"))


def test_cells_and_columns() -> None:
    table = latex(one("cifar100", "deit_s"))
    assert cells(table, "SAMix") == ["SAMix", "2", r"\bfseries 77.94", r"\bfseries 82.49", "58", "21.3"]
    assert cells(table, "Method")[1:3] == [r"$\alpha$", r"{top-1 (\%), 200 epochs}"]
    assert r"\begin{tabular}{llS[table-format=2.2]S[table-format=2.2]S[table-format=2]S[table-format=2.1]}" in table
    assert r"\label{tab:published-cifar100-deit-s-deit}" in table
    assert r"\begin{table*}" in table and r"\begin{adjustbox}{max width=\linewidth}" in table
    assert {line.count("&") for line in table.splitlines() if line.endswith(r"\\")} == {5}


def test_marks_stand_beside_and_are_explained() -> None:
    table = latex(one("cifar100", "swin_t", epochs=200))
    assert cells(table, "PuzzleMix")[2:4] == ["80.33", "a"]
    assert r"a: sources disagree: 80.44 on docs/en/model\_zoos/Mixup\_sup.md, line 297." in caption(table)
    alignmix = cells(latex(one("cifar100", "resnet18")), "AlignMix")
    assert alignmix[2:] == ["{--}", "", "{--}", "", "{--}", "", "81.71", r"\textdagger{}"]


def test_caption_states_the_protocol() -> None:
    told = caption(latex(one("cifar100", "deit_s")))
    for piece in (
        "CIFAR-100, DeiT-S", "best of the last ten epochs", "adamw, lr 0.001", "10000 test images",
        "Bold: leads the second of its column by more than 1.96 standard errors", "Westlake-AI/openmixup",
    ):  # fmt: skip
        assert piece in told


def test_nothing_is_left_that_latex_takes_for_a_command() -> None:
    for words in (latex(one("imagenet1k", "resnet18", setting="pytorch")), beside_latex([row()], "CIFAR-100", "x")):
        body = "\n".join(line for line in words.splitlines() if not line.startswith("%"))
        assert re.findall(r"(?<!\\)[%#_]", body) == []
        assert all(ord(letter) < 128 for letter in words)


def test_own_runs_beside() -> None:
    table = beside_latex([row(), row(label="my_mix", seeds=1, own_sd=float("nan"))], "CIFAR-100", "x")
    assert cells(table, "CutMix") == ["CutMix", "79.10", r"$\pm$0.20", "3", "79.45", "200", "-0.35", "-0.6", ""]
    assert cells(table, r"my\_mix")[1:3] == ["79.10", ""]
    assert cells(table, r"my\_mix")[-1] == r"\textdaggerdbl{}"
    assert r"\textdaggerdbl{}: one seed, so z leaves the spread over seeds out" in caption(table)
    assert "Own runs differ in: batch size 128, published 100; alpha 1, published 0.2." in caption(table)
    assert r"\label{tab:beside-x}" in table


def test_files(tmp_path: Path) -> None:
    first = save_published([one("cifar100", "resnet18")], [], "CIFAR-100", tmp_path / "a")
    second = save_published([one("cifar100", "resnet18")], [], "CIFAR-100", tmp_path / "b")
    assert [p.name for p in first] == ["published.txt", "published.csv", "published.tex"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]

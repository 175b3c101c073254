"""Published numbers arranged as the benchmark's own tables: a row a method, a column a length of training or a metric.

What a reader needs to judge a number stands below: the protocol, what a mark means, where it comes from. Published
numbers come without a spread, so the best of a column stands out only where it leads the second by more than the test
set's sampling error allows: 1.96 standard errors of the difference of two shares, each of its test images.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench import style
from workbench.published import REPOSITORY, names, recipes, results
from workbench.published.beside import Beside

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 1.96
"""Standard errors of a difference from which a lead is taken for one: 95 % of a normal distribution lie inside."""
WIDTH = 118
"""Characters of a line below a table."""
AUGMENTS: Mapping[str, str] = {
    "RandomCrop": "random crop",
    "RandomResizedCrop": "random resized crop",
    "RandomHorizontalFlip": "random horizontal flip",
    "RandomErasing": "random erasing",
    "Resize": "resize",
    "TimmAugment": "timm's augmentation",
}
"""Steps of a recipe in words; others go by their name."""
OFFICIAL = "\N{DAGGER}"
BOUND = "\N{DOUBLE DAGGER}"
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """A metric, at one length of training where it has one."""

    metric: str
    epochs: int | None

    def head(self, alone: bool) -> str:
        """Heading; `alone`: the metric is said elsewhere."""
        length = "" if self.epochs is None else f"{self.epochs} epochs"
        metric = "" if alone and length else names.METRICS[self.metric]
        return ", ".join(part for part in (metric, length) if part)


@dataclass(frozen=True)
class Cell:
    """A number as printed, its marks (letters of the notes below), and whether it stands out."""

    text: str
    marks: str = ""
    best: bool = False


@dataclass
class Row:
    """A method, or a form of it."""

    label: str
    alpha: str
    cells: dict[Column, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Published numbers of one data set, net and setting."""

    title: str
    slug: str
    """For names of files and labels."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What the marks mean, a sentence each, each beginning with its mark."""
    protocol: tuple[str, ...]
    """In sentences."""
    numbers: pd.DataFrame
    """The rows of the results that the table shows."""

    @property
    def heads(self) -> list[str]:
        """Headings of the columns of numbers."""
        alone = len({column.metric for column in self.columns}) == 1
        return [column.head(alone) for column in self.columns]


def tables(frame: pd.DataFrame) -> list[Table]:
    """A table for each data set, net, task and setting among these published results, in their order."""
    keys = ["dataset", "backbone", "task", "setting"]
    return [_table(part) for _, part in frame.groupby(keys, sort=False)]


def text(table: Table) -> str:
    """For a terminal."""
    alpha = any(row.alpha for row in table.rows)
    lines = [["Method", *(["alpha"] if alpha else []), *table.heads]]
    for row in table.rows:
        cells = [row.cells.get(column, Cell(NOTHING)) for column in table.columns]
        lines.append([row.label, *([row.alpha] if alpha else []), *(_plain(c, table, i) for i, c in enumerate(cells))])
    below = [line for note in (*table.notes, *table.protocol) for line in wrapped(note)]
    return "\n".join([table.title, "", *ruled(lines), "", *below]) + "\n"


def beside_text(rows: Sequence[Beside], title: str) -> str:
    """Own runs beside published numbers, for a terminal; what differs stands below, a line a method."""
    lines = [["Own runs", "own (%) (seeds)", "published (%)", "epochs", "difference", "z"]]
    lines += [
        [row.label, spread(row), number(row.published), f"{row.published_epochs:.0f}" if
         math.isfinite(row.published_epochs) else NOTHING, number(row.difference, "+"), z_text(row)]
        for row in rows
    ]  # fmt: skip
    below = [*beside_notes(rows), *differing(rows)]
    return "\n".join([title, "", *ruled(lines), "", *(line for note in below for line in wrapped(note))]) + "\n"


def beside_notes(rows: Sequence[Beside]) -> list[str]:
    """What the numbers of own runs beside published ones mean."""
    lines = [
        "Own: mean \N{PLUS-MINUS SIGN} sample standard deviation over seeds. Epochs: of the published training.",
        "Difference: own minus published, in points. z: difference over its standard error, from the spread of own "
        "seeds (the published training taken to spread alike) and the sampling error of both test sets.",
    ]
    if any(row.seeds == 1 and not math.isnan(row.z) for row in rows):
        lines.append(f"{BOUND}: one seed, so z leaves the spread over seeds out, and |z| is an upper bound.")
    if any(math.isnan(row.published) for row in rows):
        lines.append(f"{NOTHING}: no published number of this method in the table.")
    return lines


def differing(rows: Sequence[Beside]) -> list[str]:
    """Where the own protocol differs from the published one: first what all have in common, then method by method."""
    known = [row for row in rows if not math.isnan(row.published)]
    common = [field for field in known[0].differs if all(field in row.differs for row in known)] if known else []
    told = [f"Own runs differ in: {'; '.join(common)}."] if common else []
    for row in known:
        own = [field for field in row.differs if field not in common]
        told += [f"{row.label} differs in: {'; '.join(own)}."] if own else []
    return told or ["No field of the published protocol is known to differ."] * bool(known)


def spread(row: Beside) -> str:
    """`79.41 ±0.21 (3)`"""
    sd = "" if math.isnan(row.own_sd) else f" \N{PLUS-MINUS SIGN}{row.own_sd:.2f}"
    return f"{row.own:.2f}{sd} ({row.seeds})"


def number(value: float, sign: str = "") -> str:
    """Two digits and a true minus sign, or a dash."""
    return NOTHING if math.isnan(value) else f"{value:{sign}.2f}".replace("-", "\N{MINUS SIGN}")


def z_text(row: Beside) -> str:
    """One digit; marked where one seed makes it a bound."""
    if math.isnan(row.z):
        return NOTHING
    return f"{row.z:+.1f}".replace("-", "\N{MINUS SIGN}") + (BOUND if row.seeds == 1 else "")


def wrapped(note: str) -> list[str]:
    """A sentence in lines of at most WIDTH characters, the further ones indented."""
    return textwrap.wrap(note, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def ruled(lines: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, the first to the left, with a rule under the first line."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    made = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return [made[0], "-" * len(made[0]), *made[1:]]


# --------------------------------------------------------------------------------------------------------- arranging


def _table(frame: pd.DataFrame) -> Table:
    first = frame.iloc[0]
    metrics = list(names.METRICS)
    columns = sorted(
        {Column(row["metric"], _length(row)) for _, row in frame.iterrows()},
        key=lambda c: (metrics.index(c.metric), c.epochs or 0),
    )
    marks: dict[str, str] = {}
    best = {column: leader(frame[_of(frame, column)]) for column in columns}
    digits = {c: max(_digits(v) for v in frame[_of(frame, c)]["value"]) for c in columns}
    rows: dict[tuple, Row] = {}
    labels = _labels(frame)
    for index in sorted(frame.index, key=lambda i: (style.rank(frame["method"][i]), frame["variant"][i])):
        row = frame.loc[index]
        column, copy = Column(row["metric"], _length(row)), 0
        while column in rows.get((labels[index], copy), Row("", "")).cells:
            copy += 1  # the source has a row twice, with other numbers: both stay
        place = rows.setdefault((labels[index], copy), Row(labels[index] + (f" #{copy + 1}" if copy else ""), ""))
        place.alpha = place.alpha or row["alpha"]
        cell = Cell(f"{row['value']:.{digits[column]}f}", _marks(row, marks), index == best[column])
        place.cells[column] = cell
    metric = names.METRICS[columns[0].metric] + ", " if len({c.metric for c in columns}) == 1 else ""
    told = sorted(marks.items(), key=lambda item: (item[1] != OFFICIAL, len(item[1]), item[1]))
    return Table(
        title=f"{names.words(first['dataset'], first['backbone'])}: {metric}setting {first['setting']}",
        slug="-".join(str(first[key]) for key in ("dataset", "backbone", "setting")).replace("_", "-"),
        columns=tuple(columns),
        rows=tuple(rows.values()),
        notes=tuple(f"{mark}: {note}" for note, mark in told),
        protocol=tuple(_protocol(frame, any(b is not None for b in best.values()))),
        numbers=frame,
    )


def _length(row: pd.Series) -> int | None:
    return None if row.isna()["epochs"] else int(row["epochs"])


def _of(frame: pd.DataFrame, column: Column) -> pd.Series:
    epochs = frame["epochs"].isna() if column.epochs is None else frame["epochs"].eq(column.epochs).fillna(False)
    return (frame["metric"] == column.metric) & epochs


def _digits(value: float) -> int:
    """Decimals that the number is printed with."""
    return len(f"{value:.10g}".partition(".")[2])


def _labels(frame: pd.DataFrame) -> dict[int, str]:
    """By index: the method's display name, with whatever else tells rows of the table apart."""
    varying = [c for c in ("input_size", "eval_size", "batch_size") if frame[c].nunique() > 1]
    units = {"input_size": "trained at {} px", "eval_size": "tested at {} px", "batch_size": "batch {}"}
    labels = {}
    for index in frame.index:
        row = frame.loc[index]
        known = row[varying].dropna()
        extra = [units[c].format(v) for c, v in known.items()]
        labels[int(index)] = names.method(row["method"], row["variant"]) + (f", {', '.join(extra)}" if extra else "")
    return labels


def leader(column: pd.DataFrame) -> int | None:
    """Index of the accuracy of a column that leads the second by more than LEVEL standard errors of their difference,
    taken as two shares of independent test images; None if there is none, or if it can't be told."""
    found = column.sort_values("value", ascending=False, kind="stable")
    if len(found) < 2 or found["metric"].iloc[0] not in ("top1", "top5"):
        return None
    images = names.DATASETS[found["dataset"].iloc[0]].images
    if images is None:
        return None
    p, q = found["value"].iloc[0], found["value"].iloc[1]
    error = math.sqrt((p * (100 - p) + q * (100 - q)) / images)
    return found.index[0] if p - q > LEVEL * error else None


def _marks(row: pd.Series, marks: dict[str, str]) -> str:
    """The marks of a number; new notes are given the next letter in `marks` (note -> mark)."""
    found = []
    if row["official"]:
        found.append(OFFICIAL)
        marks["taken from the method's own publication or code."] = OFFICIAL
    for note in [*_rivals(row), *([f"{row['notes']}."] if row["notes"] else [])]:
        letter = marks.setdefault(note, _letter(sum(mark != OFFICIAL for mark in marks.values())))
        found.append(letter)
    return ",".join(sorted(found, key=lambda mark: (mark != OFFICIAL, len(mark), mark)))


def _letter(i: int) -> str:
    return ("" if i < 26 else _letter(i // 26 - 1)) + "abcdefghijklmnopqrstuvwxyz"[i % 26]


def _rivals(row: pd.Series) -> list[str]:
    """What other sources say of a row that sources disagree about."""
    if not row["conflict"]:
        return []
    every = results(row["dataset"], row["backbone"], row["method"], row["metric"], preferred=False)
    keys = ["task", "setting", "variant", "input_size", "eval_size"]
    same = [all(_alike(other[k], row[k]) for k in [*keys, "epochs"]) for _, other in every.iterrows()]
    others = every[[s and not p for s, p in zip(same, every["preferred"], strict=True)]]
    said = [
        f"{other['value']:g} on {_page(other['source'])}, line {other['source_line']}" for _, other in others.iterrows()
    ]
    return [f"sources disagree: {'; '.join(said)}."] if said else []


def _alike(a: object, b: object) -> bool:
    import pandas as pd

    return bool((pd.isna(a) and pd.isna(b)) or (not pd.isna(a) and not pd.isna(b) and a == b))  # type: ignore[call-overload]


def _page(source: str) -> str:
    return source.partition(" #")[0]


# ----------------------------------------------------------------------------------------------------- the protocol


def _protocol(frame: pd.DataFrame, stands_out: bool) -> list[str]:
    """What the numbers mean, in sentences."""
    accuracies = frame[frame["metric"].isin(["top1", "top5"])]
    lines = [*_scores(accuracies), *_recipes(frame)]
    images = names.DATASETS[frame["dataset"].iloc[0]].images
    compared = images and accuracies.groupby(["metric", "epochs"], dropna=False).size().max() > 1
    if len(accuracies) and images:
        worst = min(accuracies["value"], key=lambda p: abs(p - 50))
        error = math.sqrt(worst * (100 - worst) / images)
        told = f"{images} test images alone leave a standard error of {error:.2g} points."
        lines.append(f"No spread over seeds was published; {told}")
    if compared:
        lead = f"its column by more than {LEVEL} standard errors of a difference of two such numbers."
        lines.append(f"*: leads the second of {lead}" if stands_out else f"No number leads the second of {lead}")
    pages = list(dict.fromkeys(map(_page, frame["source"])))
    return [*lines, f"Source: {', '.join(pages)} in the repository {REPOSITORY}."]


def _scores(accuracies: pd.DataFrame) -> list[str]:
    """Which epoch's accuracy counts, where it is known of any."""
    rules = accuracies["score_rule"].value_counts(sort=False)
    if not (rules.index != "").any():
        return []
    several = len(rules) > 1
    said = [
        names.SCORE_RULES[str(rule)] + (f" ({n} of {len(accuracies)})" if several else "") for rule, n in rules.items()
    ]
    return [f"Accuracy: {'; '.join(said)}."]


def _recipes(frame: pd.DataFrame) -> list[str]:
    """The recipes of the setting, one sentence for all lengths that share it."""
    first = frame.iloc[0]
    every = recipes()
    keys = ["dataset", "backbone", "setting"]
    own = every[every[keys].eq(first[keys]).all(axis=1)]
    alone = first["task"] == "selfsup"
    if not alone:
        own = own[own["epochs"].isin(frame["epochs"].dropna())]
    said: dict[str, list[str]] = {}
    for _, recipe in own.iterrows():
        said.setdefault(_recipe(recipe), []).append(str(recipe["epochs"]))
    start = ["Epochs are those of the pre-training."] if alone else []
    verb = "Then trained" if alone else "Trained"
    return [*start, *(f"{verb} for {', '.join(epochs)} epochs: {words}." for words, epochs in said.items())]


def _recipe(recipe: pd.Series) -> str:
    parts = [
        f"{recipe['optimizer']}, lr {recipe['base_lr']:g}, weight decay {recipe['weight_decay']:g}",
        f"batch {recipe['batch_size_total']}",
        recipe["scheduler"] + ("" if recipe.isna()["min_lr"] else f" to {recipe['min_lr']:g}"),
        *([f"{recipe['warmup_epochs']:g} epochs of warm-up"] if recipe["warmup_epochs"] else []),
        *([] if recipe.isna()["label_smoothing"] else [f"label smoothing {recipe['label_smoothing']:g}"]),
        f"{recipe['train_size']} px",
        _augment(recipe["train_augment"]),
        *([] if recipe["init"] == "scratch" else [f"from {recipe['init']}"]),
    ]
    return ", ".join(part for part in parts if part)


def _augment(steps: str) -> str:
    """`RandomCrop(size=32,padding=4)` in words: `random crop (size 32, padding 4)`."""
    for name, words in AUGMENTS.items():
        steps = re.sub(rf"\b{name}\b", words, steps)
    return re.sub(r"\(([^)]*)\)", lambda found: f" ({re.sub('[=_]', ' ', found[1]).replace(',', ', ')})", steps)


def _plain(cell: Cell, table: Table, i: int) -> str:
    """A cell of a terminal's table: marks in a field of their own, so that digits stand under digits."""
    others = [row.cells[table.columns[i]] for row in table.rows if table.columns[i] in row.cells]
    width = max(len(_tail(other)) for other in others)
    return cell.text + _tail(cell).ljust(width)


def _tail(cell: Cell) -> str:
    return ("*" if cell.best else "") + (f" {cell.marks}" if cell.marks else "")

"""What the command line says about data sets: all of them as a table, one of them in full."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.config import UsageError, choose
from workbench.data import DATASETS, load
from workbench.data.downloads import LAYOUTS, data_root, download, present


def frame(root: str | Path | None = None) -> pd.DataFrame:
    """The table of data sets, one row a set; `ready` says whether it can be loaded now or how to get it."""
    return pd.DataFrame([_row(name, root) for name in DATASETS]).convert_dtypes()


def table(root: str | Path | None = None) -> str:
    """`frame` as a text, without the columns that take much room."""
    columns = ["name", "classes", "train", "test", "size", "channels", "augment", "ready", "content"]
    return frame(root)[columns].to_string(index=False, na_rep="-")


def describe(name: str, root: str | Path | None = None) -> str:
    """What is known about one data set and, if it can be loaded, what its two splits hold."""
    key = name.partition(":")[0]
    entry, row = choose(DATASETS, key, "data set"), _row(key, root)
    facts = {fact: row[fact] for fact in ("content", "augment", "licence", "source")}
    if entry.takes_path and name == key:
        facts["use it"] = f"as {row['name']}"
    elif row["ready"] != "yes":
        facts["get it"] = f"{row['ready']} (looked in {data_root(root).absolute()})"
    else:
        facts |= _contents(name, root)
    return f"{name}\n" + "\n".join(_fact(label, text) for label, text in facts.items() if text)


def _contents(name: str, root: str | Path | None) -> dict[str, str]:
    """What the two splits of a set hold."""
    train, test = (load(name, split, root=root) for split in ("train", "test"))
    known = (train.known_objects, test.known_objects)
    return {
        "train": str(train).partition(": ")[2],
        "test": str(test).partition(": ")[2],
        "mean, std": ", ".join(f"{mean:.4f} ± {std:.4f}" for mean, std in zip(train.mean, train.std, strict=True)),
        "classes": ", ".join(train.classes),
        "masks": f"of {known[0]:,} train and {known[1]:,} test images" if any(known) else "",
        "notes": "; ".join(dict.fromkeys(train.notes + test.notes)),
    }


def fetch(name: str | None, root: str | Path | None = None) -> Path:
    """Download a set into the data folder; returns the folder."""
    if name is None or name.partition(":")[0] not in LAYOUTS:
        if name is not None:
            choose(DATASETS, name.partition(":")[0], "data set")
        what = "which data set?" if name is None else f"{name} needs no download;"
        raise UsageError(f"{what} can be downloaded: {', '.join(LAYOUTS)}")
    return download(name, root)


def _row(name: str, root: str | Path | None) -> dict[str, Any]:
    entry = DATASETS[name]
    ready = name not in LAYOUTS or present(name, root)
    return {
        "name": f"{name}:PATH" if entry.takes_path else name,
        "content": entry.title,
        "classes": entry.classes,
        "train": entry.train,
        "test": entry.test,
        "size": entry.size,
        "channels": entry.channels,
        "augment": entry.augment,
        "ready": "yes" if ready else f"workbench data --download {name}",
        "licence": entry.licence,
        "source": entry.source,
    }


def _fact(label: str, text: str) -> str:
    return textwrap.fill(text, 110, initial_indent=f"  {label:<10} ", subsequent_indent=" " * 13)

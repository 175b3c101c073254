"""Results kept in run folders: found again while their options and the files that they were made from are the same."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from workbench.analysis import base
from workbench.analysis.base import Result, StoredRun
from workbench.analysis.needs import NEEDS, nets, source
from workbench.analysis.pace import say
from workbench.analysis.table import ANALYSES, Analysis
from workbench.config import RunFailed, UsageError, choose, file_version

UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


def kept_result(runs: Sequence[StoredRun], name: str, entry: Analysis, options: Mapping[str, Any]) -> Result | None:
    """The stored result if there is one that was made from these options and files.

    A result over several runs lies in the folder of the first.
    """
    path = _place(runs, name, entry, options)
    found, masks = _read(entry.result, path), _masks(runs[0]) if entry.of_masks else None
    if found is None or (masks is not None and base.made_with(path).get("masks", "") != masks):
        return None
    return _named(found, entry, _label(runs))


def new_result(runs: Sequence[StoredRun], name: str, entry: Analysis, options: Mapping[str, Any]) -> Result:
    """A new result, stored if possible."""
    label, path = _label(runs), _place(runs, name, entry, options)
    given = nets(runs) if entry.joint else NEEDS[entry.needs].fetch(runs[0])
    with _kept_beside(path, options) as complete:
        found = entry.compute(*given, **complete, name=label)
    masks = _masks(runs[0]) if entry.of_masks else None
    about = {"options": _asked(options), "runs": [run.name for run in runs]}
    try:
        base.save(found, path, about | ({} if masks is None else {"masks": masks}))
    except (OSError, RunFailed) as error:  # a full disk, a folder that may only be read
        say(f"{name} of {label} is not kept for the next time: {error}")
    return _named(found, entry, label)


def _label(runs: Sequence[StoredRun]) -> str:
    return ", ".join(run.name for run in runs)


def _named(found: Result, entry: Analysis, label: str) -> Result:
    """Every result of one run has the name that the run has now."""
    return found if entry.joint else replace(cast(Any, found), name=label)


def stored(runs: Sequence[StoredRun], name: str) -> list[Result]:
    """What was found already, without computing anything: of every run its newest result of this analysis; of an
    analysis over several nets the one result that covers most of these runs.

    A result counts only while the files that it was made from are what they were. UsageError, with the command that
    makes them, where some are missing.
    """
    entry = choose(ANALYSES, name, "analysis")
    found = [_newest(run, runs, name, entry) for run in runs]
    if entry.joint:
        joint = [one for one in found if one is not None]
        if joint:
            return [max(joint, key=lambda one: one[:2])[2]]
    missing = [run for run, one in zip(runs, found, strict=True) if one is None]
    if missing:
        places = shlex.join(str(run.path) for run in missing)  # all of them: it is there to be pasted
        raise UsageError(f"no stored {name} of {len(missing)} of {len(runs)} runs: `workbench analyse {name} {places}`")
    return [one[2] for one in found if one is not None]


def _newest(run: StoredRun, runs: Sequence[StoredRun], name: str, entry: Analysis) -> tuple[int, float, Result] | None:
    """(runs that it covers, time of writing, result) of the best stored result in the folder of this run."""
    by_name = {other.name: other for other in [*runs, run]}  # of runs with one name, this is the one that is meant
    candidates = []
    for path in (Path(run.path) / "analysis").glob(f"{name}-*.npz"):
        with suppress(FileNotFoundError):  # gone since it was listed
            candidates.append((_covered(path, run, by_name, name, entry), path.stat().st_mtime, path))
    for covered, written, path in sorted(candidates, reverse=True):
        result = _read(entry.result, path) if covered else None
        if result is not None:
            return covered, written, result if entry.joint else replace(cast(Any, result), name=run.name)
    return None


def _covered(path: Path, run: StoredRun, by_name: Mapping[str, StoredRun], name: str, entry: Analysis) -> int:
    """Over how many of the runs the stored result is; 0 for one of other runs, files or versions."""
    try:
        made = base.made_with(path)
    except UNREADABLE:  # a partial result, an older version's: not this analysis's whole result
        return 0
    names, options = made.get("runs") if entry.joint else [run.name], made.get("options")
    if not isinstance(names, list) or not isinstance(options, dict) or not names:
        return 0  # written by something else
    if any(not isinstance(one, str) or one not in by_name for one in names):
        return 0
    return len(names) if _place([by_name[one] for one in names], name, entry, options) == path else 0


def _place(runs: Sequence[StoredRun], name: str, entry: Analysis, options: Mapping[str, Any]) -> Path:
    """The file of a result: its name follows from the options and from the contents of what it is made of."""
    need = NEEDS["net" if entry.joint else entry.needs]
    sources = [source(run, name, need.file) for run in runs]
    learned = Path(runs[0].path) / "method.safetensors"
    sources += [learned] if entry.needs == "method" and learned.is_file() else []
    about = [run.name for run in runs] if entry.joint else _machine() if entry.of_machine else []
    return Path(runs[0].path) / "analysis" / f"{name}-{_digest(sources, entry.version, options, about)}.npz"


def _masks(run: StoredRun) -> str | None:
    """What changes when the masks of a run's images do; None where the data is not here. Not a part of the file's
    name: that is looked for where there is no data, too."""
    from workbench.data.files import masks_version

    return masks_version(run.config.data)


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide what comes out."""
    return {key: value for key, value in options.items() if key != "keep"}


@contextmanager
def _kept_beside(path: Path, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The options; those of an analysis that can keep partial results say where: beside what is stored in the end. The
    file goes when all is done, and stays where the work was broken off."""
    if options.get("keep", True):
        yield options
        return
    part = path.with_suffix(".part.npz")
    with suppress(OSError):  # a folder that may only be read: then nothing is kept, as the caller will be told
        part.parent.mkdir(exist_ok=True)
    yield {**options, "keep": str(part) if os.access(part.parent, os.W_OK) else ""}
    part.unlink(missing_ok=True)


def _machine() -> list[str]:
    """What times and memory depend on."""
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    gpu = torch.cuda.get_device_name() if device is not None and device.type == "cuda" else str(device)
    return [gpu, platform.node(), platform.machine(), torch.__version__, str(torch.get_num_threads())]


def _digest(sources: Sequence[Path], version: int, options: Mapping[str, Any], about: Sequence[str] = ()) -> str:
    contents = [_content(path) for path in sources]
    content = contents[0] if len(contents) == 1 else contents
    key = [version, content, _asked(options), *([list(about)] if about else [])]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _content(path: Path) -> str:
    return _hash(path, file_version(path))


@lru_cache(maxsize=4096)  # weights are large, and every result that is looked for asks for them
def _hash(path: Path, _version: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(kind: type[Result], path: Path) -> Result | None:
    """A stored result, or None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return base.load(kind, path)
    except UNREADABLE as error:
        say(f"{path} is damaged and is made again ({type(error).__name__})")
        return None

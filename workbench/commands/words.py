"""How words of the command line become values: run folders, KEY=VALUE settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from workbench.config import UsageError, parse_yaml

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
    pairs = [word.split("=", 1) for word in words]
    found = {key: parse_yaml(value, key) for key, value in pairs}
    if len(found) < len(pairs):
        raise UsageError(f"expected every setting once, got {' '.join(words)}")
    return found


def finished_runs(paths: Sequence[Path]) -> list[Any]:
    """The finished runs in the given folders; those left out are told on standard error."""
    from workbench.runs import finished

    if not paths:
        raise UsageError("no runs were named; give run folders, or folders of runs, such as out")
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"there is no folder {path}; `workbench runs` lists the runs below ./out")
    found, left_out = finished(paths)
    for line in left_out:
        print(f"left out {line}", file=sys.stderr)
    if not found:
        places = ", ".join(map(str, paths))
        raise UsageError(f"no finished run in {places}; `workbench runs` lists what there is")
    return found

"""Runs that differ in nothing but the seed belong together; runs on other data or of other length must not be mixed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from workbench import style
from workbench.config import RunConfig, UsageError, to_dict

SETTING = ("data", "size", "model", "model_args", "pretrained", "epochs", "score")
"""Runs that differ in one of these answer different questions: they never stand in one table."""
PASSING = ("seed", "workers", "keep_weights")
"""Settings that may differ between runs of one group."""
PROTOCOLS: Mapping[str, str] = {
    "median_last10": "median of the last ten epochs",
    "best": "best epoch, chosen on the test set",
    "last": "last epoch",
}


class Configured(Protocol):
    """Anything that knows the settings it came from: a run, a score."""

    @property
    def config(self) -> RunConfig: ...


T = TypeVar("T", bound=Configured)


@dataclass(frozen=True)
class Group(Generic[T]):
    """What one row of a table or one line of a figure shows: a method and its settings, over seeds."""

    label: str
    """Display name; with the settings that tell it from other groups of the method, where there are any."""
    method: str
    setting: str
    """What it was trained on and for how long, in words."""
    protocol: str
    """Which epoch's accuracy counts, in words."""
    items: tuple[T, ...]
    """By rising seed."""

    @property
    def config(self) -> RunConfig:
        """The settings of the first seed."""
        return self.items[0].config

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(item.config.seed for item in self.items)


def group(items: Sequence[T]) -> list[Group[T]]:
    """Group by everything but the seed; ordered by setting (as they come), then method, then label.

    UsageError if there are none, or if a group holds one seed twice.
    """
    if not items:
        raise UsageError("expected at least one finished run, got none; train some first")
    gathered: dict[tuple, list[T]] = defaultdict(list)
    for item in items:
        gathered[_same(item.config)].append(item)
    lists = [sorted(found, key=lambda item: item.config.seed) for found in gathered.values()]
    configs = [found[0].config for found in lists]
    named = zip(lists, _labels(configs), _settings(configs), strict=True)
    groups = [_group(found, text, setting) for found, text, setting in named]
    settings = list(dict.fromkeys((g.setting, g.protocol) for g in groups))
    return sorted(groups, key=lambda g: (settings.index((g.setting, g.protocol)), style.rank(g.method), g.label))


def one_setting(groups: Sequence[Group], what: str) -> Group:
    """The first group, after checking that all were trained on the same data, model and length."""
    settings = list(dict.fromkeys(f"{g.setting} ({g.protocol})" for g in groups))
    if len(settings) > 1:
        raise UsageError(f"{what} shows one setting, got {len(settings)}: {'; '.join(settings)}; choose runs of one")
    return groups[0]


def same_setting(a: RunConfig, b: RunConfig) -> bool:
    """Whether two runs may stand in one table."""
    return all(getattr(a, key) == getattr(b, key) for key in SETTING)


def settings_tried(g: Group, known: Iterable[RunConfig]) -> int:
    """In how many settings the group's method was run on its data with its model, of those that are known; seeds make
    no setting of their own."""
    same = [c for c in known if all(getattr(c, key) == getattr(g.config, key) for key in ("method", "data", "model"))]
    return len({_same(c) for c in same})


def differing(configs: Sequence[RunConfig]) -> list[str]:
    """Settings (parameters as `params.alpha`) in which the runs differ, apart from seed and workers."""
    flat = [_flat(c) for c in configs]
    keys = dict.fromkeys(key for f in flat for key in f)
    return [k for k in keys if len({json.dumps(f.get(k), sort_keys=True, default=str) for f in flat}) > 1]


def _group(items: list[T], text: str, setting: str) -> Group[T]:
    config = items[0].config
    made = Group(text, config.method, setting, protocol_of(config), tuple(items))
    twice = [seed for seed in set(made.seeds) if made.seeds.count(seed) > 1]
    if twice:
        raise UsageError(
            f"expected one run a seed, got {text} ({made.setting}) with seed {twice[0]} twice, as when one run lies in "
            "two folders; choose the runs of one"
        )
    return made


def protocol_of(config: RunConfig) -> str:
    """Which epoch's accuracy counts, in words; a training of fewer than ten epochs has no last ten."""
    if config.score == "median_last10" and config.epochs < 10:
        return f"median of all {config.epochs} epochs" if config.epochs > 1 else "last epoch"
    return PROTOCOLS[config.score]


def _same(config: RunConfig) -> tuple:
    return tuple(json.dumps(v, sort_keys=True, default=str) for v in _flat(config).values()), tuple(_flat(config))


def _flat(config: RunConfig) -> dict[str, Any]:
    """Settings that make a group, parameters of the method one by one."""
    values = {k: v for k, v in to_dict(config).items() if k not in PASSING}
    params = values.pop("params")
    return values | {f"params.{k}": params[k] for k in sorted(params)}


def _labels(configs: Sequence[RunConfig]) -> list[str]:
    """Display names; where a method was run in several ways, with what differs: `CutMix (alpha=0.2)`."""
    texts = []
    for config in configs:
        rivals = [c for c in configs if c.method == config.method and same_setting(c, config)]
        flat = _flat(config)
        extra = [f"{key.removeprefix('params.')}={flat[key]}" for key in differing(rivals) if key in flat]
        texts.append(style.label(config.method) + (f" ({', '.join(extra)})" if extra else ""))
    return texts


def _settings(configs: Sequence[RunConfig]) -> list[str]:
    """In words, without the folders of this disk: `photos at 32 px, resnet8, 20 epochs`; with them where two data
    sets would read the same."""
    short = [_short(c.data) for c in configs]
    paths = {name: {c.data for c, s in zip(configs, short, strict=True) if s == name} for name in short}
    names = [s if len(paths[s]) == 1 else c.data for c, s in zip(configs, short, strict=True)]
    return [_words(c, name) for c, name in zip(configs, names, strict=True)]


def _short(data: str) -> str:
    """`npz:/data/mine.npz` is `mine` to a reader, `folder:/data/birds` is `birds`."""
    kind, _, place = data.partition(":")
    return {"npz": Path(place).stem}.get(kind, Path(place).name) if place else kind


def _words(config: RunConfig, data: str) -> str:
    parts = [
        data + (f" at {config.size} px" if config.size else ""),
        config.model + "".join(f" {k}={v}" for k, v in config.model_args.items()),
        *(["pretrained"] if config.pretrained else []),
        f"{config.epochs} epoch" + ("s" if config.epochs != 1 else ""),
    ]
    return ", ".join(parts)

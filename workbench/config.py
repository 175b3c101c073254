"""Settings and how mistakes in them are told: parameter bounds, `RunConfig`, strict YAML, the run id."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import hashlib
import json
import math
import numbers
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, TypeVar

import yaml

FORMAT = 1  # of the run folder; raised when a stored run has to be read differently

T = TypeVar("T")


class UsageError(ValueError):
    """A mistake of the caller. Its text is one line: what was expected, what came, what to do."""


class RunFailed(RuntimeError):
    """A run could not go on, through no mistake in its settings. Its text is one line."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Inside, a mistake or a failure says what it is about, where there are several of its kind."""
    try:
        yield
    except (UsageError, RunFailed) as error:
        if what in str(error):  # it does already
            raise
        raise (UsageError if isinstance(error, UsageError) else RunFailed)(f"{what}: {error}") from error


def shown(value: object) -> str:
    """A value as an error line can show it: on one line, not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """The part of an error line that offers the nearest valid name, and all of them if they are few."""
    folded = {k.lower(): k for k in sorted(known)}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return hint + (f" (known: {', '.join(folded.values())})" if len(folded) <= 24 else "")


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """`table[name]`, or a UsageError that offers the nearest name. `what` says what the table holds."""
    if not isinstance(name, str) or name not in table:
        raise UsageError(f"unknown {what} {shown(name)}{nearest(name, table)}")
    return table[name]


# --------------------------------------------------------------------------------------- numbers and their bounds


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, of Python or NumPy; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number, of Python or NumPy; True and False are none, nor is 3.0."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def whole(what: str, value: object, low: int, high: float = math.inf) -> int:
    """The value as Python's own integer, since NumPy's small ones overflow; UsageError unless it is a whole number from
    `low` to `high`."""
    if not is_whole(value) or not low <= value <= high:
        upper = f" to {high}" if high < math.inf else ""
        raise UsageError(f"{what} must be a whole number from {low}{upper}, got {shown(value)}")
    return int(value)


@dataclass(frozen=True)
class Range:
    """Closed bounds of a number, used in `Annotated[float, Range(0.05, 5)]`: one declaration serves the error
    message, the slider of an explorer and the property test."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return is_number(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:.12g} to {self.high:.12g}"


def hints(cls: type) -> Mapping[str, Any]:
    """The annotations of a dataclass's fields, `Annotated` kept."""
    return _hints(cls)


@functools.cache  # to evaluate 28 annotations takes 5 ms, and every new configuration is checked
def _hints(cls: type) -> Mapping[str, Any]:
    found = typing.get_type_hints(cls, include_extras=True)
    return types.MappingProxyType({f.name: found[f.name] for f in dataclasses.fields(cls)})


def unpack(hint: Any) -> tuple[Any, Range | None, bool]:
    """(plain type, bounds, may it be None) of an annotation such as `Annotated[float, Range(0, 1)] | None`."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (inner,) = [a for a in typing.get_args(hint) if a is not types.NoneType]
        plain, bounds, _ = unpack(inner)
        return plain, bounds, True
    if typing.get_origin(hint) is Annotated:
        plain, *extras = typing.get_args(hint)
        return plain, next((e for e in extras if isinstance(e, Range)), None), False
    return hint, None, False


def check_fields(instance: Any, what: str) -> None:
    """Hold every field of a dataclass against its annotation; whole numbers pass as floats."""
    for name, hint in hints(type(instance)).items():
        value = getattr(instance, name)
        plain, bounds, optional = unpack(hint)
        if value is None and optional:
            continue
        expected = _expected(plain, bounds, value)
        if expected:
            raise UsageError(f"{what}: {name} must be {expected}, got {shown(value)}")


def _expected(plain: Any, bounds: Range | None, value: Any) -> str | None:
    """What should have come instead of `value`, or None if it is right."""
    if typing.get_origin(plain) is Literal:
        choices = typing.get_args(plain)
        fits = any(type(value) is type(choice) and value == choice for choice in choices)
        return None if fits else f"one of {', '.join(map(repr, choices))}"
    if plain in (int, float):
        number = "a whole number" if plain is int else "a number"
        fits = (is_whole if plain is int else is_number)(value) and value in (bounds or Range(-math.inf, math.inf))
        fits = fits and (plain is int or math.isfinite(value))
        return None if fits else number + (f" from {bounds}" if bounds else "")
    if plain in (str, bool):
        return None if isinstance(value, plain) else {str: "a text", bool: "true or false"}[plain]
    if typing.get_origin(plain) is Mapping:
        expected = "a mapping from names to texts, true or false, finite numbers, and lists and mappings of these"
        return None if isinstance(value, Mapping) and _is_plain(value) else expected
    return None


def _is_plain(value: Any, depth: int = 5) -> bool:
    """Whether YAML and JSON can hold a value; the depth ends one that holds itself."""
    if isinstance(value, Mapping):
        return depth > 0 and all(isinstance(k, str) and _is_plain(v, depth - 1) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return depth > 0 and all(_is_plain(v, depth - 1) for v in value)
    if value is None or isinstance(value, (str, bool)) or is_whole(value):
        return True
    return is_number(value) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """A copy of a value in Python's own types: NumPy's numbers and texts pass the checks, but no YAML writer."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    kinds = {bool: bool, numbers.Integral: int, numbers.Real: float, str: str}
    kind = next((own for kind, own in kinds.items() if isinstance(value, kind)), None)
    return value if kind is None else kind(value)


# ------------------------------------------------------------------------------------------------------ one run


LATER: Mapping[str, Any] = {"keep_weights": 0}
"""Settings that runs of older versions did not have: at these defaults they are left out of the run id."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a training run. Stored whole, as `config.yaml`, with its results."""

    method: str = "mixup"
    """Key of a mixup method, e.g. cutmix (`workbench methods` lists them)."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the method that differ from its paper's defaults."""
    data: str = "photos"
    """Name of a data set, `folder:PATH` or `npz:PATH` (`workbench data` lists them)."""
    size: Annotated[int, Range(8, 1024)] | None = None
    """Side of the images in pixels; the data set's own when left out."""
    damaged: Literal["refuse", "skip"] = "refuse"
    """What to do about image files of a folder that can't be read: refuse the set, naming them, or leave them out."""
    model: str = "resnet20"
    """resnet8/20/56 (small), resnet18, resnext50_32x4d, wrn28_8, or any classifier of timm."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the timm model, e.g. drop_path_rate."""
    pretrained: bool = False
    """Start from timm's pretrained weights (downloads them)."""
    epochs: Annotated[int, Range(1, 100_000)] = 20
    """Passes over the training images."""
    batch_size: Annotated[int, Range(1, 65536)] = 128
    """Images of one step, over all processes together."""
    optimizer: str = "sgd"
    """Name of a timm optimiser, e.g. sgd (with Nesterov momentum), adamw, lamb."""
    lr: Annotated[float, Range(0, 100)] = 0.1
    """Highest learning rate."""
    min_lr: Annotated[float, Range(0, 100)] = 0.0
    """Learning rate at the end of the cosine."""
    weight_decay: Annotated[float, Range(0, 10)] = 5e-4
    """Weight decay; biases and norms are left out of it."""
    momentum: Annotated[float, Range(0, 1)] = 0.9
    """Momentum of the optimisers that have one."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate over the steps."""
    warmup_epochs: Annotated[float, Range(0, 1000)] = 0.0
    """Epochs of linear warm-up from 1 % of the learning rate."""
    clip_grad: Annotated[float, Range(1e-6, 1e6)] | None = None
    """Largest norm of the gradient."""
    label_smoothing: Annotated[float, Range(0, 0.9)] | None = None
    """Label smoothing; the method's own (0, DeiT: 0.1) when left out."""
    ema_decay: Annotated[float, Range(0, 1)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated and stored."""
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto"
    """Augmentation before mixing; auto asks the data set (digits are not flipped)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast of the forward pass."""
    channels_last: bool = False
    """Keep images and convolutions in channels-last memory order."""
    compile: bool = False
    """Compile the net with torch.compile (about a minute at the start)."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    workers: Annotated[int, Range(0, 256)] = 4
    """Loader processes for data sets that are read from disk while training."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of everything random: weights, order, crops, mixing."""
    score: Literal["median_last10", "best", "last"] = "median_last10"
    """Which epoch's accuracy is the run's number: the benchmark's protocol for ResNets is the median of the last
    ten epochs, for transformers the best; the last is what `weights.safetensors` holds."""
    keep_weights: Annotated[int, Range(0, 100_000)] = 0
    """Keep the weights before training and after every so many epochs, for the analysis `trajectory`; 0 keeps the last
    alone."""

    def __post_init__(self) -> None:
        check_fields(self, "run settings")
        for name, hint in hints(RunConfig).items():  # so that equal settings have one run id: lr 1 is lr 1.0
            value = _plain(getattr(self, name))
            object.__setattr__(self, name, float(value) if unpack(hint)[0] is float and value is not None else value)

    @property
    def run_id(self) -> str:
        """A name for the run: readable, a single component of a path, and different for different settings."""
        told = {key: value for key, value in to_dict(self).items() if key not in LATER or value != LATER[key]}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        data = _file_name(Path(self.data).name, 32) or _file_name(self.data, 32) or "data"
        return f"{data}-{_file_name(self.model, 64)}-{_file_name(self.method, 24)}-s{self.seed}-{digest}"


def _file_name(text: str, length: int) -> str:
    """At most `length` ASCII letters, digits, single dots, dashes and underscores, which every file system takes."""
    return re.sub(r"[^A-Za-z0-9._]+|\.{2,}", "-", text)[:length].strip("-._")


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The settings as plain values, nested lists and mappings copied."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(values: Mapping[str, Any], where: str = "run settings", foreign: str = "") -> RunConfig:
    """Settings from plain values. An unknown key is an error that offers the nearest one, and says `foreign`, what else
    they may be; a missing key takes its default, so that runs of older versions can be read."""
    known = {f.name for f in dataclasses.fields(RunConfig)}
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key {shown(key)}{nearest(str(key), known)}{foreign}")
    try:
        return RunConfig(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {str(error).removeprefix('run settings: ')}") from None


# -------------------------------------------------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """YAML of plain values. A key that is written twice is an error; so is an alias, with which a small file can
    hold itself or grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            problem = "aliases are not read; write the value out"
            raise yaml.composer.ComposerError(None, None, problem, self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                problem = f"key {key!r} is written twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts those texts in quotes that `_Loader` would take for numbers."""


for _kind in (_Loader, _Dumper):  # YAML 1.1, which PyYAML reads, takes 5e-4 for a text because it has no dot
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def dump(config: RunConfig) -> str:
    """The settings as YAML, with the format of the run folder on top."""
    return yaml.dump({"format": FORMAT, **to_dict(config)}, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds, read safely: plain values only, never objects. `where` it stands is for the error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: e.g. the 13th month
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def load_yaml(path: str | Path) -> Any:
    """What a YAML file holds, read as safely as `parse_yaml` does."""
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UsageError(f"no settings file at {path}") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not YAML: {error}") from None


def load_config(path: str | Path) -> RunConfig:
    """`RunConfig` from a YAML file; older files are completed with defaults, newer ones are refused."""
    return copy.deepcopy(_settings(Path(path), file_version(path)))  # parameters are mappings, which anybody may change


def file_version(path: str | Path) -> tuple[int, ...]:
    """What changes when a file does, for caches of what it holds; empty where there is none that can be seen."""
    try:
        found = Path(path).stat()
    except OSError:  # the reader will say what is wrong
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=4096)  # to read one takes 10 ms, and runs are looked at again and again
def _settings(path: Path, _version: tuple[int, ...]) -> RunConfig:
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    written = values.pop("format", FORMAT)
    if not is_whole(written) or not 1 <= written <= FORMAT:
        newer = is_whole(written) and written > FORMAT
        mend = "update the workbench" if newer else f"write format: {FORMAT}, or leave it out"
        raise UsageError(f"{path}: written in format {shown(written)}, this workbench reads 1 to {FORMAT}; {mend}")
    foreign = "; or it is a run of another tool or version" if path.name == "config.yaml" else ""
    return from_dict(values, where=str(path), foreign=foreign)

"""Settings: bounds, names, the run id; what a wrong value or key is told."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest

from workbench.config import (
    Range,
    RunConfig,
    UsageError,
    check_fields,
    choose,
    dump,
    from_dict,
    hints,
    is_whole,
    load_config,
    nearest,
    shown,
    to_dict,
    unpack,
    whole,
)


def refused(pattern: str, **values: Any) -> str:
    with pytest.raises(UsageError, match=pattern) as caught:
        RunConfig(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -------------------------------------------------------------------------------------------------------- values


def test_the_callers_mappings_are_copied() -> None:
    params: dict[str, Any] = {"a": [1, 2], "b": {"c": 1}}
    config = RunConfig(params=params, model_args=params)
    before = config.run_id
    params["a"].append(3)
    params["b"]["c"] = 2
    assert config.params == config.model_args == {"a": [1, 2], "b": {"c": 1}}
    to_dict(config)["params"]["a"].append(4)
    assert config.run_id == before
    assert "&" not in dump(config)  # one mapping given twice becomes no YAML alias


def test_numpy_values_become_pythons_own() -> None:
    params = {"alpha": np.float32(2), "size": np.int64(3)}
    config = RunConfig(lr=np.float64(0.5), data=np.str_("digits"), seed=np.int64(3), params=params)  # type: ignore[arg-type]
    kinds = [type(v) for v in (config.lr, config.data, config.seed, *config.params.values())]
    assert kinds == [float, str, int, float, int]
    assert "lr: 0.5\n" in dump(config)
    assert config.run_id == RunConfig(lr=0.5, data="digits", seed=3, params={"alpha": 2.0, "size": 3}).run_id


def test_a_whole_number_of_any_size_is_a_parameter() -> None:
    assert RunConfig(params={"n": 10**400}).params["n"] == 10**400


@pytest.mark.parametrize("value", [True, np.bool_(True), 3.0, np.float32(3), "3", None, [3], math.nan])
def test_what_is_no_whole_number(value: Any) -> None:
    assert not is_whole(value)
    with pytest.raises(UsageError, match="points must be a whole number from 3, got "):
        whole("points", value, 3)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_numpy_are_whole_numbers(value: Any) -> None:
    assert type(whole("points", value, 3, 3)) is int
    with pytest.raises(UsageError, match="points must be a whole number from 4 to 9, got "):
        whole("points", value, 4, 9)


# -------------------------------------------------------------------------------------------------------- bounds

BOUNDED = [(name, bounds) for name, hint in hints(RunConfig).items() if (bounds := unpack(hint)[1])]


@pytest.mark.parametrize(("name", "bounds"), BOUNDED)
def test_every_bound(name: str, bounds: Range) -> None:
    kind = unpack(hints(RunConfig)[name])[0]
    for edge in (bounds.low, bounds.high):
        assert getattr(RunConfig(**{name: kind(edge)}), name) == edge
    step = 1 if kind is int else max(abs(bounds.high), 1) * 1e-6
    for outside in (bounds.low - step, bounds.high + step, 10**400, -(10**400)):
        message = refused(f"{name} must be a (whole )?number from .* to .*, got", **{name: outside})
        assert len(message) < 250
    for other in (True, "1", [1], math.nan, math.inf, -math.inf, 1 + 2j, np.array([1, 2])):
        refused(name, **{name: other})


def test_there_are_bounds_on_every_number() -> None:
    numbers = {n for n, h in hints(RunConfig).items() if unpack(h)[0] in (int, float)}
    assert numbers == {name for name, _ in BOUNDED}
    assert len(numbers) > 10


def test_bounds_are_told_in_full() -> None:
    assert "from 0 to 4294967295, got 4294967296" in refused("seed", seed=2**32)
    assert "from 1 to 100000, got 0" in refused("epochs", epochs=0)
    assert "from 1e-06 to 1000000, got 0" in refused("clip_grad", clip_grad=0)


@pytest.mark.parametrize("name", sorted(n for n, h in hints(RunConfig).items() if unpack(h)[0] is int))
def test_no_fraction_for_a_whole_number(name: str) -> None:
    refused(f"{name} must be a whole number", **{name: 16.0})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("method", None, "a text, got None"),
        ("method", ["mixup"], "a text"),
        ("data", 10, "a text, got 10"),
        ("model", True, "a text"),
        ("pretrained", 1, "true or false, got 1"),
        ("compile", "yes", "true or false, got 'yes'"),
        ("compile", None, "true or false"),
        ("epochs", None, "a whole number"),
        ("schedule", "linear", "one of 'cosine', 'constant', got 'linear'"),
        ("schedule", ["cosine"], "one of"),
        ("schedule", None, "one of"),
        ("score", np.array(["best", "last"]), "one of"),
        ("device", "cuda:1", "one of"),
        ("params", None, "a mapping"),
        ("params", [1], "a mapping"),
        ("params", "alpha=1", "a mapping"),
        ("params", {1: 2}, "a mapping from names"),
        ("params", {"alpha": math.nan}, "finite numbers"),
        ("params", {"alpha": [1, math.inf]}, "finite numbers"),
        ("params", {"alpha": {"x": {1, 2}}}, "a mapping"),
        ("params", {"alpha": b"1"}, "a mapping"),
        ("params", {"alpha": np.zeros((2, 2))}, "a mapping"),
        ("model_args", {"f": print}, "a mapping"),
        ("model_args", {"f": 1 + 2j}, "a mapping"),
    ],
)
def test_wrong_types(name: str, value: Any, expected: str) -> None:
    assert expected in refused(f"^run settings: {name} must be ", **{name: value})


def test_a_mapping_that_holds_itself() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    chain: list[Any] = []
    chain.append(chain)
    refused("params must be", params=loop)
    refused("model_args must be", model_args={"a": chain})


def test_none_where_it_is_allowed() -> None:
    config = RunConfig(size=None, clip_grad=None, label_smoothing=None, ema_decay=None)
    assert config.size is None
    assert config.ema_decay is None


def test_a_number_without_bounds_must_be_finite() -> None:
    @dataclass
    class Other:
        scale: float = 1.0
        many: int = 1
        some: Literal[1, "a"] = 1
        maybe: Annotated[float, Range(0, 1)] | None = None
        free: Mapping[str, int] | None = None

    check_fields(Other(scale=3, many=10**50, some="a"), "other")
    for wrong in ({"scale": math.nan}, {"scale": -math.inf}, {"scale": True}, {"many": 1.0}, {"some": True}):
        with pytest.raises(UsageError, match=f"other: {next(iter(wrong))} must be"):
            check_fields(Other(**wrong), "other")
    with pytest.raises(UsageError, match="maybe must be a number from 0 to 1, got 2"):
        check_fields(Other(maybe=2), "other")


# --------------------------------------------------------------------------------------------------------- names


def test_an_unknown_key_of_a_run_may_be_that_of_another_tool(tmp_path: Path) -> None:
    for name in ("config.yaml", "mine.yaml"):
        (tmp_path / name).write_text("task: sleep\n")
        with pytest.raises(UsageError, match="unknown key 'task'") as error:
            load_config(tmp_path / name)
        assert ("a run of another tool or version" in str(error.value)) == (name == "config.yaml")


def test_an_unknown_key_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown key 'batchsize'; did you mean 'batch_size'\?"):
        from_dict({"batchsize": 1})
    with pytest.raises(UsageError, match="unknown key 3"):
        from_dict({3: 1})
    with pytest.raises(UsageError, match="unknown key None"):
        from_dict({None: 1})
    with pytest.raises(UsageError, match="unknown key '__class__'"):
        from_dict({"__class__": "x"})


def test_the_nearest_name_whatever_its_case() -> None:
    table = {"cutmix": 1, "CIFAR10": 2}
    assert choose(table, "cutmix", "thing") == 1
    for name, near in (("CutMixx", "cutmix"), ("CUTMIX", "cutmix"), ("cifar-10", "CIFAR10")):
        with pytest.raises(
            UsageError, match=rf"^unknown thing '{name}'; did you mean '{near}'\? \(known: CIFAR10, cutmix\)$"
        ):
            choose(table, name, "thing")
    assert nearest("zzz", table) == " (known: CIFAR10, cutmix)"
    assert nearest("a1", [f"a{i}" for i in range(10, 50)]).count(",") == 0


@pytest.mark.parametrize("name", [None, 3, ["cutmix"], {"a": 1}, "cut\nmix", "x" * 500])
def test_a_name_of_any_kind_is_told_in_one_short_line(name: Any) -> None:
    with pytest.raises(UsageError) as caught:
        choose({"cutmix": 1}, name, "thing")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_shown() -> None:
    assert shown("a") == "'a'"
    assert "\n" not in shown(np.zeros((3, 3)))
    assert len(shown("y" * 1000)) == 80


# -------------------------------------------------------------------------------------------------------- run id


def test_the_run_id_is_the_same_in_every_process() -> None:
    config = RunConfig(method="cutmix", params={"b": 1, "a": 0.1}, seed=3)
    code = (
        "from workbench.config import RunConfig;"
        "print(RunConfig(method='cutmix', params={'a': 0.1, 'b': 1}, seed=3).run_id)"
    )
    for hash_seed in ("0", "1"):
        env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True).stdout
        assert told.strip() == config.run_id
    assert config.run_id.startswith("photos-resnet20-cutmix-s3-")


def another(name: str) -> Any:
    """A value of a setting that is not its default."""
    kind, bounds, _ = unpack(hints(RunConfig)[name])
    default = getattr(RunConfig(), name)
    if bounds:
        return next(kind(edge) for edge in (bounds.low, bounds.high) if edge != default)
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != default)
    return {str: "resnet8", bool: not default}.get(kind, {"alpha": 1})


def test_every_setting_is_in_the_run_id() -> None:
    names = [f.name for f in dataclasses.fields(RunConfig)]
    ids = {RunConfig(**{name: another(name)}).run_id for name in names}
    assert len(ids | {RunConfig().run_id}) == len(names) + 1


def test_runs_of_older_versions_keep_their_id() -> None:
    """Ids from before `keep_weights` was a setting."""
    assert RunConfig().run_id == "photos-resnet20-mixup-s0-c6a49b4d"
    assert RunConfig(method="cutmix", params={"alpha": 0.5}, seed=3).run_id == "photos-resnet20-cutmix-s3-c85ab383"
    assert from_dict({"method": "cutmix"}).keep_weights == 0


def test_equal_settings_have_one_run_id() -> None:
    assert RunConfig(lr=1) == RunConfig(lr=1.0)
    assert RunConfig(lr=1).run_id == RunConfig(lr=1.0).run_id
    assert RunConfig(params={"a": (1, 2)}).run_id == RunConfig(params={"a": [1, 2]}).run_id
    assert RunConfig(label_smoothing=0).run_id != RunConfig(label_smoothing=None).run_id


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"data": "folder:/tmp/../x y"}, "x-y-resnet20-"),
        ({"data": "folder:/tmp/a..b/"}, "a-b-resnet20-"),
        ({"data": "npz:C:\\images\\mine.npz"}, "npz-C-images-mine.npz-"),
        ({"data": ".."}, "data-"),
        ({"data": ""}, "data-"),
        ({"data": "/"}, "data-"),
        ({"data": "folder:"}, "folder-"),
        ({"data": "-rf"}, "rf-"),
        ({"data": ".hidden"}, "hidden-"),
        ({"data": "фото"}, "data-"),
        ({"data": "a\nb\0c"}, "a-b-c-"),
        ({"data": "x" * 500}, "x" * 32 + "-resnet20"),
        ({"model": "../../etc"}, "photos-etc-"),
        ({"model": "resnet18.a1_in1k"}, "photos-resnet18.a1_in1k-mixup"),
        ({"method": "../../../etc/passwd"}, "photos-resnet20-etc-passwd-s0-"),
        ({"method": "a" * 500}, "photos-resnet20-" + "a" * 24 + "-s0"),
    ],
)
def test_the_run_id_is_one_safe_component_of_a_path(values: dict[str, str], start: str) -> None:
    run_id = RunConfig(**values).run_id
    assert run_id.startswith(start)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}", run_id)
    assert ".." not in run_id


def test_unlike_settings_with_one_readable_name_differ() -> None:
    ids = {RunConfig(data=f"folder:/{place}/images", params={"alpha": a}).run_id for place in "ab" for a in range(500)}
    assert len(ids) == 1000

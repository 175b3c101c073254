"""Settings as YAML: round trips, attacks, and what a wrong file is told."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.config import FORMAT, RunConfig, UsageError, dump, from_dict, load_config, load_yaml, parse_yaml

FIELDS = {f.name for f in dataclasses.fields(RunConfig)}


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ---------------------------------------------------------------------------------------------------- round trips

text = st.text(st.characters(codec="utf-8", exclude_characters="\x85"), max_size=8)  # PyYAML folds that line break
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    params=st.dictionaries(text, plain, max_size=3),
    data=text,
    model=st.sampled_from(["resnet18", "1e-3", "5e4", "null", "yes", "0x1f", "12:30", "2024-01-01", "~", "é中\u2028"]),
    lr=st.floats(0, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_yaml_gives_back_what_was_written(params: dict[str, Any], data: str, model: str, lr: float, seed: int) -> None:
    config = RunConfig(params=params, data=data, model=model, lr=lr, seed=seed)
    values = parse_yaml(dump(config), "here")
    assert values.pop("format") == FORMAT
    again = from_dict(values)
    assert again == config
    assert again.run_id == config.run_id
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}", config.run_id)
    assert ".." not in config.run_id


def test_defaults_round_trip_through_a_file(tmp_path: Path) -> None:
    config = RunConfig(method="cutmix", params={"alpha": 0.2, "mode": "batch", "n": [1, 2]}, clip_grad=1, size=32)
    assert load_config(written(tmp_path, dump(config))) == config
    assert dump(config).startswith(f"format: {FORMAT}\nmethod: cutmix\n")
    assert dump(load_config(written(tmp_path, dump(config)))) == dump(config)


def test_the_stored_file_is_yaml_that_anybody_can_read() -> None:
    values = yaml.safe_load(dump(RunConfig(lr=1e-5, weight_decay=5e-20)))
    assert set(values) == FIELDS | {"format"}
    assert values["lr"] == 1e-5
    assert values["weight_decay"] == 5e-20


# --------------------------------------------------------------------------------------------------- files


def test_an_older_file_is_completed_and_a_newer_one_refused(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "method: cutmix\n")) == RunConfig(method="cutmix")
    assert load_config(written(tmp_path, "format: 1\nseed: 4\n")) == RunConfig(seed=4)
    for version in (FORMAT + 1, 99, "two", 0, -1, 1.5, None):
        path = written(tmp_path, yaml.safe_dump({"format": version}))
        with pytest.raises(UsageError, match=f"config.yaml: written in format .*this workbench reads 1 to {FORMAT}"):
            load_config(path)


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    for text, told in (
        ("lr: -1", "lr must be a number from 0 to 100, got -1"),
        ("lrr: 1", "unknown key 'lrr'; did you"),
    ):
        with pytest.raises(UsageError, match=rf"config\.yaml: {told}"):
            load_config(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "value"),
    [("5e-4", 5e-4), ("1E3", 1000.0), ("-2e+1", -20.0), (".5e1", 5.0), ("1.e-2", 0.01), ("1.5e-3", 1.5e-3)],
)
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    """YAML 1.1 takes 5e-4 for a text, because it has no dot."""
    assert parse_yaml(f"[{text}]", "here") == [value]
    assert parse_yaml(f"['{text}', {text}x, e5]", "here") == [text, f"{text}x", "e5"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("!!python/object/apply:os.system ['touch HERE']", "python/object"),
        ("method: !!python/name:os.system", "python/name"),
        ("params: !!python/object/new:builtins.eval ['1']", "python/object"),
        ("params: !!python/tuple [1]", "python/tuple"),
        ("method: cutmix\nlr: 1\nmethod: mixup", "key 'method' is written twice"),
        ("params: {alpha: 1, alpha: 2}", "key 'alpha' is written twice"),
        ("params: &a {x: *a}", "aliases are not read"),
        ("model_args: &a {x: 1}\nparams: *a", "aliases are not read"),
        ("params: &a {x: 1}\nmodel_args:\n  <<: *a", "aliases are not read"),
        ("lr: [1", "expected ',' or ']'"),
        ("lr: 1\n\tseed: 2", "tab|cannot start any token|mapping values"),
        ("when: 2024-13-45", "month must be in"),
        ("seed: " + "9" * 5000, "Exceeds the limit"),
        ("params: " + "[" * 3000, "recursion"),
        ("a: 1\n---\nb: 2", "single document"),
        ("? [a]\n: 1", "unhashable"),
        (b"method: \xff\xfe", "can't decode"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str | bytes, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=told) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a mapping of settings, got NoneType"),
        ("- 1\n- 2", "expected a mapping of settings, got list"),
        ("hello", "expected a mapping of settings, got str"),
        ("params:", "params must be a mapping"),
        ("params: {when: 2024-01-02}", "params must be a mapping"),
        ("params: {all: !!set {a, b}}", "params must be a mapping"),
        ("params: {raw: !!binary aGk=}", "params must be a mapping"),
        ("params: {alpha: .nan}", "params must be a mapping.* finite"),
        ("lr: .inf", "lr must be a number"),
        ("lr: .nan", "lr must be a number"),
        ("lr: 'fast'", "lr must be a number from 0 to 100, got 'fast'"),
        ("epochs: true", "epochs must be a whole number from 1 to 100000, got True"),
        ("on: 1", "unknown key True"),
    ],
)
def test_values_that_are_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_config(written(tmp_path, text))


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no settings file at .*nowhere"):
        load_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UsageError, match="can't be read: Is a directory"):
        load_yaml(tmp_path)


def test_unicode_and_a_byte_order_mark(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "\ufeffdata: 'folder:/tmp/Füße 中'\n".encode()))
    assert config.data == "folder:/tmp/Füße 中"
    assert "Füße 中" in dump(config)

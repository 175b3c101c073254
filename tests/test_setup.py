"""The set-up that a newcomer gets: ranges, pins, the two ways to install, and what may stand in a tracked file."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
ENTRIES = [line for line in LINES if line and not line.startswith("#")]

PINNED_BY_TORCH = re.compile(r"(nvidia|cuda)-.*|triton")


def pins() -> dict[str, str]:
    """Name -> version of constraints.txt, for this Python and platform."""
    found: dict[str, str] = {}
    for entry in map(Requirement, ENTRIES):
        if entry.marker is None or entry.marker.evaluate():
            name = canonicalize_name(entry.name)
            assert name not in found, f"{name} is pinned twice"
            found[name] = str(entry.specifier).removeprefix("==")
    return found


def direct() -> list[Requirement]:
    """What pyproject.toml asks for: to run, to develop, in the extras, and to build."""
    project = PROJECT["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    return [Requirement(text) for text in [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]]


# ------------------------------------------------------------------------------------------------- ranges and pins


PIN = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; python_full_version (<|>=) '[0-9.]+')?")


def test_pins_are_exact_and_plain() -> None:
    """No option, address, path or local version (2.11.0+cu130): they serve CPU and CUDA builds, pip and uv."""
    assert [entry for entry in ENTRIES if not PIN.fullmatch(entry)] == []
    assert [name for name in pins() if PINNED_BY_TORCH.fullmatch(name)] == []


@pytest.mark.parametrize("entry", ["a>=1", "a==1.*", "a==2.11.0+cu130", "a @ file:///a.whl", "-e .", "A==1"])
def test_other_entries_are_seen(entry: str) -> None:
    assert not PIN.fullmatch(entry)


@pytest.mark.parametrize("wanted", direct(), ids=lambda wanted: wanted.name)
def test_direct_dependency_is_pinned_within_its_range(wanted: Requirement) -> None:
    assert wanted.url is None
    assert wanted.specifier.contains(pins()[canonicalize_name(wanted.name)])


def test_every_range_has_a_lower_bound() -> None:
    assert [wanted.name for wanted in direct() if ">=" not in str(wanted.specifier)] == []


def test_torch_and_torchvision_are_the_pair_seen_working() -> None:
    assert pins()["torch"] == "2.11.0"
    assert pins()["torchvision"] == "0.26.0"


def test_builds_that_do_not_import_together_are_left_out() -> None:
    ranges = {wanted.name: wanted.specifier for wanted in direct()}
    assert not ranges["torch"].contains("2.13.0") and not ranges["torch"].contains("2.13.0+cpu")
    assert not ranges["torchvision"].contains("0.28.0")
    assert ranges["torch"].contains("2.15.0") and ranges["torchvision"].contains("0.29.2")


def imported(folder: str) -> set[str]:
    """Names of the packages, other than Python's own and ours, that the files of a folder import anywhere."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"workbench", "tests"}


@pytest.mark.parametrize("folder", ["workbench", "tests"])
def test_what_is_imported_is_asked_for(folder: str) -> None:
    """A package that comes only because another one brings it may be gone with the next version."""
    asked = {canonicalize_name(wanted.name) for wanted in direct()}
    home = metadata.packages_distributions()
    missing = {name for name in imported(folder) if not asked & {canonicalize_name(n) for n in home.get(name, [name])}}
    assert missing == set()


def required(name: str, extras: set[str]) -> set[str]:
    """Names that an installed distribution requires here, itself included, all the way down."""
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ["", *extras]]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        for wanted in map(Requirement, metadata.requires(here[0]) or []):
            if wanted.marker is None or wanted.marker.evaluate({"extra": here[1]}):
                waiting += [(canonicalize_name(wanted.name), extra) for extra in ["", *wanted.extras]]
    return {name for name, _ in seen}


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != ROOT / ".venv" or not (ROOT / ".venv/.installed").exists(),
    reason="not the environment that `make setup` makes",
)
def test_environment_is_what_the_pins_say() -> None:
    names = required("workbench", set(PROJECT["project"]["optional-dependencies"])) - {"workbench"}
    ours = {name for name in names if not PINNED_BY_TORCH.fullmatch(name)}
    installed = {name: metadata.version(name).partition("+")[0] for name in ours}
    assert installed == {name: pins().get(name) for name in ours}
    assert len(installed) > 100


# --------------------------------------------------------------------------------------- the ways to install and run


def test_conda_gets_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, from_pip = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert from_pip == {"pip": ["-c constraints.txt", "-e ."]}


def test_make_gets_the_same_pins() -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    commands = re.findall(r"pip install [^;&|]*", text)
    assert [command.split()[-1] for command in commands] == ["uv", "'.[$(EXTRAS)]'", "'.[$(EXTRAS)]'"]
    assert all("-c constraints.txt" in command for command in commands)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_alone_lists_every_target() -> None:
    run = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    for target in phony[1].split():
        assert f"  make {target} " in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 120


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_without_a_python_says_so(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "setup", "PYTHON="]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "Python 3.11 to 3.14 is needed" in run.stderr and "make setup PYTHON=/path" in run.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_runs_exactly_make_test() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().splitlines()[-1] == "make test"
    assert "set -euo pipefail" in script.read_text()


def test_console_script_is_the_command_line() -> None:
    assert PROJECT["project"]["scripts"] == {"workbench": "workbench.__main__:main"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"


# -------------------------------------------------------------------------------------------- what is in the project

REGISTRY = re.compile(
    r"https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)|"  # the registries of Python, Node and Debian
    r"https?://\S+/(simple|whl)\b|"  # an index of packages, whoever runs it
    r"^\s*(--)?(extra-)?index-url\b|--(extra-)?index-url[ =]|^\s*(--)?find-links\b|--find-links[ =]",
    re.MULTILINE,
)


def listed(*options: str) -> list[str]:
    """Paths that git lists, from the project's root."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    command = ["git", "ls-files", "-z", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def test_no_file_names_a_registry() -> None:
    named = {}
    for name in listed("--cached", "--others", "--exclude-standard"):
        if (ROOT / name).is_file() and (found := REGISTRY.search((ROOT / name).read_text(errors="replace"))):
            named[name] = found[0]
    assert named == {}


@pytest.mark.parametrize(
    "text",
    [
        "see https://" + "files.python" + "hosted.org/packages/torch.whl",
        'source = { registry = "https://' + "py" + 'pi.org/simple" }',
        "pip install torch --index" + "-url https://example.org/packages",
        "pip install torch --extra-index" + "-url=https://example.org/packages",
        "-f x\n--find" + "-links /wheels",
        "https://example.org/" + "whl/cpu",
    ],
)
def test_address_of_a_registry_is_seen(text: str) -> None:
    assert REGISTRY.search(text)


@pytest.mark.parametrize("text", ["https://arxiv.org/abs/1905.04899", "a simple index of pypi's packages", "/whl/"])
def test_other_addresses_pass(text: str) -> None:
    assert not REGISTRY.search(text)


def test_no_source_file_is_ignored_by_git() -> None:
    """A pattern such as `data/` would silently leave out workbench/data."""
    ignored = listed("--others", "--ignored", "--exclude-standard", "workbench", "tests", "notebooks", "experiments")
    litter = ("__pycache__/", ".ipynb_checkpoints/", ".DS_Store")
    assert [name for name in ignored if not any(part in name for part in litter)] == []


def test_only_what_others_cannot_make_again_is_tracked() -> None:
    tracked = listed("--cached", "--others", "--exclude-standard")
    wrong = re.compile(r"(out/|\.venv/|uv\.lock$|data/(?!README\.md$|published/)|.*\.(pt|pth|ckpt|safetensors|pyc)$)")
    assert [name for name in tracked if wrong.match(name)] == []


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "Apache-2.0" and citation["version"] == PROJECT["project"]["version"]

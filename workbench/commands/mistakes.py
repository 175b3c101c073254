"""Mistakes that the parser of the command line finds, each told in one line as all others are.

tyro draws boxes. It has a hook for those who want something else, in a module that it calls private: where there is
no such module, as in older versions, and for what is not known here, the boxes stay.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, get_type_hints

from tyro.conf import Positional

from workbench.config import UsageError, choose, nearest, shown

Commands = Mapping[str, Callable[..., Any]]
KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text"}
"""What tyro calls the types of values, and what they are."""


def in_a_line(commands: Commands, words: Sequence[str]) -> AbstractContextManager[Any]:
    """Inside, what the parser refuses in the words is a UsageError."""
    try:
        errors: Any = importlib.import_module("tyro._errors")
    except ImportError:
        return nullcontext()
    found: AbstractContextManager[Any] = errors.on_parse_error(partial(_refuse, commands, words))
    return found


def _refuse(commands: Commands, words: Sequence[str], event: Any) -> None:
    kind, command = type(event).__name__, words[0] if words else ""
    if kind == "UnrecognizedArgs":
        choose(commands, command, "command")
        raise UsageError(_unknown(command, event.tokens[0], options(commands[command])) + _help(command))
    if kind == "MissingSubcommand":
        raise UsageError(f"expected a command, got none{nearest('', commands)}; `workbench --help` tells what they do")
    if kind == "MissingArgs":
        missing = [f"{_named(one.arg)} ({_kind(one.arg)})" for one in event.missing_arguments]
        raise UsageError(f"{command} needs {', '.join(missing)}" + _help(command))
    if kind == "BadValue" and event.reason == "too_few_values":
        raise UsageError(f"{command}: {_named(event.argument)} needs a value, {_kind(event.argument)}")
    if kind == "InvalidChoice":
        hint = nearest(event.value, event.choices).partition(" (known")[0]
        told = f"{_named(event.argument)} must be {_kind(event.argument)}, got {shown(event.value)}"
        raise UsageError(f"{command}: {told}{hint}")
    if kind == "InstantiationFailure" and event.argument is not None:
        said = " ".join(event.message.rpartition(": ")[2].split())
        ours = said.startswith("expected ")  # of `words`, which says it all
        told = f": {said}" if ours else f" must be {_kind(event.argument)}, got {said}"
        raise UsageError(f"{command}: {_named(event.argument)}{told}")


def _unknown(command: str, word: str, known: Sequence[str]) -> str:
    """What is wrong with a word that the command doesn't know."""
    option = word.partition("=")[0]
    if not option.startswith("-"):
        return f"{command} has no use for {shown(word)}"
    return f"{command} has no option {shown(option)}{nearest(option, known)}"


def options(command: Callable[..., Any]) -> list[str]:
    """The options of a command, as they are written."""
    hints, found = get_type_hints(command, include_extras=True), []
    for key, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(parameter.default):
            found += [field.name for field in fields(parameter.default)]
        elif Positional not in getattr(hints[key], "__metadata__", ()):
            found.append(key)
    return [f"--{name.replace('_', '-')}" for name in found]


def _help(command: str) -> str:
    return f"; see `workbench {command} --help`"


def _named(argument: Any) -> str:
    """An argument as the help names it."""
    name: str = argument.display_name()
    return name.upper() if argument.is_positional() else name


def _kind(argument: Any) -> str:
    """What an argument takes, in words."""
    if argument.lowered.choices:
        return f"one of {', '.join(argument.lowered.choices)}"
    metavar = str(argument.lowered.metavar).removeprefix("{None}|")
    return KINDS.get(metavar, metavar)

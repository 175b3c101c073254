"""Methods of one's own for the processes that this one starts: handed over from process to process, and never by way of
a run folder, which holds no code."""

from __future__ import annotations

import inspect
import pickle
import sys
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import cloudpickle

from workbench.config import RunConfig, UsageError
from workbench.methods import BUILT_IN, METHODS


def own() -> list[str]:
    """Keys of METHODS that did not come with the workbench, or stand for something else by now."""
    return [key for key, cls in METHODS.items() if BUILT_IN.get(key) is not cls]


def packed(configs: Iterable[RunConfig]) -> bytes:
    """All methods of one's own, for `unpack` in a process that this one starts; empty where there are none.

    The code of their own modules goes along, and what those import is looked for where this process finds it. One that
    can't leave is left out; UsageError where it is the method of one of these runs.
    """
    found, needed = {}, {config.method for config in configs}
    for key in own():
        try:
            found[key] = _whole(METHODS[key])
        except Exception as error:  # whatever a function may hold on to: an open file, a lock, a thread
            if key in needed:
                raise _stays(key, error) from None
    return pickle.dumps((sys.path, found)) if found else b""


def unpack(data: bytes) -> None:
    """Enter in METHODS what `packed` gave in the process that started this one. UsageError for what does not arrive."""
    path, found = pickle.loads(data) if data else ([], {})
    sys.path += [place for place in path if place not in sys.path]
    for key, whole in found.items():
        try:
            METHODS[key] = pickle.loads(whole)
        except Exception as error:  # whatever it needs and does not find here
            raise _stays(key, error) from None


def receive() -> None:
    """`unpack` what comes by standard input, to its end; where that fails, end with a line."""
    try:
        unpack(sys.stdin.buffer.read())
    except UsageError as error:
        sys.exit(f"error: {error}")


def _stays(key: str, error: Exception) -> UsageError:
    why = " ".join(str(error).split())
    return UsageError(f"method {key} can't be handed to another process ({why}); `run` trains in this one")


def _whole(cls: type) -> bytes:
    """The class by value, with those of one's own that it is made from. Their annotations are evaluated for good: the
    names in them are known here alone."""
    classes = [base for base in cls.__mro__ if _is_own(base)]
    for base in classes:
        known = typing.get_type_hints(base, include_extras=True)
        base.__annotations__ = {name: known[name] for name in inspect.get_annotations(base)}
    with _by_value({base.__module__ for base in classes}):
        return bytes(cloudpickle.dumps(cls))


def _is_own(cls: type) -> bool:
    return cls is not object and cls.__module__.partition(".")[0] != "workbench"


@contextmanager
def _by_value(names: Iterable[str]) -> Iterator[None]:
    """Inside, what these modules define is packed whole. What stands in `__main__` always is."""
    known = cloudpickle.list_registry_pickle_by_value()
    modules = [sys.modules[name] for name in names if name in sys.modules and name not in {"__main__", *known}]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)

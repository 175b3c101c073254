"""Methods of one's own for the processes that this one starts: handed over whole, from process to process and never by
way of a run folder, which holds no code."""

from __future__ import annotations

import inspect
import pickle
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle

from workbench.config import RunConfig, UsageError
from workbench.methods import BUILT_IN, METHODS
from workbench.methods.base import Method


def own(configs: Iterable[RunConfig]) -> list[str]:
    """Keys of the methods that these runs need, also as a parameter of another, and that do not come with the
    workbench."""
    needed = [{config.method, *re.findall(r"'(.*?)'", repr(config.params))} for config in configs]
    return [key for key in METHODS if key not in BUILT_IN and key in set().union(*needed)]


def packed(configs: Iterable[RunConfig]) -> bytes:
    """The methods of one's own that these runs need, for `unpack` in a process that this one starts; empty where they
    need none. UsageError for one that can't leave."""
    return pickle.dumps({key: _whole(key) for key in keys}) if (keys := own(configs)) else b""


def _whole(key: str) -> bytes:
    cls = METHODS[key]
    cls.__annotations__ = _annotations(cls)
    with _by_value(cls.__module__):
        try:
            return bytes(cloudpickle.dumps(cls))
        except Exception as error:  # whatever a function may hold on to: an open file, a lock, a thread
            why = f"it holds on to something of this process ({' '.join(str(error).split())})"
            raise UsageError(f"method {key} can't be handed to another process: {why}; `run` trains here") from None


def unpack(data: bytes) -> None:
    """Enter in METHODS what `packed` gave in the process that started this one."""
    METHODS.update((key, pickle.loads(one)) for key, one in (pickle.loads(data) if data else {}).items())


def receive() -> None:
    """`unpack` what comes by standard input, to its end."""
    unpack(sys.stdin.buffer.read())


def _annotations(cls: type[Method]) -> dict[str, Any]:
    """Those of the class itself; what stands there as text is evaluated here, where its names are known."""
    known = typing.get_type_hints(cls, include_extras=True)
    return {name: known[name] for name in inspect.get_annotations(cls)}


@contextmanager
def _by_value(name: str) -> Iterator[None]:
    """Inside, what a module of one's own defines is packed whole: the other process may not find the module's file.
    What stands in `__main__` always is."""
    module = sys.modules.get(name)
    if not isinstance(module, types.ModuleType) or name == "__main__" or name.partition(".")[0] == "workbench":
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)

"""A method in a few lines of text: source, kind, parameters with their bounds and meaning."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Literal, get_args, get_origin

from workbench.config import choose
from workbench.methods import METHODS, Method, Parameter, describe


def card(key: str, full: bool = True) -> str:
    """One line about a method, or with `full` its docstring and parameters too."""
    cls = choose(METHODS, key, "method")
    paper = cls.paper
    link = f", arXiv {paper.arxiv}" if paper.arxiv else ""
    line = f"{key:14s} {cls.family:10s} {paper.authors.split(',')[0]} et al., {paper.venue}{link}"
    if not full:
        return line
    meanings = field_docs(cls)
    parameters = [f"  {_parameter(p)}\n      {meanings.get(p.name, '')}" for p in describe(key)]
    return "\n".join([line, f"  {paper.title}", "", textwrap.indent(inspect.getdoc(cls) or "", "  "), "", *parameters])


def _parameter(parameter: Parameter) -> str:
    choices = " or ".join(map(repr, get_args(parameter.kind) if get_origin(parameter.kind) is Literal else ()))
    bounds = f" ({parameter.bounds})" if parameter.bounds else f" ({choices})" if choices else ""
    return f"{parameter.name} = {parameter.default!r}{bounds}"


def field_docs(cls: type) -> dict[str, str]:
    """The texts that stand below the fields of a class and of its bases; {} for a class whose source can't be read."""
    found: dict[str, str] = {}
    for base in reversed([one for one in cls.__mro__ if issubclass(one, Method)]):
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError):  # typed at a prompt, or made by a function
            continue
        for node, after in itertools.pairwise(getattr(definition, "body", [])):
            match node, after:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found

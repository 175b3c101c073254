"""The layout that workbench/__init__.py promises: the order of imports, sizes, and habits that a machine can check.

First the rules, as functions from a parsed file to its faults; then the package is held to them; then each rule is
shown to fail where it must, and only there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import workbench

LONGEST_FILE = 400
LONGEST_FUNCTION = 60  # lines, the docstring left out

NUMPY_SEEDED = {"BitGenerator", "Generator", "PCG64", "PCG64DXSM", "Philox", "SeedSequence", "default_rng"}
TORCH_DRAWS = {"bernoulli", "multinomial", "normal", "rand", "randint", "randn", "randperm"}
TORCH_GLOBAL = {"rand_like", "randint_like", "randn_like"}
IMPORTS_PYPLOT = ("matplotlib.pyplot", "seaborn")
HEAVY = ("torch", "torchvision", "timm")
LIGHT_LAYERS = {"config", "style", "commands"}  # what `workbench --help` needs


@dataclass(frozen=True)
class Module:
    """One file of a package, parsed."""

    package: str
    path: Path  # inside the package's folder
    source: str
    layers: tuple[str, ...]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def layer(self) -> str:
        """Name of the top-level module or package that the file belongs to; "__init__" for the root."""
        return self.path.parts[0].removesuffix(".py")

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that a `from ... import` names, dots resolved."""
        if not node.level:
            return node.module or ""
        parts = [self.package, *self.path.parts[:-1]]
        base = parts[: len(parts) - node.level + 1]
        return ".".join([*base, node.module] if node.module else base)


def modules(folder: Path, layers: tuple[str, ...]) -> list[Module]:
    """Every Python file of the package in `folder`."""
    return [
        Module(folder.name, path.relative_to(folder), path.read_text(encoding="utf-8"), layers)
        for path in sorted(folder.rglob("*.py"))
    ]


def top_level(folder: Path) -> set[str]:
    """Names of the modules and packages directly inside a package."""
    names = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
    return names - {"__init__"}


# ------------------------------------------------------------------------------------------------- walking the tree


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def walk(node: ast.AST, functions: bool = True) -> Iterator[ast.AST]:
    """All nodes below one, without the bodies of `if TYPE_CHECKING:` and, if asked, without those of functions."""
    for child in ast.iter_child_nodes(node):
        if _for_type_checkers(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from [other, *walk(other, functions)]
        elif functions or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from walk(child, functions)


def imports(module: Module, functions: bool = True) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything imported; `from a import b` gives a.b."""
    for node in walk(module.tree, functions):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{module.absolute(node)}.{alias.name}") for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain; empty for anything else."""
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return node.id if isinstance(node, ast.Name) else ""


def calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in walk(module.tree) if isinstance(node, ast.Call))


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


# ------------------------------------------------------------------------------------------------------ the rules


def order(module: Module) -> Iterator[str]:
    """A module imports only from modules to its left, and takes a name from where it lives."""
    if module.layer not in module.layers:
        return
    here = module.layers.index(module.layer)
    for line, name in [*imports(module), *_reached(module)]:
        root, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if root != module.package or not target or (target.startswith("__") and target not in module.layers):
            continue
        if target not in module.layers:
            yield f"line {line}: takes {target!r} from the package's root instead of from its module"
        elif module.layers.index(target) > here:
            yield f"line {line}: {module.layer} imports {target}, which is to its right"


def _reached(module: Module) -> Iterator[tuple[int, str]]:
    """Layers reached without an import statement: package.layer.name, import_module("package.layer")."""
    for node in walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module.package:
            yield node.lineno, dotted(node)
        if isinstance(node, ast.Call) and dotted(node.func).endswith(("import_module", "__import__")) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def file_length(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > LONGEST_FILE:
        yield f"{lines} lines, {LONGEST_FILE} at most"


def function_length(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) is not None else 0)
            if lines > LONGEST_FUNCTION:
                yield f"line {node.lineno}: {node.name} has {lines} lines, {LONGEST_FUNCTION} at most"


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def device(module: Module) -> Iterator[str]:
    """`x.cuda()` ties code to one kind of device."""
    for node in calls(module):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            yield f"line {node.lineno}: .cuda(); use .to(device)"


SEEDS_STRANGERS = ("analysis/audit.py",)
"""The audit runs anybody's callables, which draw from the global generators; it seeds these and puts them back."""


def randomness(module: Module) -> Iterator[str]:
    """No random number comes from a global or unseeded generator, but for what strangers' callables draw."""
    if str(module.path) in SEEDS_STRANGERS:
        return
    for line, name in imports(module):
        if name.startswith("random.") or (
            name.startswith("numpy.random.") and name.removeprefix("numpy.random.") not in NUMPY_SEEDED
        ):
            yield f"line {line}: imports {name}"
    for node in calls(module):
        if _global_draw(node):
            yield f"line {node.lineno}: {dotted(node.func)}() draws from a global or unseeded generator"


def _global_draw(call: ast.Call) -> bool:
    root, _, name = dotted(call.func).partition(".")
    if root == "random":
        return bool(name)
    if root in ("np", "numpy") and name.startswith("random."):
        kind = name.removeprefix("random.")
        return kind not in NUMPY_SEEDED or (kind == "default_rng" and not call.args and not call.keywords)
    if root == "torch":
        return name in TORCH_GLOBAL or (name in TORCH_DRAWS and all(k.arg != "generator" for k in call.keywords))
    return False


def pyplot(module: Module) -> Iterator[str]:
    """pyplot picks a display at import, so only functions that draw import it."""
    for line, name in imports(module, functions=False):
        if _within(name, IMPORTS_PYPLOT):
            yield f"line {line}: {name} imported at the top of the module"


def light(module: Module) -> Iterator[str]:
    """Settings and style are there at once: they never wait for torch."""
    if module.layer in LIGHT_LAYERS:
        for line, name in imports(module):
            if _within(name, HEAVY):
                yield f"line {line}: {module.layer} imports {name}"


Rule = Callable[[Module], Iterator[str]]
RULES: tuple[Rule, ...] = (order, file_length, function_length, device, randomness, pyplot, light)


# ---------------------------------------------------------------------------------------------- held to the package

PACKAGE = Path(workbench.__file__).parent
FILES = modules(PACKAGE, tuple(workbench.LAYERS))


def faults(rule: Rule, found: list[Module]) -> list[str]:
    return [f"{module.package}/{module.path}: {fault}" for module in found for fault in rule(module)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule: Rule) -> None:
    found = faults(rule, FILES)
    assert not found, "\n" + "\n".join(found)


def test_every_top_level_module_has_its_layer() -> None:
    assert len(set(workbench.LAYERS)) == len(workbench.LAYERS)
    assert top_level(PACKAGE) == set(workbench.LAYERS)


# ------------------------------------------------------------------------- each rule fails where it must, only there

LAYERS = ("config", "data", "methods", "train", "__main__")

long_body = "\n".join("    x = 1" for _ in range(LONGEST_FUNCTION - 1))
long_docstring = "    '''" + "\n" * (LONGEST_FUNCTION + 10) + "    '''"

WRONG = [  # rule, file, source
    ("order", "data.py", "from synthetic.methods import cutmix"),
    ("order", "data.py", "from synthetic import train"),
    ("order", "data.py", "import synthetic.train"),
    ("order", "data.py", "from . import train"),
    ("order", "data.py", "def f():\n    from .train import fit"),
    ("order", "data.py", "class A:\n    import synthetic.methods.cutmix as c"),
    ("order", "data.py", "import importlib\nimportlib.import_module('synthetic.train')"),
    ("order", "data.py", "import synthetic\nsynthetic.train.fit()"),
    ("order", "train.py", "from synthetic import fit"),
    ("order", "methods/cutmix.py", "from ..train import fit"),
    ("order", "methods/cutmix.py", "from .. import train"),
    ("order", "methods/__init__.py", "from synthetic.__main__ import main"),
    ("order", "data.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from synthetic.train import fit"),
    ("file_length", "data.py", "x = 1\n" * (LONGEST_FILE + 1)),
    ("function_length", "data.py", f"def f():\n    x = 1\n{long_body}"),
    (
        "function_length",
        "data.py",
        f"class A:\n    async def f(self):\n        x = 1\n{long_body.replace('  x', '      x')}",
    ),
    ("device", "data.py", "net.cuda()"),
    ("device", "methods/cutmix.py", "def f(x):\n    return x[0].cuda(non_blocking=True)"),
    ("randomness", "data.py", "np.random.rand(3)"),
    ("randomness", "data.py", "def f():\n    numpy.random.seed(0)"),
    ("randomness", "data.py", "np.random.default_rng()"),
    ("randomness", "data.py", "from numpy.random import permutation"),
    ("randomness", "data.py", "import random\nrandom.shuffle(x)"),
    ("randomness", "data.py", "from random import shuffle"),
    ("randomness", "data.py", "torch.randperm(8)"),
    ("randomness", "data.py", "torch.rand_like(x)"),
    ("pyplot", "data.py", "import matplotlib.pyplot as plt"),
    ("pyplot", "data.py", "from matplotlib import pyplot"),
    ("pyplot", "data.py", "from matplotlib.pyplot import subplots"),
    ("pyplot", "data.py", "try:\n    import seaborn\nfinally:\n    pass"),
    ("light", "config.py", "import torch"),
    ("light", "config.py", "def f():\n    from torch import nn"),
]

RIGHT = [
    ("order", "train.py", "from synthetic.methods.cutmix import CutMix\nfrom synthetic import config, data"),
    ("order", "methods/cutmix.py", "from . import base\nfrom .base import Method\nfrom ..data import load"),
    ("order", "data.py", "if TYPE_CHECKING:\n    from synthetic.train import fit"),
    ("order", "data.py", "if typing.TYPE_CHECKING:\n    from synthetic.train import fit"),
    ("order", "data.py", "import torch.utils.data\nfrom synthetic import __version__\nfrom synthetics import train"),
    ("order", "__init__.py", "from synthetic.train import fit"),
    ("order", "__main__.py", "import synthetic\nsynthetic.train.fit(synthetic.__version__)"),
    ("file_length", "data.py", "x = 1\n" * LONGEST_FILE),
    ("function_length", "data.py", f"def f():\n{long_body}"),
    ("function_length", "data.py", f"def f():\n{long_docstring}\n{long_body}"),
    ("device", "data.py", '"""never .cuda()"""\ntorch.cuda.synchronize()\nx.to("cuda")'),
    ("randomness", "data.py", "rng = np.random.Generator(np.random.Philox(0))\nrng.random(3)\ndraw.random.x()"),
    (
        "randomness",
        "data.py",
        "np.random.default_rng(0)\ntorch.randn(3, generator=g)\nfrom numpy.random import Generator",
    ),
    ("pyplot", "data.py", "import matplotlib\ndef f():\n    import matplotlib.pyplot as plt"),
    ("pyplot", "data.py", "if TYPE_CHECKING:\n    import seaborn"),
    ("light", "data.py", "import torch"),
    ("light", "config.py", "import torches\nif TYPE_CHECKING:\n    import torch"),
]


def of_rule(folder: Path, rule: str, file: str, source: str) -> list[str]:
    """Faults of a package `synthetic` of which one file has this source."""
    package = folder / "synthetic"
    for path in ("__init__.py", "config.py", "methods/__init__.py", file):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(source if path == file else "")
    return faults(globals()[rule], modules(package, LAYERS))


@pytest.mark.parametrize(("rule", "file", "source"), WRONG)
def test_rule_finds_the_fault(tmp_path: Path, rule: str, file: str, source: str) -> None:
    (fault,) = of_rule(tmp_path, rule, file, source)
    assert fault.startswith(f"synthetic/{file}: ")


@pytest.mark.parametrize(("rule", "file", "source"), RIGHT)
def test_rule_lets_right_code_pass(tmp_path: Path, rule: str, file: str, source: str) -> None:
    assert of_rule(tmp_path, rule, file, source) == []


def test_every_rule_is_proven() -> None:
    names = {rule.__name__ for rule in RULES}
    assert {rule for rule, *_ in WRONG} == names == {rule for rule, *_ in RIGHT}


def test_module_without_a_layer_is_seen(tmp_path: Path) -> None:
    of_rule(tmp_path, "order", "stray.py", "")
    (tmp_path / "synthetic" / "folder").mkdir()
    (tmp_path / "synthetic" / "folder" / "__init__.py").write_text("")
    assert top_level(tmp_path / "synthetic") == {"config", "methods", "stray", "folder"}

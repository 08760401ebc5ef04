"""Nothing that arrives can become code: what could turn it into code is not used in what runs."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose import ROOT

FOLDERS = ("app", "bootstrap", "config", "core", "routes")
RUNNING = [ROOT / "main.py", *itertools.chain.from_iterable((ROOT / part).rglob("*.py") for part in FOLDERS)]

# Formats that hold objects or programs, and what uses them.
MODULES = {"cloudpickle", "code", "codeop", "dill", "marshal", "multiprocessing", "pickle", "runpy", "shelve"}
BUILTINS = {"__import__", "compile", "eval", "exec", "input"}
CALLS = {
    "asyncio.create_subprocess_shell",
    "logging.config.dictConfig",
    "logging.config.fileConfig",
    "logging.config.listen",
    "os.popen",
    "os.system",
    "yaml.full_load",
    "yaml.load",
    "yaml.unsafe_load",
}
# These import what the project's own folders hold, at the start.
DISCOVERY = {"core/database/discovery.py", "core/routing/discovery.py"}


def suspicious(source: str, path: str = "") -> Iterator[str]:
    """What in a source could turn data into code, with its line."""
    for node in ast.walk(ast.parse(source)):
        for name in _names(node):
            root = name.partition(".")[0]
            imports = name.startswith("importlib") and "import" in name.removeprefix("importlib")
            if root in MODULES or name in BUILTINS | CALLS or (imports and path not in DISCOVERY):
                yield f"{path}:{getattr(node, 'lineno', 0)}: {name}"


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call):
        yield ast.unparse(node.func)
        yield from ("shell=True" for keyword in node.keywords if keyword.arg == "shell")


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_makes_code_of_data(path: Path) -> None:
    """No pickle, no eval, no import by a name that came from outside, no shell."""
    assert [] == list(suspicious(path.read_text(), path.relative_to(ROOT).as_posix()))


def test_the_sources_are_looked_through() -> None:
    """The test above looks at everything that runs."""
    assert 100 < len(RUNNING)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import multiprocessing.pool",
        "eval(payload)",
        "def f(): return exec(payload)",
        "importlib.import_module(name)",
        "from importlib import import_module",
        "__import__(name)",
        "import yaml\nyaml.load(text)",
        "os.system(command)",
        "asyncio.create_subprocess_shell(command)",
    ],
)
def test_the_search_finds(source: str) -> None:
    """Each of them would be noticed."""
    assert list(suspicious(source))


@pytest.mark.parametrize("source", ["import re\nre.compile(text)", "json.loads(text)", "yaml.safe_load(text)"])
def test_the_search_leaves_alone(source: str) -> None:
    """What only resembles them is fine."""
    assert [] == list(suspicious(source))

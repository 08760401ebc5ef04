"""The Python snippets of ``docs/**/*.md`` run as they are printed.

The snippets of one file run in order, in one namespace, in a process of their own inside a copy of
the application. A snippet whose first line is ``# some/file.py`` is stored there and imported.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKELETON = ("app", "bootstrap", "config", "core", "routes", "main.py")

RUN = """
import importlib, json, pathlib, re, sys

document, fences = sys.argv[1], json.load(sys.stdin)
sys.path.insert(0, "")
namespace = {"__name__": "__main__"}
for line, code in fences:
    stored = re.match(r"# ([\\w/]+)\\.py\\n", code)
    if stored is None:
        exec(compile("\\n" * (line - 1) + code, document, "exec"), namespace)
        continue
    path = pathlib.Path(stored[1] + ".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    importlib.import_module(stored[1].replace("/", "."))
"""


class Fence(NamedTuple):
    """A fenced block: what follows the opening backticks, the line of its first code, and the code."""

    language: str
    line: int
    code: str


def fences_of(text: str) -> list[Fence]:
    """Read the fenced blocks of a Markdown text."""
    fences: list[Fence] = []
    language, start, block = "", 0, None
    for number, line in enumerate(text.splitlines(), start=1):
        if block is None and line.startswith("```"):
            language, start, block = line[3:].strip(), number + 1, []
        elif block is not None and line.rstrip() == "```":
            fences.append(Fence(language, start, "".join(f"{code}\n" for code in block)))
            block = None
        elif block is not None:
            block.append(line)
    if block is not None:
        raise ValueError(f"the fence of line {start - 1} is never closed")
    return fences


def python_fences(text: str) -> list[Fence]:
    """Those blocks that are Python; an info string such as ``python no-run`` is not allowed."""
    fences = [fence for fence in fences_of(text) if fence.language.startswith(("py", "Py"))]
    for fence in fences:
        if fence.language != "python":
            raise ValueError(f"line {fence.line - 1}: write ```python, not ```{fence.language}")
    return fences


def run(name: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the snippets of a document in a copy of the application."""
    for part in SKELETON:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, name],
        input=json.dumps([(fence.line, fence.code) for fence in python_fences(text)]),
        cwd=folder,
        # No setting of this machine may decide whether a snippet runs.
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


DOCUMENTS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "```py" in path.read_text().lower()]
# These talk to a server; tests/integration/database/around/test_recipes.py has one.
WITH_SERVERS = {ROOT / "docs" / "database" / "pgbouncer.md"}


@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if path not in WITH_SERVERS],
    ids=lambda path: str(path.relative_to(ROOT / "docs")),
)
def test_snippets_run_as_printed(document: Path, tmp_path: Path) -> None:
    """Whoever copies the snippets of a page, in order, gets working code."""
    result = run(str(document), document.read_text(), tmp_path)
    assert (0, "") == (result.returncode, result.stderr)


def test_the_pages_on_code_have_snippets() -> None:
    """The pages that explain code are among those that run."""
    names = {str(path.relative_to(ROOT / "docs")) for path in DOCUMENTS}
    assert {"routing.md", "controllers.md", "middleware.md", "database/queries.md"} <= names


# --- the runner itself ---

GOOD = """# Title

```python
# routes/extra.py
VALUE = 7
```

```sh
exit 1
```

```python
from routes.extra import VALUE
```

```python
assert VALUE == {expected}
```
"""


def test_stored_snippets_are_imported_and_others_share_a_namespace(tmp_path: Path) -> None:
    """A page that is right passes; other languages are left alone."""
    result = run("page.md", GOOD.format(expected=7), tmp_path)
    assert (0, "") == (result.returncode, result.stderr)
    assert "# routes/extra.py\nVALUE = 7\n" == (tmp_path / "routes" / "extra.py").read_text()


def test_failing_snippet_names_its_line(tmp_path: Path) -> None:
    """A page that is wrong fails, with the line of the page in the traceback."""
    result = run("page.md", GOOD.format(expected=8), tmp_path)
    assert 1 == result.returncode
    assert 'File "page.md", line 17' in result.stderr


@pytest.mark.parametrize("language", ["python no-run", "py", "Python", "python3"])
def test_python_that_would_not_run_is_refused(language: str) -> None:
    """No fence may look like Python and be left out."""
    with pytest.raises(ValueError, match=f"line 1: write ```python, not ```{language}"):
        python_fences(f"```{language}\n1\n```\n")


def test_open_fence_is_refused() -> None:
    """A fence that is never closed would swallow the rest of its page."""
    with pytest.raises(ValueError, match="the fence of line 2 is never closed"):
        fences_of("text\n```python\n1\n")

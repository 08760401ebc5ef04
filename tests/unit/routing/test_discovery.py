"""Finding route files."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.exceptions import PatternError, RouteFileError
from core.routing.discovery import discover

HEADER = "from core.router import Router\nrouter = Router()\nasync def action(): ...\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write route files into a package of their own; the package is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "some_routes"
    folder.mkdir()

    def write_files(**files: str) -> Path:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return folder

    yield write_files
    for name in [name for name in sys.modules if name.split(".")[0] == "some_routes"]:
        del sys.modules[name]


def test_files_are_joined_in_name_order(write: Write) -> None:
    """Routes run in the order of their files' names; files that begin with '_' are left out."""
    folder = write(
        moth=HEADER + "router.on('m', action)",
        zebra=HEADER + "router.on('z', action)",
        apple=HEADER + "router.on('a', action)\nrouter.on('b', action)",
        koala=HEADER + "router.on('k', action)",
        _private="raise RuntimeError('not for import')",
        __init__="",
    )
    routes = discover(folder, "some_routes").routes
    assert ["a", "b", "k", "m", "z"] == [route.pattern.text for route in routes]
    assert ["apple.py", "apple.py", "koala.py", "moth.py", "zebra.py"] == [
        Path(route.source.file).name for route in routes
    ]


def test_file_without_routes_is_no_mistake_beside_others(write: Write) -> None:
    """A router may still be empty."""
    folder = write(a=HEADER, b=HEADER + "router.on('b', action)")
    assert 1 == len(discover(folder, "some_routes").routes)


@pytest.mark.parametrize(
    ("files", "name", "reason"),
    [
        ((), "", "there is no route file; fix: add routes/<name>.py with 'router = Router()'"),
        ((("_a", HEADER),), "", "there is no route file; fix: "),
        ((("a", HEADER),), "", "no file declares a route; fix: call router.on(pattern, action)"),
        ((("a", "x = 1"),), "a.py", "it has no 'router'; fix: write router = Router()"),
        ((("a", "router = 5"),), "a.py", "it has no 'router'; fix: write router = Router()"),
        (
            (("a", HEADER), ("b", "from some_routes.a import router")),
            "b.py",
            "whose routes would run twice; fix: write router = Router()",
        ),
        ((("not-a-name", HEADER),), "not-a-name.py", "the name cannot be imported; fix: rename it"),
    ],
)
def test_folder_that_cannot_be_used_is_refused(
    write: Write, files: tuple[tuple[str, str], ...], name: str, reason: str
) -> None:
    """Never an empty table: each mistake names the file or folder and the fix."""
    folder = write(**dict(files))
    with pytest.raises(RouteFileError) as caught:
        discover(folder, "some_routes")
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert reason in str(caught.value)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A folder that does not exist has no route file."""
    with pytest.raises(RouteFileError, match="there is no route file"):
        discover(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_module_anywhere", ModuleNotFoundError),
        ("def broken(:", SyntaxError),
        ("1 / 0", ZeroDivisionError),
        (HEADER + "router.on('a/#/b', action)", PatternError),
    ],
)
def test_file_that_fails_to_import_stops_with_its_own_error(write: Write, text: str, error: type[Exception]) -> None:
    """The traceback of the route file itself comes out, untranslated."""
    folder = write(a=HEADER + "router.on('a', action)", b=text)
    with pytest.raises(error) as caught:
        discover(folder, "some_routes")
    files = [entry.path for entry in caught.traceback]
    assert str(folder / "b.py") in [*map(str, files), getattr(caught.value, "filename", None)]


def test_module_of_another_folder_is_refused(write: Write, tmp_path: Path) -> None:
    """A folder is never replaced silently by another one of the same import name."""
    write(a=HEADER + "router.on('a', action)")
    other = tmp_path / "other" / "some_routes"
    other.mkdir(parents=True)
    (other / "a.py").write_text(HEADER)
    with pytest.raises(RouteFileError, match=r"'import some_routes.a' finds .* instead; fix: start in the folder"):
        discover(other, "some_routes")

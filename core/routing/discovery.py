"""Finding the route files."""

import importlib
from pathlib import Path

from core.exceptions import RouteFileError
from core.router import Router

__all__ = ["discover"]


def discover(folder: Path, package: str = "routes") -> Router:
    """Import every route file of a folder in name order and join their routers.

    Args:
        folder: Holds ``*.py`` files, each with a ``router``; names beginning with ``_`` are left out.
        package: The folder's import name.

    Returns:
        One router with the routes of all files.

    Raises:
        RouteFileError: There is no folder, no route file or no route, or a file has no ``router``
            of its own.
        RoutingError: A file declares an illegal route.
        Exception: Whatever a route file raises on import.
    """
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    if not files:
        raise RouteFileError(f"{folder}: there is no route file; fix: add routes/<name>.py with 'router = Router()'")
    root = Router()
    owners: dict[int, Path] = {}
    for path in files:
        router = _load(path, f"{package}.{path.stem}")
        owner = owners.setdefault(id(router), path)
        if owner is not path:
            raise RouteFileError(
                f"{path}: its 'router' is that of {owner}, whose routes would run twice; fix: write router = Router()"
            )
        root.include(router)
    if not root.routes:
        raise RouteFileError(f"{folder}: no file declares a route; fix: call router.on(pattern, action)")
    return root


def _load(path: Path, name: str) -> Router:
    if not path.stem.isidentifier():
        raise RouteFileError(f"{path}: the name cannot be imported; fix: rename it with letters, digits and '_'")
    # An error of the file itself is not translated: its own traceback is the best message.
    module = importlib.import_module(name)
    if module.__file__ is None or not path.samefile(module.__file__):
        raise RouteFileError(
            f"{path}: 'import {name}' finds {module.__file__} instead; "
            f"fix: start in the folder that holds the right '{path.parent.name}'"
        )
    router = getattr(module, "router", None)
    if not isinstance(router, Router):
        raise RouteFileError(f"{path}: it has no 'router'; fix: write router = Router()")
    return router

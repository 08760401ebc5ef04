"""Find the servers' executables, also where a distribution keeps them off the PATH."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/homebrew/sbin")


class ServerMissing(RuntimeError):
    """An executable that a private server needs is not installed."""


def find(name: str) -> str:
    """Return the path of an executable; raise `ServerMissing`, which says how to get it."""
    path = shutil.which(name, path=search_path())
    if path is None:
        raise ServerMissing(f"{name} is not installed; `make servers` installs it on Debian and Ubuntu")
    return path


def search_path() -> str:
    """Return a PATH on which all the servers' executables are."""
    return os.pathsep.join([*_postgresql_folders(), os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def missing(names: Iterable[str]) -> str | None:
    """Return why a server of these executables cannot run here, or None when it can."""
    try:
        for name in names:
            find(name)
    except ServerMissing as reason:
        return str(reason)
    return None


def _postgresql_folders() -> list[str]:
    """Debian keeps PostgreSQL's programs off the PATH, one folder per version; all must come from one, the newest."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(folder) for folder in sorted(versions, key=_version, reverse=True)]


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())

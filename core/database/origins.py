"""Where an instance came from: rows of further databases know its name, to load the rest of themselves there."""

from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from sqlalchemy import inspect

__all__ = ["ORIGIN", "note_origin", "noted", "origin_of"]

T = TypeVar("T")

#: In ``info`` of sessions and of instances: the name, for instances may be pickled.
ORIGIN = "mqueduct_database"


def origin_of(instance: Any) -> str | None:
    """The name of the database that an instance came from; ``None`` for the default one."""
    name: str | None = inspect(instance).info.get(ORIGIN)
    return name


def note_origin(instances: Iterable[Any], name: str) -> None:
    """Note which further database instances came from."""
    for instance in instances:
        inspect(instance).info[ORIGIN] = name


async def noted(created: Awaitable[T], name: str) -> T:
    """Note where an instance comes from once it is there."""
    instance = await created
    note_origin([instance], name)
    return instance

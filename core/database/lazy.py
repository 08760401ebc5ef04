"""Relationships and deferred columns of instances, loaded when they are asked for."""

from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import async_object_session
from sqlalchemy.orm.attributes import set_committed_value

from core.database.database import Database
from core.database.errors import translated

__all__ = ["AwaitableAttributes"]


class AwaitableAttributes:
    """The attributes of an instance, each as something to await.

    Args:
        instance: Of a mapped class, held by a session or detached from it.
        database: Gives the database that a detached instance came from.
    """

    def __init__(self, instance: Any, database: Callable[[], Database]) -> None:
        self._instance = instance
        self._database = database

    def __getattr__(self, name: str) -> Coroutine[Any, Any, Any]:
        return self._load(name)

    async def _load(self, name: str) -> Any:
        instance = self._instance
        session = async_object_session(instance)
        if session is not None:
            return await session.run_sync(lambda _: getattr(instance, name))
        state = inspect(instance)
        if name in state.dict or not state.detached or name not in state.mapper.attrs:
            return getattr(instance, name)
        # Through a second instance of the same row: this one may be in the hands of several tasks.
        async with self._database().session() as fresh:
            with translated():
                twin = await fresh.get_one(state.mapper.class_, state.identity)
                value = await fresh.run_sync(lambda _: getattr(twin, name))
        set_committed_value(instance, name, value)
        return value

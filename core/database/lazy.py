"""Relationships and deferred columns of instances, loaded when they are asked for."""

from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import async_object_session
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import DetachedInstanceError

from core.database.database import Database
from core.database.origins import origin_of
from core.exceptions import NotLoaded

__all__ = ["AdvisingAttribute", "AwaitableAttributes"]


class AdvisingAttribute(InstrumentedAttribute[Any]):
    """A mapped attribute that, read before it is loaded, says what to write instead."""

    __slots__ = ()
    inherit_cache = True

    def __get__(self, instance: object | None, owner: Any) -> Any:
        """Read the attribute; as fast as SQLAlchemy's own, for it is read everywhere.

        Raises:
            NotLoaded: It is not loaded, and loading it takes an ``await``.
        """
        if instance is None:
            return self
        loaded = instance.__dict__
        if self.key in loaded and self.impl.supports_population:
            return loaded[self.key]
        try:
            return super().__get__(instance, owner)
        except (DetachedInstanceError, MissingGreenlet) as error:
            raise NotLoaded(_advice(instance, self.key)) from error


def _advice(instance: object, name: str) -> str:
    state = inspect(instance)
    model = type(instance).__name__
    load = "selectinload" if name in state.mapper.relationships else "undefer"
    return (
        f"{model}.{name} is not loaded, and reading it from the database takes an await; fix: write "
        f"await {model.lower()}.awaitable_attrs.{name}, or load it with the rows: "
        f"select({model}).options({load}({model}.{name}))"
    )


class AwaitableAttributes:
    """The attributes of an instance, each as something to await.

    Args:
        instance: Of a mapped class, held by a session or detached from it.
        database: Gives the database of a name, that of a detached instance; of ``None`` the default one.
    """

    def __init__(self, instance: Any, database: Callable[[str | None], Database]) -> None:
        self._instance = instance
        self._database = database

    def __getattr__(self, name: str) -> Coroutine[Any, Any, Any]:
        return self._load(name)

    async def _load(self, name: str) -> Any:
        instance = self._instance
        own = async_object_session(instance)
        if own is not None:
            return await own.run_sync(lambda _: getattr(instance, name))
        state = inspect(instance)
        if name in state.dict or not state.detached or name not in state.mapper.attrs:
            return getattr(instance, name)
        # Through a second instance of the same row: this one may be in the hands of several tasks.
        async with self._database(origin_of(instance)).reading(newest=True) as session:
            twin = await session.get_one(state.mapper.class_, state.identity)
            value = await session.run_sync(lambda _: getattr(twin, name))
        set_committed_value(instance, name, value)
        return value

"""Repositories: the rows of one model, in a session that somebody else commits."""

from typing import Any, Generic, TypeVar, cast, get_args, get_origin

from sqlalchemy import ColumnExpressionArgument, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.alone import write
from core.database.errors import translated
from core.database.intents import Intent
from core.database.rows import change, check_key
from core.exceptions import ConfigurationError

__all__ = ["Repository"]

T = TypeVar("T")


class Repository(Generic[T]):
    """Reads and writes the rows of a model in one session, which is the unit of work.

    ``class DeviceRepository(Repository[Device])`` adds methods of its own; ``Repository[Device](session)`` is
    one without. Nothing is committed: that is for whoever opened the session. What is written is sent to
    the database at once, so that ids are there and errors show up where they arise.

    Args:
        session: Where everything happens.
    """

    __orig_class__: Any
    _model: type[Any] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in getattr(cls, "__orig_bases__", ()):
            if isinstance(origin := get_origin(base), type) and issubclass(origin, Repository):
                (argument,) = get_args(base)
                cls._model = None if isinstance(argument, TypeVar) else argument

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.__name__}>"

    @property
    def model(self) -> type[T]:
        """The model.

        Raises:
            ConfigurationError: The class does not say which.
        """
        model = type(self)._model
        if model is None and hasattr(self, "__orig_class__"):
            (model,) = get_args(self.__orig_class__)
        if not isinstance(model, type):
            raise ConfigurationError(
                f"{type(self).__name__} does not say whose rows it holds; fix: write Repository[Device](session), "
                "or class DeviceRepository(Repository[Device])"
            )
        return cast("type[T]", model)

    async def create(self, **fields: Any) -> T:
        """Insert a row; of a model with a natural key it may be the row that was already there.

        Raises:
            UnknownField: A name is no attribute of the model.
            InvalidValue: A column or constraint refuses a value; roll back before going on.
        """
        with translated():
            ((instance,), _) = await write(self.session, Intent(self.model, [fields]))
        return cast("T", instance)

    async def get_by_id(self, key: Any) -> T | None:
        """The row of a primary key, or ``None``; several columns as a tuple or a mapping by attribute."""
        with translated():
            return await self.session.get(self.model, check_key(self.model, key))

    async def get_all(
        self, *criteria: ColumnExpressionArgument[bool], limit: int | None = None, offset: int | None = None
    ) -> list[T]:
        """The rows that meet all criteria, in the order of their primary keys.

        Args:
            criteria: As for ``where`` of a select; none for every row.
            limit: Rows at most.
            offset: Rows to leave out before.
        """
        statement = select(self.model).where(*criteria).order_by(*inspect(self.model).primary_key)
        with translated():
            return list(await self.session.scalars(statement.limit(limit).offset(offset)))

    async def update(self, key: Any, /, **fields: Any) -> T | None:
        """Change fields of the row of a primary key.

        Returns:
            The row as it is now, or ``None`` if there is none.

        Raises:
            UnknownField: A name is no attribute of the model.
            InvalidValue: A column or constraint refuses a value.
        """
        instance = await self.get_by_id(key)
        if instance is not None:
            change(instance, fields)
            with translated():
                await self.session.flush()
        return instance

    async def delete(self, key: Any, /) -> bool:
        """Delete the row of a primary key; with SoftDeletes it is marked.

        Returns:
            Whether there was one.

        Raises:
            InvalidValue: Other rows refer to it.
        """
        instance = await self.get_by_id(key)
        if instance is None:
            return False
        with translated():
            await self.session.delete(instance)
            await self.session.flush()
        return True

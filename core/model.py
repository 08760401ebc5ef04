"""Model: the base class of all models and the facade over the one installed database."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar, cast, overload

import msgspec
from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column, relationship

from core.database.database import Database
from core.database.metadata import metadata
from core.database.types import BigId, Instant
from core.exceptions import ConfigurationError, DatabaseNotConfigured
from core.instants import now, to_instant

__all__ = ["BigId", "Instant", "Mapped", "Model", "mapped_column", "now", "relationship"]

T = TypeVar("T")

_VERBS = frozenset({"all", "cleanup", "configure", "create", "create_tables", "find", "get_session", "to_dict"})


class _Enabled:
    """Reads as whether a database is installed, on ``Model`` and on every subclass."""

    def __get__(self, _instance: object, _owner: object) -> bool:
        return Model._database is not None


class Model(AsyncAttrs, DeclarativeBase):
    """Base class of models, with every verb in two spellings.

    ``await Model.create(Device, name="a")`` and ``await Device.create(name="a")`` are the same.
    The database is installed once, on ``Model``, by ``Model.configure``; this is the one global of
    the framework.

    A subclass may declare ``__natural_key__``, the attributes (under a unique constraint) that
    identify a row to the world outside: ``create`` then returns the row that is already there.
    """

    metadata = metadata
    __mapper_args__: Mapping[str, Any] = {"eager_defaults": True}  # noqa: RUF012 - SQLAlchemy's own name
    __natural_key__: ClassVar[tuple[str, ...]] = ()

    _database: ClassVar[Database | None] = None
    _is_enabled: ClassVar[_Enabled] = _Enabled()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in vars(cls).keys() | getattr(cls, "__annotations__", {}).keys():
            if name in _VERBS:
                raise ConfigurationError(
                    f"{cls.__module__}.{cls.__name__}.{name} would hide Model.{name}(); fix: name the attribute "
                    f"otherwise and keep the column: {name}_ = mapped_column({name!r})"
                )
        super().__init_subclass__(**kwargs)
        _check_natural_key(cls)

    @classmethod
    def configure(cls, url: str, **pool: Any) -> Database:
        """Build a database and install it for all models.

        Args:
            url: SQLAlchemy URL; the async driver is filled in.
            pool: ``pool_size=10, max_overflow=20, pool_timeout=30, pool_recycle=1800,
                pool_pre_ping=True, echo=False, statement_timeout=30``; times in seconds.

        Raises:
            ConfigurationError: The URL cannot be used.
        """
        database = Database(url, **pool)
        Model.install(database)
        return database

    @staticmethod
    def install(database: Database | None) -> None:
        """Let all models use a database; ``None`` takes it away."""
        Model._database = database

    @staticmethod
    def database() -> Database:
        """The installed database.

        Raises:
            DatabaseNotConfigured: There is none.
        """
        if Model._database is None:
            raise DatabaseNotConfigured("no database is configured; fix: call Model.configure(DATABASE_URL) first")
        return Model._database

    @overload
    @classmethod
    async def create(cls, model: type[T], /, **fields: Any) -> T: ...
    @overload
    @classmethod
    async def create(cls, /, **fields: Any) -> Self: ...
    @classmethod
    async def create(cls, model: type[Any] | None = None, /, **fields: Any) -> Any:
        """Insert a row and return after its COMMIT.

        Args:
            model: The model, when called on ``Model`` itself.
            fields: Values by attribute name.

        Returns:
            A detached instance, all generated columns filled. For a model with a natural key this
            may be the row that was already there.

        Raises:
            UnknownField: A name is no attribute of the model.
            InvalidValue: A column or constraint refuses a value.
            SchemaError: The table or a column is missing in the database.
            DatabaseUnavailable: The database cannot serve now.
            DatabaseNotConfigured: No database is installed.
        """
        return await cls.database().create(cls._target(model), fields)

    @overload
    @classmethod
    async def find(cls, model: type[T], key: Any, /) -> T | None: ...
    @overload
    @classmethod
    async def find(cls, key: Any, /) -> Self | None: ...
    @classmethod
    async def find(cls, *arguments: Any) -> Any:
        """Read the row of a primary key, or ``None``; called as ``find(Device, 1)`` or ``Device.find(1)``."""
        *model, key = arguments
        return await cls.database().find(cls._target(*model), key)

    @overload
    @classmethod
    async def all(cls, model: type[T], /) -> list[T]: ...
    @overload
    @classmethod
    async def all(cls) -> list[Self]: ...
    @classmethod
    async def all(cls, model: type[Any] | None = None, /) -> Any:
        """Read every row, in the order of the primary key."""
        return await cls.database().all(cls._target(model))

    @classmethod
    async def get_session(cls) -> AsyncSession:
        """A fresh session, which the caller closes: ``async with await Model.get_session() as session``."""
        return cls.database().session()

    @classmethod
    async def create_tables(cls) -> None:
        """Create the tables of all imported models that do not exist yet."""
        await cls.database().create_tables()

    @classmethod
    async def cleanup(cls) -> None:
        """Close the installed database and take it away; does nothing without one."""
        if Model._database is not None:
            database, Model._database = Model._database, None
            await database.close()

    def to_dict(self) -> dict[str, Any]:
        """The loaded columns by attribute name, in types that JSON has; times as ISO 8601."""
        loaded = self.__dict__
        columns = [attribute.key for attribute in inspect(type(self)).column_attrs]
        return cast("dict[str, Any]", msgspec.to_builtins({key: loaded[key] for key in columns if key in loaded}))

    def __repr__(self) -> str:
        key = ", ".join(str(self.__dict__.get(column.key)) for column in inspect(type(self)).primary_key)
        return f"<{type(self).__name__} {key}>"

    @classmethod
    def _target(cls, model: type[Any] | None = None) -> type[Any]:
        target = model or cls
        if target is Model:
            raise TypeError("say which model: Model.create(Device, ...) or Device.create(...)")
        return target


def _check_natural_key(model: type[Model]) -> None:
    table = getattr(model, "__table__", None)
    if table is None or not model.__natural_key__:
        return
    columns = {model.__mapper__.columns[name].name for name in model.__natural_key__}
    unique = [{column.name for column in table.primary_key}]
    unique += [{c.name for c in constraint.columns} for constraint in table.constraints if _is_unique(constraint)]
    unique += [{c.name for c in index.columns} for index in table.indexes if index.unique]
    unique += [{column.name} for column in table.columns if column.unique]
    if columns not in unique:
        listed = ", ".join(f'"{name}"' for name in model.__natural_key__)
        raise ConfigurationError(
            f"{model.__module__}.{model.__name__}: the natural key is not unique in the database; "
            f"fix: add UniqueConstraint({listed}) to __table_args__"
        )


def _is_unique(constraint: Any) -> bool:
    return getattr(constraint, "__visit_name__", "") == "unique_constraint"


@event.listens_for(Model, "attribute_instrument", propagate=True)
def _normalise_instants(_model: type[Model], _key: str, attribute: InstrumentedAttribute[Any]) -> None:
    """Convert what is assigned to a time column at once, so that it reads back as it will be stored."""
    columns = getattr(attribute.property, "columns", ())
    if columns and isinstance(columns[0].type, Instant):
        event.listen(attribute, "set", _to_instant, retval=True, propagate=True)


def _to_instant(_target: Any, value: Any, _old: Any, _initiator: Any) -> Any:
    return value if value is None else to_instant(value)

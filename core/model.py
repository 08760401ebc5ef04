"""Model: the base class of all models and the facade over the one installed database."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Self, TypeVar, Unpack, cast, overload

import msgspec
from sqlalchemy import ColumnExpressionArgument, Double, String, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from core.database.attributes import prepare_attributes
from core.database.bound import Bound, model_of
from core.database.changes import delete_where, update_rows, update_where
from core.database.database import Database
from core.database.json import Json
from core.database.lazy import AwaitableAttributes
from core.database.metadata import metadata
from core.database.mixins import Timestamps, UUIDv7Key
from core.database.natural_keys import check_natural_key
from core.database.rows import primary_key
from core.database.soft_deletes import SoftDeletes, with_deleted
from core.database.statistics import PoolStatus
from core.database.timeseries import TimeSeries, declare
from core.database.transactions import Transaction
from core.database.types import BigId, Instant, PortableEnum
from core.database.unit_of_work import UnitOfWork
from core.database.upserts import Names, UpsertOptions
from core.database.values import is_sql
from core.exceptions import ConfigurationError, DatabaseNotConfigured
from core.instants import now, to_instant

__all__ = [
    "BigId",
    "Instant",
    "Json",
    "Mapped",
    "Model",
    "SoftDeletes",
    "TimeSeries",
    "Timestamps",
    "UUIDv7Key",
    "mapped_column",
    "now",
    "relationship",
    "to_instant",
    "with_deleted",
]

T = TypeVar("T")

Fields = Mapping[str, Any]
Rows = Sequence[Fields]
Whole = Literal[True]
Criterion = ColumnExpressionArgument[bool]

_VERBS = frozenset(
    {"all", "awaitable_attrs", "cleanup", "configure", "count", "create", "create_tables", "database", "delete"}
    | {"find", "find_by", "further_databases", "get_session", "insert", "install", "on", "pool_status", "to_dict"}
    | {"transaction", "unit_of_work", "update", "upsert"}
)


_DEFAULT = "default"


class _Enabled:
    """Reads as whether a database is installed, on ``Model`` and on every subclass."""

    def __get__(self, _instance: object, _owner: object) -> bool:
        return _DEFAULT in Model._databases


class Model(DeclarativeBase):
    """Base class of models, with every verb in two spellings.

    ``await Model.create(Device, name="a")`` and ``await Device.create(name="a")`` are the same.
    The database is installed once, on ``Model``, by ``Model.configure``, and further ones by name; this is
    the one global of the framework.

    A subclass may declare ``__natural_key__``, the attributes (under a unique constraint, never
    NULL) that identify a row to the world outside: ``create`` then returns the row already there. With
    ``__timeseries__`` its rows are kept by their time, see docs/database/time-series.md.

    Where only an annotation names a column's type, it is one that all databases keep alike:
    ``Mapped[int]`` has 64 bits, ``Mapped[float]`` is double precision (a FLOAT of MySQL is not),
    ``Mapped[datetime]`` is an ``Instant``, ``Mapped[str]`` takes 255 characters, an ``Enum`` is the text
    of its values, a dict or list is JSON.
    """

    metadata = metadata
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigId,
        float: Double(),
        str: String(255),
        datetime: Instant(),
        enum.Enum: PortableEnum,
        dict[str, Any]: MutableDict.as_mutable(Json()),
        list[Any]: MutableList.as_mutable(Json()),
    }
    __natural_key__: ClassVar[tuple[str, ...]] = ()
    __timeseries__: ClassVar[TimeSeries | None] = None

    _databases: ClassVar[dict[str, Database]] = {}
    _is_enabled: ClassVar[_Enabled] = _Enabled()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        _check_verbs(cls)
        super().__init_subclass__(**kwargs)
        check_natural_key(cls)
        declare(cls)
        if "__mapper__" in vars(cls):
            # What the database computes is read back with the INSERT: a detached instance cannot ask later.
            cls.__mapper__.eager_defaults = True

    @classmethod
    def configure(cls, url: str, **pool: Any) -> Database:
        """Build a database and install it for all models.

        Args:
            url: SQLAlchemy URL; the async driver is filled in.
            pool: ``read_url``, ``max_clock_skew`` and all fields of ``core.database.options.EngineOptions``:
                ``pool_size=10, max_overflow=20, statement_timeout=30, ...``; times in seconds.

        Raises:
            ConfigurationError: The URL cannot be used.
        """
        database = Database(url, **pool)
        Model.install(database)
        return database

    @staticmethod
    def install(database: Database | None, name: str = _DEFAULT) -> None:
        """Let models use a database; ``None`` takes it away.

        Args:
            database: Which one.
            name: What ``Model.on`` calls it; all verbs use the default one, unless they are told otherwise.
        """
        if database is None:
            Model._databases.pop(name, None)
        else:
            database.name = None if name == _DEFAULT else name
            Model._databases[name] = database

    @staticmethod
    def database() -> Database:
        """The installed database.

        Raises:
            DatabaseNotConfigured: There is none.
        """
        try:
            return Model._databases[_DEFAULT]
        except KeyError:
            raise DatabaseNotConfigured(
                "no database is configured; fix: call Model.configure(DATABASE_URL) first"
            ) from None

    @staticmethod
    def further_databases() -> Mapping[str, Database]:
        """The databases that are installed beside the default one, by name."""
        return {name: database for name, database in Model._databases.items() if name != _DEFAULT}

    @classmethod
    def on(cls, name: str) -> type[Self]:
        """The same verbs on another database: ``Model.on("archive").find(Device, 1)``, ``Device.on("archive").all()``.

        Args:
            name: As it was installed under.

        Returns:
            What has the class methods of the model. It is no class: statements are written with the model.

        Raises:
            DatabaseNotConfigured: There is no database of that name.
        """
        return cast("type[Self]", Bound(model_of(cls), Model._database_named(name)))

    @overload
    @classmethod
    async def create(cls, model: type[T], /, **fields: Any) -> T: ...
    @overload
    @classmethod
    async def create(cls, /, **fields: Any) -> Self: ...
    @classmethod
    def create(cls, model: type[Any] | None = None, /, **fields: Any) -> Any:
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
        # The coroutine itself, with nothing around it: this is the one verb that every message may use.
        return cls.database().create(cls._target(model), fields)

    @overload
    @classmethod
    async def insert(cls, model: type[Any], rows: Rows, /) -> None: ...
    @overload
    @classmethod
    async def insert(cls, rows: Rows, /) -> None: ...
    @classmethod
    async def insert(cls, *arguments: Any) -> None:
        """Insert many rows in one statement and return after COMMIT.

        Called as ``insert(SensorReading, rows)`` or ``SensorReading.insert(rows)`` with dictionaries
        of values by attribute name. Rows whose natural key is already there stay as they are.

        Raises:
            The same as ``create``; then none of the rows is in the database.
        """
        *model, rows = arguments
        await cls.database().insert(cls._target(*model), rows)

    @overload
    @classmethod
    async def upsert(cls, model: type[Any], rows: Fields | Rows, /, **how: Unpack[UpsertOptions]) -> None: ...
    @overload
    @classmethod
    async def upsert(cls, rows: Fields | Rows, /, **how: Unpack[UpsertOptions]) -> None: ...
    @overload
    @classmethod
    async def upsert(cls, model: type[T], row: Fields, /, *, returning: Whole, **how: Unpack[UpsertOptions]) -> T: ...
    @overload
    @classmethod
    async def upsert(
        cls, model: type[T], rows: Rows, /, *, returning: Whole, **how: Unpack[UpsertOptions]
    ) -> list[T]: ...
    @overload
    @classmethod
    async def upsert(cls, row: Fields, /, *, returning: Whole, **how: Unpack[UpsertOptions]) -> Self: ...
    @overload
    @classmethod
    async def upsert(cls, rows: Rows, /, *, returning: Whole, **how: Unpack[UpsertOptions]) -> list[Self]: ...
    @overload
    @classmethod
    async def upsert(
        cls, model: type[Any], row: Fields, /, *, returning: Names, **how: Unpack[UpsertOptions]
    ) -> dict[str, Any]: ...
    @overload
    @classmethod
    async def upsert(
        cls, model: type[Any], rows: Rows, /, *, returning: Names, **how: Unpack[UpsertOptions]
    ) -> list[dict[str, Any]]: ...
    @overload
    @classmethod
    async def upsert(cls, row: Fields, /, *, returning: Names, **how: Unpack[UpsertOptions]) -> dict[str, Any]: ...
    @overload
    @classmethod
    async def upsert(cls, rows: Rows, /, *, returning: Names, **how: Unpack[UpsertOptions]) -> list[dict[str, Any]]: ...
    @classmethod
    async def upsert(cls, *arguments: Any, returning: Names | bool | None = None, **how: Unpack[UpsertOptions]) -> Any:
        """Insert a row, or let the row of the same key take its fields over; return after COMMIT.

        Called as ``upsert(Device, row)`` or ``Device.upsert(row)``, with one dictionary or several.
        Fields that are not given keep their stored values.

        Args:
            arguments: The model, when called on ``Model`` itself, and the row or rows.
            returning: An attribute or several, or ``True``.
            how: ``key``, the unique attributes by which rows are known, if not by the natural key, or
                ``constraint``, the name of their constraint; ``update``, the attributes that are taken over, if not
                all; ``newer_than``, an attribute such as ``"last_seen"`` that must not go back: a row older than
                the stored one changes nothing, and a time further ahead than MAX_CLOCK_SKEW is brought back to it;
                ``on_conflict``, whether to ``"update"`` a row that is there, ``"ignore"`` the new one, or ``"error"``.

        Returns:
            With ``returning``, what is stored then, whether it was written now or not: a dictionary of the attributes,
            or a detached instance for ``True``; for several rows a list in their order.

        Raises:
            InvalidQuery: The options contradict each other, or the key is not unique in the database.
            UniqueViolation: A row is there, and that is an error; or another one has a unique value beside the key.
            The same as ``create``.
        """
        *model, rows = arguments
        return await cls.database().upsert(cls._target(*model), rows, returning=returning, **how)

    @classmethod
    def unit_of_work(cls) -> UnitOfWork:
        """Several writes that are committed together or not at all.

        ``async with Model.unit_of_work() as work: work.create(...); work.upsert(...)`` collects them and
        commits at the end of the block, in the transaction that it shares with other handlers.
        """
        return cls.database().unit_of_work()

    @overload
    @classmethod
    async def find(cls, model: type[T], key: Any, /) -> T | None: ...
    @overload
    @classmethod
    async def find(cls, key: Any, /) -> Self | None: ...
    @classmethod
    async def find(cls, first: Any, *rest: Any) -> Any:
        """Read the row of a primary key, or ``None``; called as ``find(Device, 1)`` or ``Device.find(1)``."""
        *model, key = (first, *rest)
        return await cls.database().find(cls._target(*model), key)

    @overload
    @classmethod
    async def find_by(cls, model: type[T], /, **fields: Any) -> T | None: ...
    @overload
    @classmethod
    async def find_by(cls, /, **fields: Any) -> Self | None: ...
    @classmethod
    async def find_by(cls, model: type[Any] | None = None, /, **fields: Any) -> Any:
        """Read the row whose attributes have these values, or ``None``; of several the first by primary key.

        Raises:
            UnknownField: A name is no attribute of the model.
            InvalidValue: A value cannot be that of its column.
        """
        return await cls.database().find_by(cls._target(model), fields)

    @overload
    @classmethod
    async def all(cls, model: type[T], /, *criteria: Criterion) -> list[T]: ...  # type: ignore[overload-overlap]
    @overload
    @classmethod
    async def all(cls, /, *criteria: Criterion) -> list[Self]: ...
    @classmethod
    async def all(cls, *arguments: Any) -> Any:
        """Read every row, or those that meet all criteria, in the order of the primary key.

        Called as ``all(Device)``, ``Device.all()`` or ``Device.all(Device.status == "active")``.
        """
        model, criteria = cls._split(arguments)
        return await cls.database().all(model, *criteria)

    @overload
    @classmethod
    async def count(cls, model: type[Any], /, *criteria: Criterion) -> int: ...
    @overload
    @classmethod
    async def count(cls, /, *criteria: Criterion) -> int: ...
    @classmethod
    async def count(cls, *arguments: Any) -> int:
        """Count the rows, or those that meet all criteria: ``Device.count(Device.status == "active")``."""
        model, criteria = cls._split(arguments)
        return await cls.database().count(model, *criteria)

    @classmethod
    async def update(cls, *arguments: Any, key: Any = None, **values: Any) -> int:
        """Change rows that are there, at once, and return how many were met.

        Called as ``update(Device, Device.status == "old", status="off")`` with criteria and values, or as
        ``update(Device, rows, key="device_id")`` with a dictionary for each row: one statement for a thousand.

        Args:
            arguments: The model, when called on ``Model`` itself, then criteria or rows.
            key: With rows, the attributes by which they are known; the natural key, else the primary key.
            values: With criteria, the new values by attribute name.

        Raises:
            InvalidQuery: There is no criterion; ``sqlalchemy.true()`` is one for every row.
            InvalidValue: A column or constraint refuses a value.
            UnknownField: A name is no attribute of the model.
        """
        model, rest = cls._split(arguments)
        if len(rest) == 1 and isinstance(rest[0], Iterable) and not is_sql(rest[0]) and not values:
            rows = [rest[0]] if isinstance(rest[0], Mapping) else rest[0]
            return await cls.database().change(*update_rows(model, rows, key))
        if key is not None:
            values["key"] = key
        return await cls.database().change(update_where(model, rest, values))

    @overload
    @classmethod
    async def delete(cls, model: type[Any], /, *criteria: Criterion) -> int: ...
    @overload
    @classmethod
    async def delete(cls, /, *criteria: Criterion) -> int: ...
    @classmethod
    async def delete(cls, *arguments: Any) -> int:
        """Delete the rows that meet all criteria, at once, and return how many; with SoftDeletes mark them.

        Raises:
            InvalidQuery: There is no criterion; ``sqlalchemy.true()`` is one for every row.
            InvalidValue: Other rows refer to one of them.
        """
        model, criteria = cls._split(arguments)
        return await cls.database().change(delete_where(model, criteria))

    @classmethod
    def transaction(cls, *, isolation: str | None = None, retries: int = 0) -> Transaction:
        """Have everything that is done meanwhile committed together, or not at all.

        ``async with Model.transaction() as session:`` commits at the end of the block, and takes everything
        back when it raises. All verbs take part, and so does whatever is done with the session; inside
        another transaction it is a savepoint. ``async for attempt in Model.transaction(retries=3): async
        with attempt as session: ...`` runs the block again when another transaction was in the way.

        Args:
            isolation: As the database calls it, ``"SERIALIZABLE"`` for example.
            retries: How often the block is repeated after a deadlock or serialization failure.

        Raises:
            NotSupportedError: The database has no such isolation level.
        """
        return cls.database().transaction(isolation, retries)

    @classmethod
    async def get_session(cls, *, read: bool = False) -> AsyncSession:
        """A fresh session, which the caller closes: ``async with await Model.get_session() as session``.

        One that is forgotten, or open for more than a minute, is told of in the log, with the line that
        called this.

        Args:
            read: Whether it only reads: then from the replica of ``DB_READ_URL``, if there is one, which may
                lag behind what was just written.
        """
        database = cls.database()
        session = database.session(read=read)
        database.open_sessions.add(session, depth=2)
        return session

    @classmethod
    def pool_status(cls) -> PoolStatus:
        """How many connections there are, and what they do."""
        return cls.database().pool_status()

    @classmethod
    async def create_tables(cls) -> None:
        """Create the tables of all imported models that do not exist yet."""
        await cls.database().create_tables()

    @classmethod
    async def cleanup(cls) -> None:
        """Close the installed databases and take them away; does nothing without one."""
        while Model._databases:
            _, database = Model._databases.popitem()
            await database.close()

    @property
    def awaitable_attrs(self) -> AwaitableAttributes:
        """Relationships and deferred columns to await: ``user = await device.awaitable_attrs.user``."""
        return AwaitableAttributes(self, Model._database_named)

    def to_dict(self) -> dict[str, Any]:
        """The loaded columns by attribute name, in types that JSON has.

        Times, dates and durations are ISO 8601, bytes base64, decimals and UUIDs text, enums their values.
        """
        loaded = self.__dict__
        columns = (attribute.key for attribute in inspect(type(self)).column_attrs)
        values = {key: loaded[key] for key in columns if key in loaded}
        return cast("dict[str, Any]", msgspec.to_builtins(values, enc_hook=str, str_keys=True))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(str(self.__dict__.get(key)) for key in primary_key(type(self)))}>"

    @staticmethod
    def _database_named(name: str | None) -> Database:
        if name is None:
            return Model.database()
        if name not in Model._databases:
            known = ", ".join(sorted(Model._databases)) or "none"
            raise DatabaseNotConfigured(
                f"no database {name!r} is configured (but {known}); fix: add it to DB_URLS, or call "
                f"Model.install(Database(url), {name!r}) first"
            )
        return Model._databases[name]

    @classmethod
    def _split(cls, arguments: Sequence[Any]) -> tuple[type[Any], Sequence[Any]]:
        """The model, which is named where a verb is called on ``Model`` itself, and the other arguments."""
        if arguments and isinstance(arguments[0], (type, Bound)):
            return cls._target(arguments[0]), arguments[1:]
        return cls._target(), arguments

    @classmethod
    def _target(cls, model: Any = None) -> type[Any]:
        target: type[Any] = model_of(model or cls)
        if target is Model:
            raise TypeError("say which model: Model.create(Device, ...) or Device.create(...)")
        if "__mapper__" not in getattr(target, "__dict__", ()):
            raise TypeError(f"{target!r} maps no table")
        return target


def _check_verbs(model: type[Model]) -> None:
    """Refuse attributes, also those of a mixin, that would hide a verb."""
    own = [base for base in model.__mro__ if not issubclass(Model, base)]
    for name in {name for base in own for name in vars(base).keys() | getattr(base, "__annotations__", {}).keys()}:
        if name in _VERBS:
            raise ConfigurationError(
                f"{model.__module__}.{model.__name__}.{name} would hide Model.{name}(); fix: name the attribute "
                f"otherwise and keep the column: {name}_ = mapped_column({name!r})"
            )


prepare_attributes(Model)

"""Shapes: for each model and set of fields, computed once, how rows are built, bound and read back."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Dialect, Table, inspect
from sqlalchemy.orm import Mapper

from core.database.atoms import Row
from core.database.bulk import (
    PLAIN_TYPES,
    READABLE_TYPES,
    is_generated,
    other_unique_sets,
    plainly_constructed,
    same_at_insert_and_update,
    travels_plain,
)
from core.database.columns import binds_of, column_check, mapped_columns, reads_of
from core.database.rows import check_names, default_maker, natural_key, primary_key
from core.database.values import is_sql, longest_text, normaliser, refusal
from core.exceptions import InvalidValue
from core.instants import now

__all__ = ["UNFIT", "ComputedBySQL", "Shape", "Shapes"]

#: What types raise on values of another type.
UNFIT = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


class ComputedBySQL(Exception):
    """A row has a value that only the database can compute."""


class Shape:
    """How rows of one model with one set of given fields become statements and instances.

    Attributes:
        model: The mapped class.
        table: Its table.
        attributes: The attributes that every row has a value for, in the order of the columns.
        columns: Their columns.
        given: The attributes that the caller named; the others have Python defaults.
        key: The attributes by which a row is known: the natural key, another unique one, or nothing.
        generated: The attributes that the database fills in; first the id that it counts up.
        bulk: Whether rows can be written many at a time; if not, they go one by one through SQLAlchemy.
    """

    def __init__(self, model: type[Any], given: Sequence[str], dialect: Dialect, key: tuple[str, ...]) -> None:
        mapper: Mapper[Any] = inspect(model)
        plain = plainly_constructed(mapper)
        if plain:
            # A constructor of the model's own may take other names.
            check_names(model, given)
        by_attribute = mapped_columns(mapper)
        self.model = model
        self.table: Table = mapper.local_table  # type: ignore[assignment]  # models map tables, nothing else
        self.given = frozenset(given)
        self.key = key
        defaults = {
            name: maker
            for name, column in by_attribute.items()
            if name not in self.given and (maker := default_maker(column)) is not None
        }
        self.attributes = tuple(name for name in by_attribute if name in self.given or name in defaults)
        self.columns = tuple(by_attribute[name] for name in self.attributes)
        self._constants = {
            name: maker() for name, maker in defaults.items() if getattr(by_attribute[name].default, "is_scalar", False)
        }
        varying = [(name, maker) for name, maker in defaults.items() if name not in self._constants]
        self._defaults = tuple((name, maker) for name, maker in varying if maker is not now)
        # What is to be the present time is the same instant in all columns of a row.
        self._present = tuple(name for name, maker in defaults.items() if maker is now)
        self._normalise = tuple(
            (name, longest_text(by_attribute[name]), normaliser(by_attribute[name]) or _no_sql)
            for name in self.attributes
            if name in self.given
        )
        self._checks = tuple((name, column_check(by_attribute[name], check)) for name, _, check in self._normalise)
        self._bound: Callable[[dict[str, Any]], Any] = _tuple_getter(self.attributes)
        self._binds = binds_of(self.columns, dialect)
        counted = self.table.autoincrement_column
        generated = [
            name for name, column in by_attribute.items() if name not in self.attributes and is_generated(column)
        ]
        self.generated = tuple(sorted(generated, key=lambda name: by_attribute[name] is not counted))
        others = [column for name, column in by_attribute.items() if name not in self.attributes]
        self.bulk = (
            plain
            and bool(self.attributes)
            and self.given <= by_attribute.keys()
            and all(travels_plain(column, PLAIN_TYPES) for column in self.columns)
            and all(travels_plain(by_attribute[name], READABLE_TYPES) for name in generated)
            # Several rows' generated values are told apart by their ids.
            and (not generated or by_attribute[self.generated[0]] is counted)
            and set(self.key) <= set(self.attributes)
            and not any(column.default is not None or column.computed is not None for column in others)
        )
        followers = [column for name, column in by_attribute.items() if name not in self.given and column.onupdate]
        #: Whether an existing row can be changed in bulk too: one value must do for both.
        self.bulk_upsert = self.bulk and all(same_at_insert_and_update(column) for column in followers)
        #: In which columns a row can collide with another one, beside its key.
        self.other_unique = other_unique_sets(self.table, {by_attribute[name] for name in self.key}, set(self.columns))
        #: Whether a row may be the parent of another one in the same statement.
        self.refers_to_itself = any(reference.references(self.table) for reference in self.table.foreign_keys)
        self.primary_key = primary_key(model)
        self._by_attribute = by_attribute
        #: Parents come before children, and two writers meet tables in the same order.
        self.position = [table.key for table in self.table.metadata.sorted_tables].index(self.table.key)
        self._identity: Callable[[dict[str, Any]], Any] = _tuple_getter(self.primary_key)
        self._absent = tuple(n for n, c in by_attribute.items() if n not in self.attributes and n not in generated)
        positions = [self.attributes.index(name) for name in self.key if name in self.attributes]
        self._key: Callable[[tuple[Any, ...]], Any] = _tuple_getter(positions)
        self._reads = reads_of(self.generated if self.bulk else (), by_attribute, dialect)
        self._manager = mapper.class_manager
        self._identity_class = mapper.class_

    def __repr__(self) -> str:
        return f"<Shape {self.model.__name__} {', '.join(self.attributes)}{' bulk' if self.bulk else ''}>"

    def row(self, fields: dict[str, Any]) -> Row:
        """Build a row.

        Args:
            fields: Exactly the given fields; taken over and completed.

        Raises:
            InvalidValue: A value does not fit its column; the message does not repeat it.
            ComputedBySQL: A value is an SQL expression, which bulk statements cannot carry.
        """
        for name, longest, normalise in self._normalise:
            value = fields[name]
            if type(value) is str and len(value) <= longest and value.isascii() and "\0" not in value:
                continue  # what most text is; seen without a call
            if value is not None:
                try:
                    fields[name] = normalise(value)
                except ValueError as error:
                    raise self._refusal(name, value, error) from error
        for name, default in self._defaults:
            fields[name] = default()
        fields |= self._alike()
        bound = self._bound(fields)
        if self._binds:
            values = list(bound)
            for index, bind in self._binds:
                try:
                    values[index] = bind(values[index])
                except UNFIT as error:
                    name = self.attributes[index]
                    kind = type(fields[name]).__name__
                    raise InvalidValue(f"{self.model.__name__}.{name}: cannot store this {kind}") from error
            bound = tuple(values)
        return Row(self, fields, bound)

    def rows(self, listed: Sequence[dict[str, Any]]) -> list[Row]:
        """Build many rows at once, in a fraction of the time.

        Args:
            listed: Exactly the given fields of each row; taken over and completed, whatever happens.

        Raises:
            ValueError, TypeError, ...: ``row`` refuses one of them, too, and says which value.
        """
        for name, check in self._checks:
            values = [fields[name] for fields in listed]
            checked = check(values)
            if checked is not values:
                for fields, value in zip(listed, checked, strict=True):
                    fields[name] = value
        for name, default in self._defaults:
            for fields in listed:
                fields[name] = default()
        if alike := self._alike():
            for fields in listed:
                fields.update(alike)
        bound = [self._bound(fields) for fields in listed]
        if self._binds:
            columns: list[Sequence[Any]] = list(zip(*bound, strict=True))
            for position, bind in self._binds:
                column = columns[position]
                one = self.attributes[position] in alike
                columns[position] = [bind(column[0])] * len(column) if one else [bind(value) for value in column]
            bound = list(zip(*columns, strict=True))
        return [Row(self, fields, values) for fields, values in zip(listed, bound, strict=True)]

    def _alike(self) -> dict[str, Any]:
        """The defaults that rows which are built at one time have in common."""
        return self._constants | dict.fromkeys(self._present, now()) if self._present else self._constants

    def _refusal(self, name: str, value: Any, error: ValueError) -> Exception:
        if is_sql(value):
            return ComputedBySQL(name)
        return refusal(self.model, name, self._by_attribute[name].name, error)

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """The key of a row in the driver's values, which can be compared and sorted."""
        return self._key(row.bound)  # type: ignore[no-any-return]

    def taken(self, update: AbstractSet[str] | None) -> AbstractSet[str]:
        """The given attributes that an upsert is to change in an existing row.

        Args:
            update: The attributes that are chosen, without the key; ``None`` for all that are given.
        """
        return self.given if update is None else self.given & update

    def changed(self, update: AbstractSet[str] | None = None) -> list[Column[Any]]:
        """The columns that an upsert changes in an existing row: those taken over, and those that follow every change.

        Args:
            update: As for ``taken``.
        """
        taken = self.taken(update)
        if not taken:
            return []
        return [
            column
            for name, column in zip(self.attributes, self.columns, strict=True)
            if name not in self.key and (name in taken or (name not in self.given and column.onupdate is not None))
        ]

    def column(self, attribute: str) -> Column[Any]:
        """The column of an attribute."""
        return self._by_attribute[attribute]

    def instance(self, row: Row) -> Any:
        """Build the detached instance of a committed row without running its constructor."""
        values = row.values
        if len(self.generated) == 1:
            values[self.generated[0]] = row.generated[0]  # of one id, as most have it; zip takes ten times as long
        else:
            values.update(zip(self.generated, row.generated, strict=True))
        for name, read in self._reads:
            values[name] = read(values[name])
        for name in self._absent:
            values[name] = None
        return self.detached(values)

    def detached(self, values: dict[str, Any]) -> Any:
        """Build a detached instance of what is stored, without running its constructor.

        Args:
            values: By attribute name, the primary key among them.
        """
        instance = self._manager.new_instance()
        instance.__dict__.update(values)
        state = instance._sa_instance_state
        state.key = (self._identity_class, self._identity(values), None)
        if self._manager.dispatch.load:
            # Extensions of SQLAlchemy, such as the one that tracks changes of JSON, wait for it.
            self._manager.dispatch.load(state, None)
        return instance


class Shapes:
    """All shapes that a database has met; a service has as many as its code has kinds of writes.

    Args:
        dialect: Of the database.
        bulk: Whether rows may be written many at a time; otherwise all go one by one through SQLAlchemy.
    """

    def __init__(self, dialect: Dialect, *, bulk: bool = True) -> None:
        self._dialect = dialect
        self._bulk = bulk
        self._shapes: dict[tuple[type[Any], tuple[str, ...], tuple[str, ...] | None], Shape] = {}

    def of(self, model: type[Any], fields: Mapping[str, Any], key: tuple[str, ...] | None = None) -> Shape:
        """The shape of rows of a model with these fields.

        Args:
            model: A mapped class.
            fields: Their names are what counts.
            key: The attributes by which rows are known; ``None`` for the natural key.

        Raises:
            UnknownField: A name is no attribute of the model.
        """
        names = tuple(fields)
        shape = self._shapes.get((model, names, key))
        if shape is None:
            # The same fields in another order are the same shape, so that they share a statement.
            canonical = tuple(sorted(names))
            known_by = natural_key(model) if key is None else key
            shape = self._shapes.get((model, canonical, known_by)) or self._shape(model, canonical, known_by)
            self._shapes[model, names, key] = self._shapes[model, canonical, known_by] = shape
        return shape

    def _shape(self, model: type[Any], names: Sequence[str], key: tuple[str, ...]) -> Shape:
        shape = Shape(model, names, self._dialect, key)
        if not self._bulk:
            shape.bulk = shape.bulk_upsert = False
        return shape


def _no_sql(value: Any) -> Any:
    if is_sql(value):
        raise ValueError("is an SQL expression")
    return value


def _tuple_getter(places: Sequence[Any]) -> Callable[[Any], Any]:
    if len(places) > 1:
        return itemgetter(*places)
    if not places:
        return lambda _: ()
    (place,) = places
    return lambda values: (values[place],)

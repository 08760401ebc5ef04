"""Which models and columns bulk statements can carry; the others go row by row through SQLAlchemy."""

from typing import Any

from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import Mapper

from core.database.rows import default_maker

__all__ = [
    "PLAIN_TYPES",
    "READABLE_TYPES",
    "is_generated",
    "other_unique_sets",
    "plainly_constructed",
    "same_at_insert_and_update",
    "travels_plain",
]

# Types whose values every driver takes as parameters.
PLAIN_TYPES = (
    sqltypes.String,
    sqltypes.Integer,
    sqltypes.Float,
    sqltypes.Numeric,
    sqltypes.Boolean,
    sqltypes.DateTime,
    sqltypes.Date,
    sqltypes.Time,
    sqltypes.LargeBinary,
    sqltypes.Uuid,
    sqltypes.JSON,
)

# Types of generated values that can be read without asking the driver for their kind.
READABLE_TYPES = (
    sqltypes.String,
    sqltypes.Integer,
    sqltypes.Boolean,
    sqltypes.DateTime,
    sqltypes.Date,
    sqltypes.Uuid,
)


def plainly_constructed(mapper: Mapper[Any]) -> bool:
    """Whether building an instance runs no code of the user's."""
    constructor = mapper.class_manager.original_init
    plain = getattr(constructor, "__module__", "").startswith("sqlalchemy.")
    single_table = mapper.local_table is mapper.persist_selectable and mapper.polymorphic_on is None
    events = any(mapper.dispatch.before_insert) or any(mapper.dispatch.after_insert)
    return plain and single_table and not mapper.validators and not events and mapper.version_id_col is None


def travels_plain(column: Column[Any], kinds: tuple[type[Any], ...]) -> bool:
    """Whether values of a column travel as parameters without any SQL around them."""
    kind = column.type
    implementation = kind.impl_instance if isinstance(kind, sqltypes.TypeDecorator) else kind
    return isinstance(implementation, kinds) and not kind._has_bind_expression


def is_generated(column: Column[Any]) -> bool:
    """Whether the database fills a column in where a row brings no value for it."""
    return column.table.autoincrement_column is column or column.server_default is not None


def same_at_insert_and_update(column: Column[Any]) -> bool:
    """Whether a column's Python default is also its value after a change, such as the time of the change."""
    if column.default is None or column.onupdate is None or default_maker(column) is None:
        return False
    default, onupdate = (getattr(each, "arg", each) for each in (column.default, column.onupdate))
    # SQLAlchemy wraps every callable anew.
    return bool(getattr(default, "__wrapped__", default) == getattr(onupdate, "__wrapped__", onupdate))


def other_unique_sets(table: Table, key: set[Column[Any]], written: set[Column[Any]]) -> tuple[tuple[str, ...], ...]:
    """The columns in which a row can collide with another one, beside those of its key.

    Args:
        table: The table.
        key: The columns of the key.
        written: The columns that rows bring along; a primary key that is counted up collides with nothing.
    """
    unique = [tuple(each.columns) for each in table.constraints if isinstance(each, UniqueConstraint)]
    unique += [tuple(index.columns) for index in table.indexes if index.unique]
    unique += [tuple(table.primary_key.columns)] if written & set(table.primary_key.columns) else []
    return tuple(tuple(column.name for column in columns) for columns in unique if set(columns) != key)

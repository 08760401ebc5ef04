"""What a natural key must be, so that a redelivery can never become a second row; and what else is unique."""

from typing import Any

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from core.exceptions import ConfigurationError

__all__ = ["check_natural_key", "constraint_columns", "unique_sets"]


def check_natural_key(model: type[Any]) -> None:
    """Make sure that the database itself keeps a model's natural key unique.

    Args:
        model: A class with ``__natural_key__``; one without a table, or with an empty key, is fine.

    Raises:
        ConfigurationError: The key is no tuple of column attributes, may be NULL, or is not unique.
    """
    key = model.__natural_key__
    table = getattr(model, "__table__", None)
    if table is None or not key:
        return
    columns = _columns(model, key)
    nullable = [column.key for column in columns if column.nullable]
    if nullable:
        raise _error(
            model,
            f"{', '.join(nullable)} may be NULL, and no two NULLs are equal",
            'declare nullable=False, with default="" where it may be left out',
        )
    if {column.name for column in columns} not in unique_sets(table):
        listed = ", ".join(f'"{column.name}"' for column in columns)
        raise _error(model, "it is not unique in the database", f"add UniqueConstraint({listed}) to __table_args__")


def _columns(model: type[Any], key: Any) -> list[Column[Any]]:
    if isinstance(key, str):
        raise _error(model, "it is a text", f'write __natural_key__ = ("{key}",)')
    # Not column_attrs, which would configure the relationships, to models that may not exist yet.
    known = dict(model.__mapper__.columns.items())
    unknown = [str(name) for name in key if name not in known]
    if unknown:
        raise _error(model, f"{', '.join(unknown)} is no column of it", f"name attributes: {', '.join(known)}")
    return [known[name] for name in key]


def unique_sets(table: Table) -> list[set[str]]:
    """The sets of column names that the database keeps unique over all rows of a table."""
    return [{column.name for column in each.columns} for each in _unique(table)]


def constraint_columns(table: Table) -> dict[str, list[Column[Any]]]:
    """The columns of each unique constraint, unique index and primary key that has a name, by that."""
    return {each.name: list(each.columns) for each in _unique(table) if isinstance(each.name, str)}


def _unique(table: Table) -> list[PrimaryKeyConstraint | UniqueConstraint | Index]:
    constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    return [table.primary_key, *constraints, *filter(_is_plain, table.indexes)]


def _is_plain(index: Index) -> bool:
    """Whether an index is unique over whole columns of all rows, not over some rows, prefixes or expressions."""
    partial = any(name.endswith(("_where", "_length")) for name in index.kwargs)
    return index.unique and not partial and all(isinstance(each, Column) for each in index.expressions)


def _error(model: type[Any], problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(f"{model.__module__}.{model.__name__}: __natural_key__: {problem}; fix: {fix}")

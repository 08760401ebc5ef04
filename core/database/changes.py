"""Statements that change or delete rows which are there already."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from sqlalchemy import ColumnExpressionArgument, Delete, Update, and_, case, delete, literal, tuple_, update

from core.database.rows import checked, named, natural_key, primary_key
from core.database.values import is_sql
from core.exceptions import InvalidQuery, InvalidValue

__all__ = ["delete_where", "update_rows", "update_where"]

Criteria = Sequence[ColumnExpressionArgument[bool]]

# Of one statement: the drivers take no more parameters, and what is compared grows with the square of the rows.
_MOST_PARAMETERS = 30_000
_MOST_ROWS = 1_000


def update_where(model: type[Any], criteria: Criteria, values: Mapping[str, Any]) -> Update:
    """Change the rows that meet all criteria.

    Raises:
        InvalidQuery: There is no criterion, or nothing to change.
        UnknownField: A name is no attribute of the model.
        InvalidValue: A value does not fit its column.
    """
    _some(model, criteria, "change")
    if not values:
        raise InvalidQuery(f"what of {model.__name__} is to be changed? fix: name the values, as in status='off'")
    return update(model).where(*criteria).values(checked(model, values))


def delete_where(model: type[Any], criteria: Criteria) -> Delete:
    """Delete the rows that meet all criteria; with SoftDeletes they are marked.

    Raises:
        InvalidQuery: There is no criterion.
    """
    _some(model, criteria, "delete")
    return delete(model).where(*criteria)


def update_rows(
    model: type[Any], rows: Iterable[Mapping[str, Any]], key: str | Sequence[str] | None
) -> Iterator[Update]:
    """Change many rows, each to values of its own, with one statement for every thousand of them.

    Args:
        model: A mapped class.
        rows: The key and the new values of each row, by attribute name; a later row of the same key wins.
        key: The attributes by which rows are known; the natural key, or else the primary key, if not given.

    Raises:
        InvalidQuery: The model has no key, there is nothing to change, or a value is an SQL expression.
        InvalidValue: A row lacks part of the key, or a value does not fit its column.
        UnknownField: A name is no attribute of the model.
    """
    names = _key(model, key)
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        values = checked(model, row)
        _refuse_sql(model, values)
        missing = [name for name in names if values.get(name) is None]
        if missing:
            raise InvalidValue(f"{model.__name__}: an update needs {', '.join(missing)} in every row")
        found = merged.setdefault(tuple(values.pop(name) for name in names), {})
        found.update(values)
    changes = {known: values for known, values in merged.items() if values}
    if merged and not changes:
        raise InvalidQuery(f"the rows of {model.__name__} name nothing but their key, so that nothing is changed")
    for part in _parts(changes, len(names)):
        yield _statement(model, names, part)


def _key(model: type[Any], key: str | Sequence[str] | None) -> tuple[str, ...]:
    if key is not None:
        return named(model, key)
    return natural_key(model) or primary_key(model)


def _parts(
    changes: Mapping[tuple[Any, ...], dict[str, Any]], width: int
) -> Iterator[dict[tuple[Any, ...], dict[str, Any]]]:
    part: dict[tuple[Any, ...], dict[str, Any]] = {}
    parameters = 0
    # In the order of their keys, so that two writers cannot wait for each other.
    for known in sorted(changes, key=_sortable):
        needed = width + len(changes[known]) * (width + 1)
        if part and (len(part) == _MOST_ROWS or parameters + needed > _MOST_PARAMETERS):
            yield part
            part, parameters = {}, 0
        part[known] = changes[known]
        parameters += needed
    if part:
        yield part


def _sortable(known: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.name if isinstance(value, Enum) else value for value in known)


def _refuse_sql(model: type[Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if is_sql(value):
            raise InvalidQuery(
                f"{model.__name__}.{name} is an SQL expression, which rows cannot have; fix: update by criteria, "
                f"update({model.__name__}, ..., {name}=...), which takes them"
            )


def _statement(model: type[Any], names: Sequence[str], part: Mapping[tuple[Any, ...], Mapping[str, Any]]) -> Update:
    columns = [getattr(model, name) for name in names]

    def known_by(key: tuple[Any, ...]) -> Any:
        return and_(*[column == literal(value, column.type) for column, value in zip(columns, key, strict=True)])

    values = {}
    for attribute in dict.fromkeys(name for change in part.values() for name in change):
        column = getattr(model, attribute)
        whens = [
            (known_by(key), literal(change[attribute], column.type))
            for key, change in part.items()
            if attribute in change
        ]
        # A row that does not name the attribute keeps what it has.
        values[attribute] = case(*whens, else_=column)
    chosen = tuple_(*columns).in_(list(part)) if len(columns) > 1 else columns[0].in_([key for (key,) in part])
    return update(model).where(chosen).values(values)


def _some(model: type[Any], criteria: Criteria, verb: str) -> None:
    if not criteria:
        raise InvalidQuery(
            f"which rows of {model.__name__}? fix: say where; sqlalchemy.true() is to {verb} all of them"
        )

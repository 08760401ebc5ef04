"""Searching by what a stranger asks for: names and values that come out of a request."""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Enum, Select, String, literal
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import QueryableAttribute

from core.database.values import normaliser
from core.exceptions import InvalidQuery
from core.query.conversion import Converter, converter, to_flag
from core.query.entities import attribute_of, column_of, entity_of, select_of
from core.query.execution import dialect_name
from core.query.patterns import like, literally

__all__ = ["OPERATORS", "search"]

_MOST_ORDERS = 5

Attribute = QueryableAttribute[Any]
Condition = ColumnElement[bool]


def search(
    source: Any,
    filters: Mapping[str, Any] | None = None,
    order_by: str | Sequence[str] | None = None,
    order_direction: str = "asc",
    *,
    columns: Collection[str] | None = None,
    max_filters: int = 20,
    max_values: int = 100,
    session: AsyncSession | None = None,
) -> Select[Any]:
    """Narrow a select down by filters that may come from anybody.

    A filter is named ``column`` or ``column__operator``: eq, ne, lt, lte, gt, gte, in, between, isnull, like,
    ilike, contains, icontains, startswith, endswith. Values are converted as the column's type demands, also
    from text, and travel as parameters. ``ne`` finds NULL too. All comparisons of text but ilike and icontains
    regard case, on every database.

    Args:
        source: A model or a select of one; names are attributes of its first model.
        filters: Values by name; rows must pass all of them.
        order_by: One name or several; replaces the order of the select.
        order_direction: ``asc`` or ``desc``.
        columns: The attributes that may be named; without it all that are columns. Leave out what the one who
            asks must not learn: a filter tells about values that are never shown.
        max_filters: How many filters there may be.
        max_values: How many values ``in`` may have.
        session: Where the select will run, when not on the installed database.

    Returns:
        The select, to be given to ``fetch``, ``paginate``, ``cursor_paginate`` or a session.

    Raises:
        InvalidQuery: A name, operator, value or number of them is not allowed; says which and why.
    """
    statement = select_of(source)
    entity = entity_of(statement)
    filters = {} if filters is None else filters
    if not isinstance(filters, Mapping) or len(filters) > max_filters:
        raise InvalidQuery(f"filters must be at most {max_filters} values by name")
    question = _Question(entity, columns, dialect_name(session), max_values)
    statement = statement.where(*(question.condition(name, value) for name, value in filters.items()))
    if order_by is None:
        return statement
    return statement.order_by(None).order_by(*question.order(order_by, order_direction))


class _Question:
    """What may be asked about a model, and where."""

    def __init__(self, entity: Any, columns: Collection[str] | None, dialect: str, max_values: int) -> None:
        self.entity = entity
        self.columns = columns
        self.dialect = dialect
        self.max_values = max_values

    def condition(self, name: object, value: Any) -> Condition:
        attribute, build = self._parsed(name)
        try:
            return build(self, attribute, value)
        except (ValueError, OverflowError, ArithmeticError) as error:
            raise InvalidQuery(f"{name:.60}: {_brief(error)}") from error

    def order(self, names: str | Sequence[str], direction: str) -> list[ColumnElement[Any]]:
        if direction not in {"asc", "desc"}:
            raise InvalidQuery("order_direction must be 'asc' or 'desc'")
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, (list, tuple)) or not 1 <= len(names) <= _MOST_ORDERS:
            raise InvalidQuery(f"order_by must be a name, or a list of 1 to {_MOST_ORDERS}")
        attributes = [self._attribute(name) for name in names]
        for attribute in attributes:
            _compared(attribute)
        return [attribute.desc() if direction == "desc" else attribute.asc() for attribute in attributes]

    def _parsed(self, name: object) -> tuple[Attribute, "Operator"]:
        column, _, suffix = name.rpartition("__") if isinstance(name, str) else ("", "", "")
        if column and suffix in OPERATORS:
            return self._attribute(column), OPERATORS[suffix]
        if column and suffix.isidentifier() and self._has(column) and not self._has(name):
            raise InvalidQuery(f"{suffix:.60} is no operator; there are: {', '.join(OPERATORS)}")
        return self._attribute(name), OPERATORS["eq"]

    def _attribute(self, name: object) -> Attribute:
        if self.columns is not None and name not in tuple(self.columns):
            raise InvalidQuery(f"there is no column {name!r:.60}; there are: {', '.join(self.columns)}")
        return attribute_of(self.entity, name)

    def _has(self, name: object) -> bool:
        try:
            self._attribute(name)
        except InvalidQuery:
            return False
        return True


def _text(value: Any) -> str:
    # As long as it may be: a pattern is no value of the column.
    check = normaliser(Column("any", String()))
    assert check is not None
    text: str = check(value)
    return text


def _compared(attribute: Attribute) -> Converter:
    convert = converter(column_of(attribute))
    if convert is None:
        raise InvalidQuery(f"{attribute.key} can only be tested by isnull")
    return convert


def _value(attribute: Attribute, value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null; fix: use isnull")
    return _compared(attribute)(value)


def _literal(attribute: Attribute, value: Any) -> ColumnElement[Any]:
    # A parameter always: SQLAlchemy takes true and false for words of SQL.
    return literal(_value(attribute, value), attribute.type)


def _values(attribute: Attribute, values: Any, least: int, most: int) -> list[Any]:
    if not isinstance(values, (list, tuple, set, frozenset)) or not least <= len(values) <= most:
        raise ValueError(f"must be a list of {least} to {most} values" if least != most else f"must be {most} values")
    return [_value(attribute, value) for value in values]


def _eq(question: _Question, attribute: Attribute, value: Any) -> Condition:
    return attribute.is_(None) if value is None else _comparing(operator.eq)(question, attribute, value)


def _ne(_question: _Question, attribute: Attribute, value: Any) -> Condition:
    return attribute.is_not(None) if value is None else attribute.is_distinct_from(_literal(attribute, value))


def _comparing(compare: Callable[[Any, Any], Any]) -> "Operator":
    def build(_question: _Question, attribute: Attribute, value: Any) -> Condition:
        condition: Condition = compare(attribute, _literal(attribute, value))
        return condition

    return build


def _ranging(compare: Callable[[Any, Any], Any]) -> "Operator":
    def build(question: _Question, attribute: Attribute, value: Any) -> Condition:
        _ranked(attribute)
        return _comparing(compare)(question, attribute, value)

    return build


def _ranked(attribute: Attribute) -> None:
    # By declaration in enumerations of PostgreSQL and MariaDB, as text elsewhere: 10 before 2.
    if isinstance(column_of(attribute).type, Enum):
        raise ValueError("has no order that all databases agree on; fix: use in")  # noqa: TRY004 - as for every filter that does not do


def _in(question: _Question, attribute: Attribute, value: Any) -> Condition:
    return attribute.in_(_values(attribute, value, 0, question.max_values))


def _between(_question: _Question, attribute: Attribute, value: Any) -> Condition:
    _ranked(attribute)
    least, most = (literal(one, attribute.type) for one in _values(attribute, value, 2, 2))
    return attribute.between(least, most)


def _isnull(_question: _Question, attribute: Attribute, value: Any) -> Condition:
    return attribute.is_(None) if to_flag(value) else attribute.is_not(None)


def _matching(before: str, after: str, *, raw: bool = False, ignore_case: bool = False) -> "Operator":
    """Make an operator that compares with a pattern: the value, taken literally unless ``raw``, between two ends."""

    def compare(question: _Question, attribute: Attribute, value: Any) -> Condition:
        kind = column_of(attribute).type
        if not isinstance(kind, String) or isinstance(kind, Enum):
            raise ValueError("is no column of text")  # noqa: TRY004 - the same for every filter that does not do
        text = _text(value)
        pattern = text.replace("/", "//") if raw else literally(text)
        return like(attribute, before + pattern + after, question.dialect, ignore_case=ignore_case)

    return compare


Operator = Callable[[_Question, Attribute, Any], Condition]

OPERATORS: dict[str, Operator] = {
    "eq": _eq,
    "ne": _ne,
    "lt": _ranging(operator.lt),
    "lte": _ranging(operator.le),
    "gt": _ranging(operator.gt),
    "gte": _ranging(operator.ge),
    "in": _in,
    "between": _between,
    "isnull": _isnull,
    "like": _matching("", "", raw=True),
    "ilike": _matching("", "", raw=True, ignore_case=True),
    "contains": _matching("%", "%"),
    "icontains": _matching("%", "%", ignore_case=True),
    "startswith": _matching("", "%"),
    "endswith": _matching("%", ""),
}


def _brief(error: Exception) -> str:
    return f"{error!s:.200}"

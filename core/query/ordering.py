"""The order of a select's rows, as something to compare rows with."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BinaryExpression, ColumnElement, Null, Select, UnaryExpression, and_, literal, or_, tuple_
from sqlalchemy import false as sql_false
from sqlalchemy import true as sql_true
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql import operators

from core.exceptions import InvalidQuery
from core.query.entities import column_of, entities_of, mapper_of, primary_key_of

__all__ = ["Key", "beyond", "keys_of", "with_ties_broken"]

#: Compare rows of values by one index; MariaDB and MySQL read the whole index for it.
_COMPARES_ROWS = ("postgresql", "sqlite")


@dataclass(frozen=True, slots=True)
class Key:
    """One column by which rows are ordered.

    Attributes:
        column: The column.
        name: Its model and attribute.
        descending: Whether large values come first.
        nulls_first: Whether NULL comes before all values.
        nullable: Whether it may be NULL.
    """

    column: ColumnElement[Any]
    name: str
    descending: bool
    nulls_first: bool
    nullable: bool

    def reversed(self) -> "Key":
        """The same in the opposite order."""
        return replace(self, descending=not self.descending, nulls_first=not self.nulls_first)

    def clauses(self, dialect: str) -> list[ColumnElement[Any]]:
        """What to order by; plain where the database puts NULL there by itself, as its indexes do."""
        plain = self.column.desc() if self.descending else self.column.asc()
        natural = self.descending if dialect == "postgresql" else not self.descending
        if not self.nullable or self.nulls_first == natural:
            return [plain]
        if dialect in {"mysql", "mariadb"}:
            is_null = self.column.is_(None)
            return [is_null.desc() if self.nulls_first else is_null.asc(), plain]
        return [plain.nulls_first() if self.nulls_first else plain.nulls_last()]

    def equal(self, value: Any) -> ColumnElement[bool]:
        """Rows with this value."""
        return self.column.is_(None) if value is None else self.column == literal(value, self.column.type)

    def after(self, value: Any) -> ColumnElement[bool]:
        """Rows that come after those with this value."""
        if value is None:
            return self.column.is_not(None) if self.nulls_first else sql_false()
        bound = literal(value, self.column.type)
        larger = self.column < bound if self.descending else self.column > bound
        return or_(larger, self.column.is_(None)) if self.nullable and not self.nulls_first else larger

    def not_before(self, value: Any) -> ColumnElement[bool]:
        """Rows with this value and those after them, as one range where there can be one."""
        if value is None:
            return sql_true() if self.nulls_first else self.column.is_(None)
        bound = literal(value, self.column.type)
        larger = self.column <= bound if self.descending else self.column >= bound
        return or_(larger, self.column.is_(None)) if self.nullable and not self.nulls_first else larger


def keys_of(statement: Select[Any]) -> list[Key]:
    """The columns that order a select, completed by the primary keys of its models, so that no two rows are equal.

    Raises:
        InvalidQuery: It is ordered by something else than columns of models.
    """
    entities = entities_of(statement)
    keys = [_key(clause, entities[0]) for clause in _with_nulls_first(statement._order_by_clauses)]
    known = {key.name for key in keys}
    descending = bool(keys) and keys[-1].descending
    for entity in entities:
        for attribute in primary_key_of(entity):
            name = f"{mapper_of(entity).class_.__name__}.{attribute.key}"
            if name not in known or len(entities) > 1:
                keys.append(Key(attribute.__clause_element__(), name, descending, not descending, nullable=False))
    return keys


def beyond(keys: Sequence[Key], values: Sequence[Any], dialect: str, *, inclusive: bool) -> ColumnElement[bool]:
    """The rows after a place in an order.

    Args:
        keys: The order.
        values: The place: the value of each key.
        dialect: The database.
        inclusive: Whether the row at the place itself is meant too.
    """
    first, *others = keys
    uniform = not any(key.nullable or key.descending != first.descending for key in keys)
    if uniform and dialect in _COMPARES_ROWS:
        rows = tuple_(*(key.column for key in keys))
        place = tuple_(*(literal(value, key.column.type) for key, value in zip(keys, values, strict=True)))
        compare = _COMPARISONS[first.descending, inclusive]
        condition: ColumnElement[bool] = compare(rows, place)
        return condition
    condition = sql_true() if inclusive else sql_false()
    for key, value in reversed(list(zip(keys, values, strict=True))):
        condition = or_(key.after(value), and_(key.equal(value), condition))
    # Says nothing new, but is a range in which an index can start.
    return and_(first.not_before(values[0]), condition) if others else condition


def with_ties_broken(statement: Select[Any]) -> Select[Any]:
    """Order the rows that a select leaves equal by primary key, where its rows have one."""
    described = statement.column_descriptions
    whole = [one["expr"] is one.get("entity") for one in described]
    parts = [isinstance(one["expr"], QueryableAttribute) for one in described]
    # Distinct rows are ordered by what is selected, groups by what they are grouped by.
    if statement._group_by_clauses or not all(whole if statement._distinct else map(operator.or_, whole, parts)):
        return statement
    clauses = statement._order_by_clauses
    descending = bool(clauses) and _parsed(clauses[-1])[1]
    keys = [one for entity in entities_of(statement) for one in primary_key_of(entity)]
    return statement.order_by(*(key.desc() if descending else key.asc() for key in keys))


_COMPARISONS = {
    (False, False): operators.gt,
    (False, True): operators.ge,
    (True, False): operators.lt,
    (True, True): operators.le,
}
_MODIFIERS = (operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op)


def _with_nulls_first(clauses: Iterable[Any]) -> list[Any]:
    """Take ``X IS NOT NULL, X``, which orders so on every database, for ``X NULLS FIRST``, which MariaDB has not."""
    written: list[Any] = []
    for clause in clauses:
        if written and _marks(written[-1], _parsed(clause)[0]):
            written[-1] = clause.nulls_first()
        else:
            written.append(clause)
    return written


def _marks(clause: Any, column: Any) -> bool:
    """Whether a clause says nothing but where NULL is to stand in the order by a column."""
    if not isinstance(clause, BinaryExpression) or clause.operator is not operators.is_not:
        return False
    return isinstance(clause.right, Null) and clause.left.compare(column)


def _key(clause: ColumnElement[Any], main: Any) -> Key:
    column, descending, nulls_first = _parsed(clause)
    owner = column._annotations.get("parententity")
    name = column._annotations.get("proxy_key")
    attribute = getattr(owner.entity, name, None) if owner is not None and name is not None else None
    if attribute is None or not hasattr(attribute.property, "columns"):
        raise InvalidQuery("a cursor needs an order by mapped columns; fix: order_by(Model.column) or .desc()")
    # What another model contributes may be missing: of an outer join.
    nullable = owner.entity is not main or bool(column_of(attribute).nullable)
    if nulls_first is None:
        nulls_first = not descending
    return Key(column, f"{owner.mapper.class_.__name__}.{name}", descending, nulls_first, nullable)


def _parsed(clause: Any) -> tuple[Any, bool, bool | None]:
    """Take an element of ORDER BY apart: expression, whether it descends, where it wants NULL."""
    descending, nulls_first = False, None
    while isinstance(clause, UnaryExpression) and clause.modifier in _MODIFIERS:
        if clause.modifier is operators.desc_op:
            descending = True
        elif clause.modifier is not operators.asc_op:
            nulls_first = clause.modifier is operators.nulls_first_op
        clause = clause.element
    return clause, descending, nulls_first

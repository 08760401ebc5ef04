"""What a select is about: its models, their mapped columns and primary keys."""

import difflib
from typing import Any

from sqlalchemy import Column, Select, inspect, select
from sqlalchemy.orm import Mapper, QueryableAttribute

from core.exceptions import InvalidQuery
from core.model import Instant

__all__ = [
    "attribute_of",
    "check_plain",
    "column_of",
    "entities_of",
    "entity_of",
    "mapped_columns",
    "mapper_of",
    "primary_key_of",
    "returns_instances",
    "select_of",
    "time_of",
]


def select_of(source: Any) -> Select[Any]:
    """A select; of everything where a model is given."""
    return source if isinstance(source, Select) else select(source)


def entities_of(statement: Select[Any]) -> list[Any]:
    """The models, or aliases of models, that a select takes something from; each once.

    Raises:
        InvalidQuery: There is none.
    """
    if not isinstance(statement, Select):
        raise InvalidQuery(f"{type(statement).__name__} is no select; fix: write select(Model) or select(Model.column)")
    found = [description.get("entity") for description in statement.column_descriptions]
    entities = list({id(entity): entity for entity in found if entity is not None}.values())
    if not entities:
        raise InvalidQuery("the select takes nothing from a model; fix: write select(Model) or select(Model.column)")
    return entities


def entity_of(statement: Select[Any]) -> Any:
    """The first model, or alias of a model, of a select."""
    return entities_of(statement)[0]


def mapper_of(entity: Any) -> Mapper[Any]:
    """The mapper of a model or of an alias."""
    mapper: Mapper[Any] = inspect(entity).mapper
    return mapper


def returns_instances(statement: Select[Any]) -> bool:
    """Whether a select gives instances of one model and nothing beside."""
    descriptions = statement.column_descriptions
    return len(descriptions) == 1 and descriptions[0].get("entity") is descriptions[0]["expr"] is not None


def primary_key_of(entity: Any) -> list[QueryableAttribute[Any]]:
    """The attributes of a primary key."""
    mapper = mapper_of(entity)
    return [getattr(entity, mapper.get_property_by_column(column).key) for column in mapper.primary_key]


def column_of(attribute: QueryableAttribute[Any]) -> Column[Any]:
    """The column of the table behind an attribute."""
    column: Column[Any] = attribute.property.columns[0]
    return column


def attribute_of(entity: Any, name: object) -> QueryableAttribute[Any]:
    """The attribute of a mapped column, by name.

    Raises:
        InvalidQuery: The model maps no column so; the message suggests one.
    """
    columns = mapped_columns(entity)
    if isinstance(name, str) and name in columns:
        attribute: QueryableAttribute[Any] = getattr(entity, name)
        return attribute
    close = difflib.get_close_matches(name, columns, n=1) if isinstance(name, str) and len(name) < 256 else []
    advice = f"; did you mean {close[0]!r}?" if close else ""
    raise InvalidQuery(f"{mapper_of(entity).class_.__name__} has no column {name!r:.60}{advice}")


def mapped_columns(entity: Any) -> list[str]:
    """The names of those attributes that are columns of the model's tables."""
    mapper = mapper_of(entity)
    return [attribute.key for attribute in mapper.column_attrs if isinstance(attribute.columns[0], Column)]


def time_of(entity: Any, name: str | None) -> QueryableAttribute[Any]:
    """The time of a model's rows: the attribute named, else the only ``Instant`` that is never NULL.

    Raises:
        InvalidQuery: There is none, or there are several.
    """
    if name is not None:
        return attribute_of(entity, name)
    attributes = [attribute_of(entity, key) for key in mapped_columns(entity)]
    times = [one for one in attributes if isinstance(one.type, Instant) and not column_of(one).nullable]
    if len(times) != 1:
        names = ", ".join(repr(one.key) for one in times) or "none"
        raise InvalidQuery(
            f"which column is the time of {mapper_of(entity).class_.__name__}? It has {names}; fix: name one with time="
        )
    return times[0]


def check_plain(statement: Select[Any], purpose: str, *, grouped: bool = False, distinct: bool = False) -> None:
    """Make sure that the rows of a select are not cut off, grouped or merged yet.

    Args:
        statement: The select.
        purpose: What it is for, to begin the message with.
        grouped: Whether ``group_by()`` is fine.
        distinct: Whether ``distinct()`` is fine.

    Raises:
        InvalidQuery: They are.
    """
    # SQLAlchemy has no public way to ask; its own extensions read the same attributes.
    clauses = {
        "limit() or offset()": statement._limit_clause is not None or statement._offset_clause is not None,
        "group_by()": bool(statement._group_by_clauses) and not grouped,
        "distinct()": bool(statement._distinct) and not distinct,
    }
    for clause, present in clauses.items():
        if present:
            raise InvalidQuery(f"{purpose}: the select has {clause}; fix: leave it out, or use a subquery")

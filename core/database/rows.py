"""From the fields that a caller names to a complete row of a model."""

import difflib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, inspect
from sqlalchemy.orm import Mapper

from core.exceptions import UnknownField

__all__ = ["complete", "natural_key"]


def complete(model: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names of fields and fill in the defaults that are computed in Python.

    Args:
        model: A mapped class.
        fields: Values by attribute name.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
    """
    mapper: Mapper[Any] = inspect(model)
    known = mapper.attrs.keys() + list(mapper.all_orm_descriptors.keys())
    for name in fields:
        if name not in known:
            raise _unknown(model, name, mapper)
    values = dict(fields)
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if attribute.key not in values and isinstance(column, Column) and column.default is not None:
            values |= _default(attribute.key, column)
    return values


def _default(key: str, column: Column[Any]) -> dict[str, Any]:
    default: Any = column.default
    if default.is_scalar:
        return {key: default.arg}
    if default.is_callable:
        # SQLAlchemy wraps every callable so that it takes its execution context.
        return {key: default.arg(None)}
    return {}


def natural_key(model: type[Any]) -> tuple[str, ...]:
    """The attributes that identify a row of a model to the world outside, or nothing."""
    return tuple(getattr(model, "__natural_key__", ()))


def _unknown(model: type[Any], name: str, mapper: Mapper[Any]) -> UnknownField:
    known = [attribute.key for attribute in mapper.attrs]
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(sorted(known))}"
    return UnknownField(f"{model.__name__} has no field {name!r}; {advice}")

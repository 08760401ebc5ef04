"""From the fields that a caller names to a complete row of a model."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from core.exceptions import UnknownField

__all__ = ["check_names", "complete", "default_maker", "natural_key"]


def complete(model: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names of fields and fill in the defaults that are computed in Python.

    Args:
        model: A mapped class.
        fields: Values by attribute name.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
    """
    check_names(model, fields)
    values = dict(fields)
    for attribute in inspect(model).column_attrs:
        column = attribute.columns[0]
        if attribute.key not in values and (maker := default_maker(column)) is not None:
            values[attribute.key] = maker()
    return values


def check_names(model: type[Any], names: Iterable[str]) -> None:
    """Make sure that a model has these attributes.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
    """
    mapper: Mapper[Any] = inspect(model)
    known = mapper.all_orm_descriptors.keys()
    for name in names:
        if name not in known:
            raise _unknown(model, name, mapper)


def default_maker(column: Any) -> Callable[[], Any] | None:
    """What computes a column's default in Python, or ``None`` where there is none."""
    default: Any = getattr(column, "default", None)
    if default is None:
        return None
    if default.is_scalar:
        return lambda: default.arg
    # SQLAlchemy wraps every callable so that it takes its execution context.
    return (lambda: default.arg(None)) if default.is_callable else None


def natural_key(model: type[Any]) -> tuple[str, ...]:
    """The attributes that identify a row of a model to the world outside, or nothing."""
    return tuple(getattr(model, "__natural_key__", ()))


def _unknown(model: type[Any], name: str, mapper: Mapper[Any]) -> UnknownField:
    known = [attribute.key for attribute in mapper.attrs]
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(sorted(known))}"
    return UnknownField(f"{model.__name__} has no field {name!r}; {advice}")

"""From the fields that a caller names to a complete instance of a model."""

import difflib
import inspect as signatures
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from core.database.types import Instant
from core.database.values import Normaliser, is_sql, normaliser, refusal
from core.database.violations import ValueOutOfRange
from core.exceptions import InvalidValue, UnknownField
from core.instants import now

__all__ = [
    "build",
    "change",
    "check_key",
    "check_names",
    "checked",
    "default_maker",
    "named",
    "natural_key",
    "primary_key",
]

T = TypeVar("T")


class _Plan(NamedTuple):
    """What is done with one attribute of each new instance."""

    attribute: str
    default: Callable[[], Any] | None
    normalise: Normaliser | None


def build(model: type[T], fields: Mapping[str, Any]) -> T:
    """Build an instance whose values all databases will take and give back alike.

    Args:
        model: A mapped class; its own constructor and validators run.
        fields: The arguments of its constructor: values by attribute name.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
        InvalidValue: A value does not fit its column; the message does not repeat it.
    """
    kind: Any = model
    if _plainly_constructed(kind):
        check_names(kind, fields)
    try:
        instance = model(**fields)
    except (ValueError, TypeError) as error:
        raise _refused(kind, error) from error
    given = inspect(instance).dict
    for attribute, default, normalise in _plans(kind):
        value = given.get(attribute)
        if attribute not in given:
            if default is not None:
                # Not by setattr: SQLAlchemy does not show defaults to validators either.
                given[attribute] = default()
        elif normalise is not None and value is not None and not is_sql(value):
            given[attribute] = _normalised(model, attribute, normalise, value)
    return instance


def checked(model: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they will read back, checked as those of a new instance are.

    Args:
        model: A mapped class.
        fields: Values by attribute name.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
        InvalidValue: A value does not fit its column.
    """
    check_names(model, fields)
    plans = {plan.attribute: plan.normalise for plan in _plans(model)}
    values = dict(fields)
    for name, value in fields.items():
        normalise = plans.get(name)
        if normalise is not None and value is not None and not is_sql(value):
            values[name] = _normalised(model, name, normalise, value)
    return values


def change(instance: Any, fields: Mapping[str, Any]) -> None:
    """Give an instance other values, checked as those of a new one are.

    Args:
        instance: Of a mapped class.
        fields: Values by attribute name.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
        InvalidValue: A value does not fit its column; then nothing is changed.
    """
    model: Any = type(instance)
    for name, value in checked(model, fields).items():
        try:
            setattr(instance, name, value)
        except (ValueError, TypeError) as error:
            raise _refused(model, error) from error


def check_key(model: type[Any], key: Any) -> Any:
    """Check a primary key, so that no database guesses what a key of another type may mean.

    Args:
        model: A mapped class.
        key: The key; a tuple or a mapping by attribute for several columns.

    Raises:
        InvalidValue: It is not the number of values, or the types, that the primary key has.
    """
    mapper: Mapper[Any] = inspect(model)
    names = primary_key(model)
    values = [key.get(name) for name in names] if isinstance(key, Mapping) else list(_as_tuple(key))
    if len(values) != len(names) or None in values:
        raise InvalidValue(f"{model.__name__} is found by its primary key: {', '.join(names)}")
    for index, column in enumerate(mapper.primary_key):
        if (normalise := normaliser(column)) is not None:
            values[index] = _normalised(model, names[index], normalise, values[index])
    return tuple(values)


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


def named(model: type[Any], names: str | Sequence[str]) -> tuple[str, ...]:
    """Attributes, of which one may be named alone.

    Raises:
        UnknownField: A name is no attribute of the model; the message suggests one.
    """
    listed = (names,) if isinstance(names, str) else tuple(names)
    check_names(model, listed)
    return listed


def primary_key(model: type[Any]) -> tuple[str, ...]:
    """The attributes of a model's primary key."""
    mapper: Mapper[Any] = inspect(model)
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def default_maker(column: Any) -> Callable[[], Any] | None:
    """What computes a column's default in Python, or ``None`` where only SQLAlchemy or the database can."""
    default: Any = getattr(column, "default", None)
    if default is None:
        return None
    normalise = normaliser(column) or _unchanged
    if default.is_scalar:
        constant = None if default.arg is None else normalise(default.arg)
        return lambda: constant
    if not default.is_callable or _takes_context(default.arg):
        return None
    # SQLAlchemy wraps every callable so that it takes its execution context.
    if getattr(default.arg, "__wrapped__", None) is now and isinstance(column.type, Instant):
        return now  # type: ignore[no-any-return]

    def compute() -> Any:
        value = default.arg(None)
        return value if value is None or is_sql(value) else normalise(value)

    return compute


def natural_key(model: type[Any]) -> tuple[str, ...]:
    """The attributes that identify a row of a model to the world outside, or nothing."""
    return tuple(getattr(model, "__natural_key__", ()))


@cache
def _plans(model: Hashable) -> tuple[_Plan, ...]:
    columns = {attribute.key: attribute.columns[0] for attribute in inspect(model).column_attrs}
    plans = (_Plan(key, default_maker(column), normaliser(column)) for key, column in columns.items())
    return tuple(plan for plan in plans if plan.default or plan.normalise)


@cache
def _plainly_constructed(model: Hashable) -> bool:
    """Whether the model has no constructor of its own, which may take other names than the attributes."""
    constructor = inspect(model).class_manager.original_init
    return getattr(constructor, "__module__", "").startswith("sqlalchemy.")


def _takes_context(function: Callable[..., Any]) -> bool:
    """Whether a default function wants SQLAlchemy's execution context; seen through SQLAlchemy's wrapper."""
    try:
        return bool(signatures.signature(function).parameters)
    except ValueError:
        # A builtin that does not tell; SQLAlchemy calls those without arguments.
        return False


def _unchanged(value: Any) -> Any:
    return value


def _normalised(model: type[Any], attribute: str, normalise: Normaliser, value: Any) -> Any:
    try:
        return normalise(value)
    except ValueError as error:
        mapper: Mapper[Any] = inspect(model)
        raise refusal(model, attribute, mapper.columns[attribute].name, error) from error


def _refused(model: Any, error: Exception) -> InvalidValue:
    kind = ValueOutOfRange if isinstance(error, OverflowError) else InvalidValue
    return kind(f"{model.__name__}: {error}")


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return tuple(key) if isinstance(key, (tuple, list)) else (key,)


def _unknown(model: type[Any], name: str, mapper: Mapper[Any]) -> UnknownField:
    known = [attribute.key for attribute in mapper.attrs]
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(sorted(known))}"
    return UnknownField(f"{model.__name__} has no field {name!r}; {advice}")

"""What the options of ``upsert`` mean: by which key a row is known, and how one that is there is changed."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from core.database.atoms import Change
from core.database.columns import mapped_columns
from core.database.intents import Intent, Returning
from core.database.natural_keys import constraint_columns, unique_sets
from core.database.rows import named, natural_key
from core.exceptions import InvalidQuery, InvalidValue

__all__ = ["Names", "OnConflict", "UpsertOptions", "returning_of", "upsert_intent"]

Names = str | Sequence[str]
OnConflict = Literal["update", "ignore", "error"]


class UpsertOptions(TypedDict, total=False):
    """The options of ``upsert``.

    Attributes:
        key: The attributes by which rows are known, if not by the natural key; unique in the database.
        constraint: The name of their unique constraint or index, in place of ``key``.
        update: The attributes that an existing row takes over, if not all that are given.
        newer_than: An attribute that must not go back: an older row changes nothing.
        on_conflict: Whether an existing row is changed, stays as it is, or is an error (``UniqueViolation``).
    """

    key: Names | None
    constraint: str | None
    update: Names | None
    newer_than: str | None
    on_conflict: OnConflict


def upsert_intent(
    model: type[Any],
    rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    key: Names | None = None,
    constraint: str | None = None,
    update: Names | None = None,
    newer_than: str | None = None,
    on_conflict: OnConflict = "update",
) -> Intent:
    """Check what ``upsert`` was given.

    Args:
        model: A mapped class.
        rows: Fields by attribute name, of one row or of several.
        key: As in ``UpsertOptions``, like all that follow.
        constraint: The name of a unique constraint.
        update: What is taken over.
        newer_than: What must not go back.
        on_conflict: What becomes of a row that is there.

    Raises:
        InvalidValue: The model has no natural key, or a row lacks part of the key or of ``newer_than``.
        InvalidQuery: The options contradict each other, or the key is not unique.
        UnknownField: A name is no attribute of the model.
    """
    if on_conflict not in get_args(OnConflict):
        raise InvalidQuery(f"on_conflict={on_conflict!r}; fix: write 'update', 'ignore' or 'error'")
    if on_conflict != "update" and (update is not None or newer_than is not None):
        raise InvalidQuery(
            f"update= and newer_than= say how a row is changed, and on_conflict={on_conflict!r} that none is; "
            "fix: leave one of them out"
        )
    listed = [dict(rows)] if isinstance(rows, Mapping) else [dict(row) for row in rows]
    if on_conflict == "error":
        if key is not None or constraint is not None:
            _known_by(model, key, constraint)
        # Every row is new, or else refused; it does not matter by what it is known.
        return Intent(model, listed, key=())
    known_by = _known_by(model, key, constraint)
    _check_rows(model, listed, known_by if newer_than is None else (*known_by, newer_than))
    if known_by != natural_key(model):
        _check_values(model, listed, known_by)
    if on_conflict == "ignore":
        return Intent(model, listed, key=known_by)
    return Intent(model, listed, Change(newer_than, _chosen(model, update, newer_than, known_by)), known_by)


def returning_of(model: type[Any], asked: bool | Names | None) -> Returning | None:
    """Check what is asked for of the rows of an upsert afterwards.

    Args:
        model: A mapped class.
        asked: Attributes, or ``True`` for instances; ``None`` or ``False`` for nothing.

    Raises:
        InvalidQuery: An attribute is no column, or none is named.
        UnknownField: A name is no attribute of the model.
    """
    if asked is None or asked is False:
        return None
    mapper: Mapper[Any] = inspect(model)
    columns = mapped_columns(mapper)
    if asked is True:
        return Returning(tuple(name for name in columns if not mapper.column_attrs[name].deferred), whole=True)
    names = named(model, asked)
    others = [name for name in names if name not in columns]
    if others or not names:
        raise InvalidQuery(
            f"returning= names {', '.join(others) or 'nothing'} of {model.__name__}; fix: name columns, or write True"
        )
    return Returning(names, whole=False)


def _known_by(model: type[Any], key: Names | None, constraint: str | None) -> tuple[str, ...]:
    natural = natural_key(model)
    if key is not None and constraint is not None:
        raise InvalidQuery("key= and constraint= both say by what a row is known; fix: leave one of them out")
    if constraint is not None:
        key = _of_constraint(model, constraint)
    if key is None:
        if not natural:
            raise InvalidValue(
                f"{model.__name__} has no natural key to upsert by; fix: declare __natural_key__, or say key="
            )
        return natural
    names = tuple(sorted(set(named(model, key))))
    if set(names) == set(natural):
        return natural
    mapper: Mapper[Any] = inspect(model)
    columns = {mapper.columns[name].name for name in names if name in mapper.columns}
    if len(columns) < len(names) or columns not in unique_sets(model.__table__):
        raise InvalidQuery(
            f"{model.__name__}: {', '.join(names) or 'nothing'} is not unique in the database, so that no row is known "
            "by it; fix: name a unique column, or add a UniqueConstraint to __table_args__"
        )
    return names


def _of_constraint(model: type[Any], constraint: str) -> tuple[str, ...]:
    known = constraint_columns(model.__table__)
    if constraint not in known:
        raise InvalidQuery(
            f"{model.__name__} has no unique constraint {constraint!r}; fix: name one of {', '.join(sorted(known))}"
        )
    mapper: Mapper[Any] = inspect(model)
    return tuple(mapper.get_property_by_column(column).key for column in known[constraint])


def _chosen(
    model: type[Any], update: Names | None, newer_than: str | None, known_by: tuple[str, ...]
) -> frozenset[str] | None:
    if update is None:
        return None
    names = frozenset(named(model, update))
    if not names.difference(known_by):
        raise InvalidQuery(
            f"update= leaves nothing of {model.__name__} to change; fix: name attributes beside the key, or write "
            "on_conflict='ignore'"
        )
    # A guard that did not move along would let older rows through.
    return names.union([newer_than] if newer_than is not None else ()).difference(known_by)


def _check_rows(model: type[Any], rows: Sequence[Mapping[str, Any]], needed: Sequence[str]) -> None:
    for row in rows:
        missing = [name for name in needed if name not in row]
        if missing:
            raise InvalidValue(f"{model.__name__}: an upsert needs {', '.join(missing)} in every row")


def _check_values(model: type[Any], rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    for row in rows:
        empty = [name for name in key if row[name] is None]
        if empty:
            raise InvalidValue(
                f"{model.__name__}: no row is known by {', '.join(empty)} = NULL, for no two NULLs are equal; "
                "fix: give it a value, or another key="
            )

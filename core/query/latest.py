"""The newest row of each device, or of whatever the rows are about."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Index,
    PrimaryKeyConstraint,
    Select,
    Table,
    UniqueConstraint,
    and_,
    func,
    lateral,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import QueryableAttribute

from core.exceptions import InvalidQuery
from core.query.entities import (
    attribute_of,
    check_plain,
    column_of,
    entity_of,
    primary_key_of,
    returns_instances,
    select_of,
    time_of,
)
from core.query.execution import dialect_name

__all__ = ["latest_per"]

Attributes = list[QueryableAttribute[Any]]

# Written into the statement: a plan for any limit would be a plan for many rows.
_ONE: ColumnElement[Any] = literal_column("1")


def latest_per(source: Any, *keys: str, time: str | None = None, session: AsyncSession | None = None) -> Select[Any]:
    """Select the newest row of each device: ``latest_per(SensorReading, "device_id")``.

    With an index on the keys and the time, in this order, a database reads a few index entries per key and
    not the table (docs/decisions/0016-queries.md says how); without one it reads every row. Rows
    with NULL in a key or in the time are left out; of rows of the same time, the largest primary key wins.

    Args:
        source: A model, or a select of one model with conditions, which hold for the rows compared.
        keys: The attributes that tell what a row is about.
        time: The attribute that tells which row is newer; without it the only ``Instant`` that is never NULL.
        session: Where the select will run, when not on the installed database.

    Returns:
        A select of the model; conditions added to it are applied to the newest rows.

    Raises:
        InvalidQuery: A name is no column, or the select is not of one model alone.
    """
    statement = select_of(source)
    check_plain(statement, "latest_per")
    entity = entity_of(statement)
    froms = statement.get_final_froms()
    if not returns_instances(statement) or len(froms) != 1 or statement._setup_joins:
        raise InvalidQuery("latest_per takes a model, or a select of one model without joins")
    if not keys:
        raise InvalidQuery('latest_per what? fix: name a column, as in latest_per(SensorReading, "device_id")')
    by, newest = [attribute_of(entity, key) for key in keys], time_of(entity, time)
    given = [] if statement.whereclause is None else [statement.whereclause]
    given += [one.is_not(None) for one in (*by, newest) if column_of(one).nullable]
    indexed = _as_indexed(by, newest)
    find = {"postgresql": _by_walking, "sqlite": _by_seeking}.get(dialect_name(session), _by_grouping)
    if indexed is None:
        find, indexed = _by_sorting, by
    return find(statement, indexed, newest, primary_key_of(entity), given)


def _as_indexed(by: Attributes, newest: QueryableAttribute[Any]) -> Attributes | None:
    """The keys in the order in which an index has them in front of the time, if there is such an index."""
    columns = {column_of(one): one for one in by}
    table = column_of(newest).table
    indexes = [*table.indexes, *table.constraints] if isinstance(table, Table) else []
    for index in indexes:
        if isinstance(index, (Index, UniqueConstraint, PrimaryKeyConstraint)):
            leading = list(index.columns)[: len(columns) + 1]
            if set(leading[:-1]) == set(columns) and leading[-1] is column_of(newest):
                return [columns[column] for column in leading[:-1]]
    return None


def _by_sorting(
    statement: Select[Any], by: Attributes, newest: QueryableAttribute[Any], ids: Attributes, given: list[Any]
) -> Select[Any]:
    """Without an index that helps: look at every row, once."""
    place = func.row_number().over(partition_by=by, order_by=[one.desc() for one in (newest, *ids)])
    columns = [one.label(f"id_{n}") for n, one in enumerate(ids)]
    found = select(*columns, place.label("place")).where(*given).subquery("placed")
    same = (one == found.c[f"id_{n}"] for n, one in enumerate(ids))
    return statement.join(found, and_(found.c.place == 1, *same))


def _by_walking(
    statement: Select[Any], by: Attributes, newest: QueryableAttribute[Any], ids: Attributes, given: list[Any]
) -> Select[Any]:
    """PostgreSQL: walk the index backwards, from the newest row of a key to that of the next."""
    order = [one.desc() for one in (*by, newest, *ids)]
    columns = [
        *(one.label(f"id_{n}") for n, one in enumerate(ids)),
        *(one.label(f"by_{n}") for n, one in enumerate(by)),
    ]
    found = select(*columns).where(*given).order_by(*order).limit(_ONE).cte("latest", recursive=True)
    last = [found.c[f"by_{n}"] for n in range(len(by))]
    smaller = by[0] < last[0] if len(by) == 1 else tuple_(*by) < tuple_(*last)
    following = lateral(select(*columns).where(smaller, *given).order_by(*order).limit(_ONE).correlate(found))
    found = found.union_all(select(*following.c).select_from(found.join(following, true())))
    return statement.join(found, and_(*(one == found.c[f"id_{n}"] for n, one in enumerate(ids))))


def _by_seeking(
    statement: Select[Any], by: Attributes, newest: QueryableAttribute[Any], ids: Attributes, given: list[Any]
) -> Select[Any]:
    """SQLite: seek each key in the index, and in it the newest row."""
    if len(by) == 1:
        largest = select(func.max(by[0]).label("by_0")).where(*given).cte("keys", recursive=True)
        following = select(func.max(by[0])).where(by[0] < largest.c.by_0, *given).correlate(largest)
        present = largest.c.by_0.is_not(None)
        keys: Any = largest.union_all(select(following.scalar_subquery()).select_from(largest).where(present))
    else:
        # No way to seek a pair: this reads the index once.
        keys = select(*(one.label(f"by_{n}") for n, one in enumerate(by))).where(*given).distinct().cte("keys")
    same = [one == keys.c[f"by_{n}"] for n, one in enumerate(by)]
    order = [one.desc() for one in (newest, *ids)]
    row = select(*ids).where(*same, *given).order_by(*order).limit(_ONE).correlate(keys)
    return statement.join(keys, _is(ids, row))


def _by_grouping(
    statement: Select[Any], by: Attributes, newest: QueryableAttribute[Any], ids: Attributes, given: list[Any]
) -> Select[Any]:
    """MariaDB and MySQL: the largest time of a group is one look into the index, and so is the row that has it."""
    columns = [one.label(f"by_{n}") for n, one in enumerate(by)]
    keys = select(*columns, func.max(newest).label("newest")).where(*given).group_by(*by).subquery("keys")
    same = [one == keys.c[f"by_{n}"] for n, one in enumerate(by)]
    same.append(newest == keys.c.newest)
    row = select(*ids).where(*same, *given).order_by(*(one.desc() for one in ids)).limit(_ONE).correlate(keys)
    # For a primary key of several columns the row itself is looked up by key and time.
    return statement.join(keys, and_(*(same if len(ids) > 1 else ()), _is(ids, row)))


def _is(ids: Attributes, row: Select[Any]) -> ColumnElement[bool]:
    if len(ids) == 1:
        return ids[0] == row.scalar_subquery()
    return tuple_(*ids) == row.scalar_subquery()

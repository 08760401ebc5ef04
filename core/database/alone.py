"""Writing without the shared flush: models and values that bulk statements cannot carry, one by one."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Select, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.errors import translated
from core.database.intents import Intent
from core.database.rows import build
from core.database.soft_deletes import with_deleted
from core.database.transactions import OpenTransaction
from core.exceptions import UniqueViolation

__all__ = ["look_again", "write", "write_all", "write_within"]


async def write(session: AsyncSession, intent: Intent) -> tuple[list[Any], int]:
    """Write the rows of an intent in the transaction of a session.

    Args:
        session: Committed by the caller.
        intent: What to write.

    Returns:
        The instances, and how many of them were there already and stay as they are.

    Raises:
        UniqueViolation: Somebody else wrote a row of the same key meanwhile; trying again finds it.
    """
    written: list[Any] = []
    known = 0
    for fields in intent.rows:
        instance = build(intent.model, fields)
        stored = await _stored(session, instance, intent.known_by)
        if stored is None:
            session.add(instance)
            await _insert(session, instance)
        elif intent.change is None:
            known += 1
        elif _may_change(stored, instance, intent.change.newer_than):
            _take_over(stored, instance, _chosen(fields, intent.change.update))
            await session.flush()
        written.append(instance if stored is None else stored)
    if intent.returning is not None:
        for instance in written:
            await session.refresh(instance, intent.returning.names)
    return written, known


async def write_all(session: AsyncSession, intents: Iterable[Intent]) -> tuple[list[Any], int]:
    """Write several intents; as ``write`` does."""
    written: list[Any] = []
    known = 0
    for intent in intents:
        instances, already = await write(session, intent)
        written += instances
        known += already
    return written, known


async def write_within(transaction: OpenTransaction, intents: Sequence[Intent]) -> list[Any]:
    """Write in the transaction that a caller has opened; what is refused takes nothing else of it along."""

    async def write_to_savepoint() -> tuple[list[Any], int]:
        with translated():
            async with transaction.session.begin_nested():
                return await write_all(transaction.session, intents)

    written, known = await look_again(write_to_savepoint, intents)
    transaction.rows += len(written)
    transaction.duplicates += known
    return written


async def look_again(
    write: Callable[[], Awaitable[tuple[list[Any], int]]], intents: Sequence[Intent]
) -> tuple[list[Any], int]:
    """Write, and once more if somebody else was faster with the same key: the second look finds their row.

    Args:
        write: Writes the intents, or takes everything back.
        intents: What is written.
    """
    try:
        return await write()
    except UniqueViolation:
        if not any(intent.known_by for intent in intents):
            raise
    return await write()


async def _insert(session: AsyncSession, instance: Any) -> None:
    """Insert an instance and read back what SQLAlchemy does not know of it: a detached one could not ask."""
    await session.flush()
    state = inspect(instance)
    unknown = state.unloaded & {attribute.key for attribute in state.mapper.column_attrs}
    if unknown:
        await session.refresh(instance, unknown)


async def _stored(session: AsyncSession, instance: Any, key: tuple[str, ...]) -> Any:
    model = type(instance)
    if not key:
        return None
    statement: Select[Any] = select(model).where(*[getattr(model, name) == getattr(instance, name) for name in key])
    return (await session.scalars(with_deleted(statement.with_for_update()))).first()


def _may_change(stored: Any, instance: Any, newer_than: str | None) -> bool:
    if newer_than is None:
        return True
    before, after = getattr(stored, newer_than), getattr(instance, newer_than)
    return before is None or (after is not None and bool(before <= after))


def _chosen(fields: Iterable[str], update: frozenset[str] | None) -> Iterable[str]:
    return fields if update is None else [name for name in fields if name in update]


def _take_over(stored: Any, instance: Any, names: Iterable[str]) -> None:
    given = inspect(instance).dict
    for name in names:
        setattr(stored, name, given.get(name))

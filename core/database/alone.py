"""Writing without the shared flush: models and values that bulk statements cannot carry, one by one."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Select, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.rows import build, natural_key
from core.database.soft_deletes import with_deleted
from core.database.writes import Intent

__all__ = ["write", "write_all"]


async def write(session: AsyncSession, intent: Intent) -> tuple[list[Any], int]:
    """Write the rows of an intent in the transaction of a session.

    Args:
        session: Committed by the caller.
        intent: What to write.

    Returns:
        The instances, and how many of them were there already.

    Raises:
        UniqueViolation: Somebody else wrote a row of the same key meanwhile; trying again finds it.
    """
    written: list[Any] = []
    known = 0
    for fields in intent.rows:
        instance = build(intent.model, fields)
        stored = await _stored(session, instance)
        if stored is None:
            session.add(instance)
            await _insert(session, instance)
        else:
            known += 1
            if intent.upsert and _may_change(stored, instance, intent.newer_than):
                _take_over(stored, instance, fields)
                await session.flush()
        written.append(instance if stored is None else stored)
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


async def _insert(session: AsyncSession, instance: Any) -> None:
    """Insert an instance and read back what SQLAlchemy does not know of it: a detached one could not ask."""
    await session.flush()
    state = inspect(instance)
    unknown = state.unloaded & {attribute.key for attribute in state.mapper.column_attrs}
    if unknown:
        await session.refresh(instance, unknown)


async def _stored(session: AsyncSession, instance: Any) -> Any:
    model = type(instance)
    key = natural_key(model)
    if not key:
        return None
    statement: Select[Any] = select(model).where(*[getattr(model, name) == getattr(instance, name) for name in key])
    return (await session.scalars(with_deleted(statement.with_for_update()))).first()


def _may_change(stored: Any, instance: Any, newer_than: str | None) -> bool:
    if newer_than is None:
        return True
    before, after = getattr(stored, newer_than), getattr(instance, newer_than)
    return before is None or (after is not None and bool(before <= after))


def _take_over(stored: Any, instance: Any, fields: Mapping[str, Any]) -> None:
    given = inspect(instance).dict
    for name in fields:
        setattr(stored, name, given.get(name))

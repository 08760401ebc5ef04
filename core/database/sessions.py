"""The session classes of all databases, whose events are nobody else's."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import InstanceState, ORMExecuteState, Session, UOWTransaction
from sqlalchemy.util.concurrency import in_greenlet

from core.database.origins import ORIGIN
from core.database.soft_deletes import hide_deleted
from core.exceptions import InvalidQuery

__all__ = ["FurtherReadingSession", "FurtherSession", "ModelSession", "ReadingSession"]


class ModelSession(Session):
    """What an asynchronous session runs: hides rows that are deleted, and loads nothing without an await."""


class ReadingSession(ModelSession):
    """One that a replica may serve, so that nothing can be written in it."""


@event.listens_for(ModelSession, "do_orm_execute")
def _refuse_lazy_loading(state: ORMExecuteState) -> None:
    # Before SQLAlchemy finds out, which by then has begun to talk to the driver.
    if (state.is_relationship_load or state.is_column_load) and not in_greenlet():
        raise MissingGreenlet("an attribute was read that is not loaded")


@event.listens_for(ReadingSession, "do_orm_execute")
def _refuse_changes(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        raise _read_only()


@event.listens_for(ReadingSession, "before_flush")
def _refuse_flush(session: Session, _context: UOWTransaction, _instances: Sequence[Any] | None) -> None:
    if session.new or session.dirty or session.deleted:
        raise _read_only()


def _read_only() -> InvalidQuery:
    # Not left to the database: a replica's refusal looks like that of a server which is just taking over.
    return InvalidQuery("this session only reads, perhaps from a replica; fix: write in Model.get_session()")


class FurtherSession(ModelSession):
    """One of a further database, whose name its rows remember; a class of its own, for others have no use for it."""


class FurtherReadingSession(ReadingSession):
    """The same for what a replica may serve."""


def _note_origin(session: Session, instance: Any) -> None:
    state: InstanceState[Any] = inspect(instance)
    state.info[ORIGIN] = session.info[ORIGIN]


for _further in (FurtherSession, FurtherReadingSession):
    event.listen(_further, "loaded_as_persistent", _note_origin)
    event.listen(_further, "pending_to_persistent", _note_origin)

hide_deleted(ModelSession)

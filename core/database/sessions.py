"""The session class of all databases, whose events are nobody else's."""

from sqlalchemy import event
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.util.concurrency import in_greenlet

from core.database.soft_deletes import hide_deleted

__all__ = ["ModelSession"]


class ModelSession(Session):
    """What an asynchronous session runs: hides rows that are deleted, and loads nothing without an await."""


@event.listens_for(ModelSession, "do_orm_execute")
def _refuse_lazy_loading(state: ORMExecuteState) -> None:
    # Before SQLAlchemy finds out, which by then has begun to talk to the driver.
    if (state.is_relationship_load or state.is_column_load) and not in_greenlet():
        raise MissingGreenlet("an attribute was read that is not loaded")


hide_deleted(ModelSession)

"""Rows that are marked as deleted, and hidden, instead of being removed."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Boolean, ColumnExpressionArgument, CursorResult, Delete, Result, Update, delete, event, not_
from sqlalchemy import false as sql_false
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Mapped, ORMExecuteState, Session, UOWTransaction, mapped_column, with_loader_criteria
from sqlalchemy.sql.base import Executable

from core.database.bound import model_of
from core.database.types import Instant
from core.exceptions import InvalidQuery
from core.instants import now

if TYPE_CHECKING:
    from core.database.database import Database

__all__ = ["SoftDeletes", "hide_deleted", "with_deleted"]

AnyExecutable = TypeVar("AnyExecutable", bound=Executable)

_SHOWN = "mqueduct_with_deleted"
_FOR_GOOD = "mqueduct_for_good"
_MARKED = "mqueduct_marked"


class SoftDeletes:
    """Deleting marks a row, and what is marked is hidden from every read.

    ``session.delete(row)`` and ``delete(Model).where(...)`` set ``is_deleted`` and ``deleted_at``. Selects
    of sessions, ``find``, ``all``, relationships and everything built on them leave marked rows out;
    ``with_deleted(select)`` shows them. Unique keys still count them.
    """

    is_deleted: Mapped[bool] = mapped_column(Boolean, default=False, server_default=sql_false(), sort_order=902)
    deleted_at: Mapped[datetime | None] = mapped_column(Instant, sort_order=903)

    if TYPE_CHECKING:

        @staticmethod
        def database() -> Database: ...  # noqa: D102 - as Model has it

    @classmethod
    async def restore(cls, *criteria: ColumnExpressionArgument[bool]) -> int:
        """Take the mark away from rows: ``await Device.restore(Device.device_id == "pump-1")``.

        Args:
            criteria: Which rows, as for ``where``; at least one.

        Returns:
            How many rows were deleted and are back.

        Raises:
            InvalidQuery: There is no criterion.
        """
        model = model_of(cls)
        statement = sql_update(model).where(*_some(model, criteria), model.is_deleted)
        return await _run(cls.database(), statement.values(is_deleted=False, deleted_at=None))

    @classmethod
    async def force_delete(cls, *criteria: ColumnExpressionArgument[bool]) -> int:
        """Remove rows for good, marked or not: ``await Device.force_delete(Device.device_id == "pump-1")``.

        Args:
            criteria: Which rows, as for ``where``; at least one.

        Returns:
            How many rows were removed.

        Raises:
            InvalidQuery: There is no criterion.
            InvalidValue: Other rows refer to one of them.
        """
        model = model_of(cls)
        statement = delete(model).where(*_some(model, criteria))
        return await _run(cls.database(), statement.execution_options(**{_FOR_GOOD: True}))


def with_deleted(statement: AnyExecutable) -> AnyExecutable:
    """Let a select, with its eagerly loaded relationships, see deleted rows too; an update as well."""
    return statement.execution_options(**{_SHOWN: True})


def hide_deleted(session: type[Session]) -> None:
    """Let all sessions of a class hide deleted rows, and mark rows where they are told to delete them."""
    event.listen(session, "do_orm_execute", _execute)
    event.listen(session, "before_flush", _mark_instead)
    event.listen(session, "after_flush_postexec", _let_go)


def _visible(model: Any) -> Any:
    return not_(model.is_deleted)


_HIDDEN = with_loader_criteria(SoftDeletes, _visible, include_aliases=True)


def _execute(state: ORMExecuteState) -> Result[Any] | None:
    if not SoftDeletes.__subclasses__() or _FOR_GOOD in state.execution_options:
        return None
    # Refreshing an instance that somebody holds is no search for rows.
    hides = (state.is_select and not state.is_column_load) or state.is_update or state.is_delete
    if hides and _SHOWN not in state.execution_options:
        state.statement = state.statement.options(_HIDDEN)
    mapper = state.bind_mapper
    if isinstance(state.statement, Delete) and mapper is not None and issubclass(mapper.class_, SoftDeletes):
        return state.invoke_statement(_marking(mapper.class_, state.statement))
    return None


def _marking(model: type[SoftDeletes], statement: Delete) -> Update:
    """The update that does what a delete of a model means."""
    marking = sql_update(model).values(is_deleted=True, deleted_at=now())
    if statement.whereclause is not None:
        marking = marking.where(statement.whereclause)
    if statement.returning_column_descriptions:
        raise InvalidQuery(f"{model.__name__} has SoftDeletes, whose rows are not returned when they are deleted")
    return marking.options(_HIDDEN).execution_options(**statement.get_execution_options())


def _mark_instead(session: Session, _context: UOWTransaction, _instances: Sequence[Any] | None) -> None:
    for instance in session.deleted:
        if isinstance(instance, SoftDeletes):
            # Takes it off the list of what is to be deleted.
            session.add(instance)
            instance.is_deleted, instance.deleted_at = True, now()
            session.info.setdefault(_MARKED, []).append(instance)


def _let_go(session: Session, _context: UOWTransaction) -> None:
    """Forget what was deleted, as a session does with rows that are gone."""
    for instance in session.info.pop(_MARKED, ()):
        session.expunge(instance)


def _some(
    model: type[Any], criteria: tuple[ColumnExpressionArgument[bool], ...]
) -> tuple[ColumnExpressionArgument[bool], ...]:
    if not criteria:
        raise InvalidQuery(f"which rows of {model.__name__}? fix: say where, or sqlalchemy.true() for all of them")
    return criteria


async def _run(database: "Database", statement: Update | Delete) -> int:
    options = {_SHOWN: True, "synchronize_session": False}
    async with database.writing() as session:
        result = await session.execute(statement, execution_options=options)
    assert isinstance(result, CursorResult)
    return result.rowcount

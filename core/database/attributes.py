"""What the attributes of models do beyond SQLAlchemy's: they convert times at once, and advise who reads too early."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import InstrumentedAttribute

from core.database.lazy import AdvisingAttribute
from core.database.types import Instant
from core.database.values import is_sql
from core.instants import to_instant

__all__ = ["prepare_attributes"]


def prepare_attributes(base: type[Any]) -> None:
    """Prepare the attributes of all models.

    Args:
        base: The class that models derive from; comes before them.
    """
    event.listen(base, "attribute_instrument", _advise, propagate=True)
    event.listen(base, "attribute_instrument", _normalise_instants, propagate=True)


def _advise(_model: type[Any], _key: str, attribute: InstrumentedAttribute[Any]) -> None:
    """Let attributes that are read before they are loaded say what to do."""
    if type(attribute) is InstrumentedAttribute:
        # SQLAlchemy lets nobody choose the class.
        attribute.__class__ = AdvisingAttribute


def _normalise_instants(_model: type[Any], _key: str, attribute: InstrumentedAttribute[Any]) -> None:
    """Convert what is assigned to a time column at once, so that it reads back as it will be stored."""
    columns = getattr(attribute.property, "columns", ())
    if columns and isinstance(columns[0].type, Instant):
        event.listen(attribute, "set", _to_instant, retval=True, propagate=True)


def _to_instant(_target: Any, value: Any, _old: Any, _initiator: Any) -> Any:
    return value if value is None or is_sql(value) else to_instant(value)

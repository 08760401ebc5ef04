"""The verbs of models on another database than the one that they use by default."""

from types import MethodType
from typing import TYPE_CHECKING, Any

from core.exceptions import InvalidQuery

if TYPE_CHECKING:
    from core.database.database import Database

__all__ = ["Bound", "model_of"]

# They are about all databases.
_REFUSED = frozenset({"cleanup", "configure", "install"})


class Bound:
    """Stands in for a model: its class methods, the verbs among them, run on one database.

    Args:
        model: The model; or ``Model`` itself, whose verbs are told the model.
        database: Where they read and write.
    """

    def __init__(self, model: Any, database: "Database") -> None:
        self._model = model
        self._database = database

    def __repr__(self) -> str:
        return f"<{self._model.__name__} on {self._database.address}>"

    def database(self) -> "Database":
        """The database."""
        return self._database

    def __getattr__(self, name: str) -> Any:
        if name in _REFUSED:
            raise InvalidQuery(
                f"{name} is not for one of several databases; fix: Model.{name}(), or .database().close() to close one"
            )
        found = getattr(self._model, name)
        if isinstance(found, MethodType) and found.__self__ is self._model:
            # They ask their class for the database, and find this object's.
            return MethodType(found.__func__, self)
        return found


def model_of(model: Any) -> Any:
    """The model itself, where another database stands in for it."""
    return model._model if isinstance(model, Bound) else model

"""What a caller wants to write, before it is known how."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from core.database.atoms import Change
from core.database.rows import natural_key

__all__ = ["Intent", "Returning"]


class Returning(NamedTuple):
    """What is asked for of each row as it is stored afterwards.

    Attributes:
        names: The attributes.
        whole: Whether they are to be an instance, and not a dictionary.
    """

    names: tuple[str, ...]
    whole: bool

    def of(self, instance: Any) -> Any:
        """What is given back of a row that is an instance."""
        return instance if self.whole else {name: getattr(instance, name) for name in self.names}

    def chosen(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The values that are asked for, of a row that may have been read for others too."""
        return {name: stored[name] for name in self.names}


class Intent(NamedTuple):
    """Rows of one model, to be written alike.

    Attributes:
        model: A mapped class.
        rows: Fields of each row, by attribute name.
        change: How a row that is already there is changed; ``None`` where it stays as it is.
        key: The attributes by which rows are known; ``None`` for the natural key, none at all where every row is new.
        wants_rows: Whether the ids of the rows are asked for.
        returning: What is asked for of the rows afterwards; never of one among several intents.
    """

    model: type[Any]
    rows: list[dict[str, Any]]
    change: Change | None = None
    key: tuple[str, ...] | None = None
    wants_rows: bool = False
    returning: Returning | None = None

    @property
    def known_by(self) -> tuple[str, ...]:
        """The attributes by which rows are known, or nothing."""
        return natural_key(self.model) if self.key is None else self.key

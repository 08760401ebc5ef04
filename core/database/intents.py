"""What a caller wants to write, before it is known how."""

from typing import Any, NamedTuple

from core.database.atoms import Change
from core.database.rows import natural_key

__all__ = ["Intent"]


class Intent(NamedTuple):
    """Rows of one model, to be written alike.

    Attributes:
        model: A mapped class.
        rows: Fields of each row, by attribute name.
        change: How a row that is already there is changed; ``None`` where it stays as it is.
        key: The attributes by which rows are known; ``None`` for the natural key, none at all where every row is new.
        wants_rows: Whether the ids of the rows are asked for.
    """

    model: type[Any]
    rows: list[dict[str, Any]]
    change: Change | None = None
    key: tuple[str, ...] | None = None
    wants_rows: bool = False

    @property
    def known_by(self) -> tuple[str, ...]:
        """The attributes by which rows are known, or nothing."""
        return natural_key(self.model) if self.key is None else self.key

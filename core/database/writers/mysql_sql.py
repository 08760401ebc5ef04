"""The statements of the MySQL writer: multi-row VALUES, so that a batch is one round trip."""

from sqlalchemy import Dialect

from core.database.shapes import Shape

__all__ = ["MySQLStatements"]


class MySQLStatements:
    """Builds statements; aiomysql writes the values into them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def advance(self, writer: str, sequence: int) -> str:
        """Move a writer's high-water row."""
        return (
            "INSERT INTO mqueduct_writers (writer, sequence, moved_at) "
            f"VALUES ('{writer}', {sequence}, UTC_TIMESTAMP()) "
            "ON DUPLICATE KEY UPDATE sequence = VALUES(sequence), moved_at = VALUES(moved_at)"
        )

    def insert(self, shape: Shape, count: int, *, returning: bool = False) -> str:
        """Insert rows that are not there yet.

        Not INSERT IGNORE, which would also swallow values that do not fit; setting a key column to
        itself changes nothing.
        """
        conflict = ""
        if shape.key:
            column = self._quote(shape.column(shape.key[0]).name)
            conflict = f" ON DUPLICATE KEY UPDATE {column} = {self._table(shape)}.{column}"
        names = ", ".join(self._quote(shape.column(name).name) for name in shape.generated)
        return f"{self._values(shape, count)}{conflict}{f' RETURNING {names}' if returning else ''}"

    def upsert(self, shape: Shape, newer_than: str | None, count: int) -> str:
        """Insert rows, or let existing ones take over the given fields."""
        names = [self._quote(column.name) for column in shape.changed]
        if not names:
            return self.insert(shape, count)
        if newer_than is None:
            changes = [f"{name} = VALUES({name})" for name in names]
        else:
            guard = self._quote(shape.column(newer_than).name)
            newer = f"{guard} IS NULL OR {guard} <= VALUES({guard})"
            # Assigned from left to right: the guard comes last, or it would switch off all after it.
            names.sort(key=lambda name: name == guard)
            changes = [f"{name} = IF({newer}, VALUES({name}), {name})" for name in names]
        return f"{self._values(shape, count)} ON DUPLICATE KEY UPDATE {', '.join(changes)}"

    def lookup(self, shape: Shape, count: int) -> str:
        """Find rows by natural key; returns keys, then generated values."""
        keys = ", ".join(self._quote(shape.column(name).name) for name in shape.key)
        names = "".join(f", {self._quote(shape.column(name).name)}" for name in shape.generated)
        mark = f"({', '.join(['%s'] * len(shape.key))})"
        marks = ", ".join([mark] * count)
        return f"SELECT {keys}{names} FROM {self._table(shape)} WHERE ({keys}) IN ({marks})"

    def highest(self, shape: Shape) -> str:
        """The highest id of a table."""
        return f"SELECT MAX({self._quote(shape.column(shape.generated[0]).name)}) FROM {self._table(shape)}"

    def last(self, shape: Shape) -> str:
        """The generated values of the row that this connection inserted last."""
        names = ", ".join(self._quote(shape.column(name).name) for name in shape.generated)
        counted = self._quote(shape.column(shape.generated[0]).name)
        return f"SELECT {names} FROM {self._table(shape)} WHERE {counted} = LAST_INSERT_ID()"

    def _values(self, shape: Shape, count: int) -> str:
        names = ", ".join(self._quote(column.name) for column in shape.columns)
        mark = f"({', '.join(['%s'] * len(shape.columns))})"
        return f"INSERT INTO {self._table(shape)} ({names}) VALUES {', '.join([mark] * count)}"

    def _table(self, shape: Shape) -> str:
        return self._dialect.identifier_preparer.format_table(shape.table)

    def _quote(self, name: str) -> str:
        # aiomysql formats with %, so a literal one must be doubled.
        return self._dialect.identifier_preparer.quote(name).replace("%", "%%")

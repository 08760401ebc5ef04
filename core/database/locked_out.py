"""Writes that met a row which somebody else has locked: they wait aside, in their order, while others go on."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import Table

from core.database.atoms import Atom
from core.database.writers.base import RowLocked

__all__ = ["LockedOut"]

# Seconds.
_PAUSE = 0.3

logger = structlog.get_logger(__name__)


class LockedOut:
    """Keeps atoms that are to be tried again in a moment.

    Args:
        wake: Called when it is time to.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._atoms: list[Atom] = []
        self._keys: set[Any] = set()
        self._known_by: dict[Table, set[tuple[str, ...]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        #: Whether it is time to try again.
        self.due = False

    def __repr__(self) -> str:
        return f"locked_out={len(self._atoms)}"

    def add(self, atom: Atom, error: RowLocked, patience: float) -> None:
        """Put an atom aside, or end it when it has been locked out for ``patience`` seconds."""
        now = time.monotonic()
        if atom.gives_up is None:
            atom.gives_up = now + patience
            logger.warning("a write waits for a lock", reason=str(error))
        if now >= atom.gives_up:
            atom.end(error)
        else:
            self._put_aside(atom)

    def keep_order(self, atoms: Sequence[Atom]) -> Sequence[Atom]:
        """Put those aside that write a key for which another one waits already; returns the others."""
        if not self._atoms:
            return atoms
        free: list[Atom] = []
        for atom in atoms:
            if self._must_wait(atom):
                self._put_aside(atom)
            else:
                free.append(atom)
        return free

    def _must_wait(self, atom: Atom) -> bool:
        """Whether an atom may mean a row for which another one waits; it does not show where their keys are others."""
        for operation in atom.operations:
            key = operation.shape.key
            if not self._known_by.get(operation.shape.table, set()) <= {key}:
                return True
        return not self._keys.isdisjoint(atom.keys())

    def _put_aside(self, atom: Atom) -> None:
        self._atoms.append(atom)
        self._keys.update(atom.keys())
        for operation in atom.operations:
            self._known_by.setdefault(operation.shape.table, set()).add(operation.shape.key)
        atom.let_go()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.due = True
        self._wake()

    def take(self) -> list[Atom]:
        """All atoms that are still wanted, in their order."""
        atoms = [atom for atom in self._atoms if not atom.withdrawn]
        self._atoms.clear()
        self._keys.clear()
        self._known_by.clear()
        self.due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return atoms

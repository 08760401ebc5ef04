"""The lease of a client id: that two processes never use one session at the same time."""

import asyncio
import secrets
from typing import Protocol

import structlog

from core.database.leases import LeaseRow
from core.exceptions import ConfigurationError, DatabaseError

__all__ = ["Lease", "LeaseKeeper"]

# Seconds between two beats, and seconds without one after which the holder counts as dead. The latter is
# what a restart after a crash waits, so it is short; several beats must fit into it.
_INTERVAL = 1.5
_PATIENCE = 6.0

_FAREWELL_SECONDS = 1.0

logger = structlog.get_logger(__name__)


class LeaseKeeper(Protocol):
    """Where leases are kept; see ``core.database.leases.Leases``."""

    async def read(self, client_id: str) -> LeaseRow | None:
        """Look at a lease."""

    async def take(self, client_id: str, holder: str, former: LeaseRow | None) -> bool:
        """Take a lease that is still as it was read."""

    async def renew(self, client_id: str, holder: str) -> bool:
        """Show that the holder lives."""

    async def release(self, client_id: str, holder: str) -> None:
        """Give a lease back."""


class Lease:
    """The right to use a client id, for as long as this process lives and shows it.

    Whether a former holder lives is told from the beats that are seen, never from clocks, which differ
    from machine to machine; nor does an outage of the database look like a death.

    Args:
        keeper: Where leases are kept.
        client_id: What it is about.
        interval: Seconds between two beats.
        patience: Seconds without a beat after which a holder counts as dead.
    """

    def __init__(
        self, keeper: LeaseKeeper, client_id: str, interval: float = _INTERVAL, patience: float = _PATIENCE
    ) -> None:
        self._keeper = keeper
        self._client_id = client_id
        self._interval = interval
        self._patience = patience
        self._holder = secrets.token_hex(8)
        self._held = False

    def __repr__(self) -> str:
        return f"<Lease {self._client_id!r} {'held' if self._held else 'not held'}>"

    async def acquire(self) -> None:
        """Take the lease, after waiting whether a former holder lives.

        Raises:
            ConfigurationError: Another living process holds it.
            DatabaseError: It cannot be read or written.
        """
        row = await self._keeper.read(self._client_id)
        if row is not None and row.holder is not None:
            row = await self._watch(row)
        if not await self._keeper.take(self._client_id, self._holder, row):
            raise self._taken()
        self._held = True

    async def _watch(self, row: LeaseRow) -> LeaseRow:
        """Wait until a holder is given back or counts as dead."""
        logger.info(
            "the client id was not given back; waiting whether its last user lives",
            client_id=self._client_id,
            seconds=self._patience,
        )
        deadline = asyncio.get_running_loop().time() + self._patience
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(self._interval / 4)
            seen = await self._keeper.read(self._client_id)
            if seen is not None and seen.holder is None:
                return seen
            if seen != row:
                raise self._taken()
        return row

    def _taken(self) -> ConfigurationError:
        return ConfigurationError(
            f"another process that is alive uses the client id {self._client_id!r}; fix: stop it, or give each "
            "service its own MQTT_CLIENT_ID; for more processes of one service use 'run --workers N'"
        )

    async def keep(self) -> None:
        """Show that this process lives, until cancelled.

        Raises:
            ConfigurationError: Another process has taken the lease: this one was silent for too long.
        """
        failing = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                self._held = await self._keeper.renew(self._client_id, self._holder)
            except DatabaseError as error:
                # Nobody else can take it now either.
                log = logger.debug if failing else logger.info
                log("the lease of the client id cannot be renewed now", reason=str(error))
                failing = True
                continue
            failing = False
            if not self._held:
                raise self._taken()

    async def release(self) -> None:
        """Give the lease back, if it is held."""
        if not self._held:
            return
        self._held = False
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._keeper.release(self._client_id, self._holder)
        except (DatabaseError, TimeoutError) as error:
            reason = str(error) or "the database does not answer"
            logger.info("the lease of the client id was not given back; the next start waits", reason=reason)

"""A worker's end of the line to its supervisor: heartbeats go up, and its end means that the supervisor is gone."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from core.workers.reports import Report, encode

__all__ = ["Channel"]

_BEAT = 0.1
_LAST_WORDS = 1.0

logger = structlog.get_logger(__name__)


class Channel:
    """The line to the supervisor.

    Args:
        descriptor: Of the socket, as the supervisor has handed it down.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # Not for the children of handlers: while one of them held it, the end could not be seen.
        self._socket.set_inheritable(False)
        self._unsent = b""
        self._closing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    async def beat(self, report: Callable[[], Report]) -> None:
        """Report from the event loop, so that its silence tells when it is blocked; until cancelled."""
        while True:
            self._send(report())
            await asyncio.sleep(_BEAT)

    def _send(self, report: Report) -> None:
        # Never waits: a supervisor that reads nothing must not freeze its workers. What is left of a line goes first.
        self._unsent = self._unsent or encode(report)
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self._unsent = self._unsent[self._socket.send(self._unsent, socket.MSG_DONTWAIT) :]

    def tell(self, report: Report) -> None:
        """Say a last word, which should not get lost."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_LAST_WORDS)
            self._socket.sendall(self._unsent + encode(report))
            self._unsent = b""

    def stop_with_supervisor(self, stopping: Callable[[], bool]) -> None:
        """Stop this process as SIGTERM would, as soon as the supervisor is gone.

        From a thread, because the event loop may be blocked just then; what ends a process whose loop
        stays blocked, after SIGTERM, ends it here too.

        Args:
            stopping: Whether it stops already; a second signal would cut it short.
        """

        def wait() -> None:
            with contextlib.suppress(OSError):
                self._socket.recv(1)
            if not self._closing and not stopping():
                logger.warning("the supervisor is gone; this worker drains and ends")
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()

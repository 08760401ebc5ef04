"""The supervisor's end: one worker process, from its start to its end."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from core.workers.reports import Report, decode
from core.workers.restarts import Pulse

__all__ = ["Child"]

_LOOK = 0.1


class Child:
    """A worker process; made by ``start``."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pulse: Pulse,
    ) -> None:
        self._process = process
        self._reader = reader
        # Never written to; while it lives, the worker knows that this process does.
        self._writer = writer
        self._pulse = pulse
        self._terminated = False
        self._heard = False
        #: What it has told last.
        self.report = Report()
        #: Set when it is ready for the first time, or has ended.
        self.settled = asyncio.Event()
        #: Why it was killed; ``None`` if it was not.
        self.killed_for: str | None = None

    def __repr__(self) -> str:
        return f"<Child pid={self._process.pid} {self.report}>"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @classmethod
    async def start(cls, command: Sequence[str], patience: float) -> Self:
        """Start a process.

        Args:
            command: Program and arguments; ``{}`` in one of them becomes the number of the line's descriptor.
            patience: Seconds of silence after which it counts as frozen.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # In a session of its own: Ctrl-C is meant for the supervisor, which then stops its workers in order.
            process = await asyncio.create_subprocess_exec(
                *[word.replace("{}", str(theirs.fileno())) for word in command],
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(process, reader, writer, Pulse(asyncio.get_running_loop().time(), patience))

    async def ended(self) -> int:
        """Listen to it until it has ended; kills it when it is frozen.

        Returns:
            The exit code, as a shell tells it: 128 and more for a signal.
        """
        listening = asyncio.create_task(self._listen())
        watching = asyncio.create_task(self._watch())
        try:
            code = await self._process.wait()
            # What it said last may still be on the way; children of its own may keep the line open.
            await asyncio.wait([listening], timeout=1)
        finally:
            for task in (listening, watching):
                task.cancel()
            await asyncio.wait([listening, watching])
            self._writer.close()
            self.settled.set()
        if self._terminated and not self._heard and code == -signal.SIGTERM:
            # It had not begun; Python had not yet learnt what to do at SIGTERM.
            return 0
        return 128 - code if code < 0 else code

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            while (line := await self._reader.readline()).endswith(b"\n"):
                self.report = decode(line)
                self._heard = True
                self._pulse.beat(asyncio.get_running_loop().time())
                if self.report.ready:
                    self.settled.set()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self._pulse.frozen(asyncio.get_running_loop().time(), self._is_stopped):
                self.killed_for = "it was frozen: its event loop did not run"
                self.kill()
                return

    def _is_stopped(self) -> bool:
        """Whether it is stopped by a signal, where the system tells (Linux)."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        # The name in parentheses may contain anything (proc(5)).
        return stat.rpartition(")")[2].split()[0] == "T"

    def terminate(self) -> None:
        """Ask it to drain and end."""
        self._terminated = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

"""The service as a process of its own, for tests that start it, ask it to stop or kill it."""

import asyncio
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.leash import Leash

ROOT = Path(__file__).resolve().parents[1]

Condition = Callable[[], object]

# A warning of Python or asyncio in the log is as much an error as one in a test.
_COMPLAINT = re.compile(r"\w*Warning\b|never retrieved|was destroyed|never awaited|Exception in callback")

_PATIENCE = 60.0
_POLL = 0.02


class Service:
    """``python main.py run`` with settings of its own, in a folder that holds its output."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *,
        root: Path = ROOT,
        arguments: Sequence[str] = ("run",),
        command: Sequence[str] | None = None,
    ) -> None:
        """Describe a service.

        Args:
            folder: Takes its output; must exist.
            settings: Its environment, beside what every process needs; it makes its tables itself.
            root: The checkout to run.
            arguments: Of ``main.py``.
            command: What to run in place of ``main.py``.
        """
        self.output = folder / "output"
        self.log = folder / "log"
        self._folder = folder
        self._root = root
        # In development mode Python warns of whatever is left open.
        self._command = command or [sys.executable, "-X", "dev", "main.py", *arguments]
        self._environment = environment({"DB_AUTO_MIGRATE": "true"} | dict(settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None

    def start(self) -> Self:
        """Start it with an empty log."""
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                cwd=self._root,
                env=self._environment,
                start_new_session=True,
            )
        leash = self._folder / "leash"
        leash.mkdir(exist_ok=True)
        self._leash = Leash(leash)
        self._leash.hold([-self._process.pid])
        return self

    async def until(self, condition: Condition, what: str = "the condition") -> None:
        """Wait for a condition; fails with the log when the service ends before it holds."""
        deadline = time.monotonic() + _PATIENCE
        while not await _holds(condition):
            if not self.running and not await _holds(condition):
                raise AssertionError(f"the service ended before {what}\n{self.said()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}\n{self.said()}")
            await asyncio.sleep(_POLL)

    async def until_logged(self, event: str) -> None:
        """Wait for an event in the log."""
        await self.until(lambda: self.events(event), f"{event!r} in the log")

    async def connected(self) -> Self:
        """Wait until the broker has confirmed the subscriptions."""
        await self.until_logged("connected to the broker")
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the present or last run."""
        assert self._process is not None
        return self._process.pid

    def set(self, **settings: str) -> None:
        """Change settings for the next start."""
        self._environment |= settings

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its children, as a terminal does."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        assert self._process is not None
        code = self._process.wait(_PATIENCE)
        self._release()
        return code

    def stop(self) -> int:
        """Ask it to stop and return the exit code."""
        self.send(signal.SIGTERM)
        code = self.wait()
        complaints = _COMPLAINT.findall(self.said())
        assert not complaints, f"asyncio or Python complains: {complaints}\n{self.said()}"
        return code

    def kill(self) -> None:
        """End it as a crash would."""
        self.send(signal.SIGKILL)
        self.wait()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The log's events so far, all or those of one name."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in events if name in (None, event["event"])]

    def summary(self) -> dict[str, int]:
        """What it said at its end: received, committed, dead_lettered, dropped, left."""
        text = self.output.read_text()
        words = r"Received (\d+) messages, committed (\d+) rows, dead-lettered (\d+), dropped (\d+), left (\d+)"
        found = re.search(words, text)
        assert found is not None, self.said()
        names = ("received", "committed", "dead_lettered", "dropped", "left")
        return dict(zip(names, map(int, found.groups()), strict=True))

    def said(self) -> str:
        """Everything that it has written."""
        return f"--- output\n{self.output.read_text()}\n--- log\n{self.log.read_text()}"

    def _release(self) -> None:
        if self._leash is not None:
            self._leash.release()
            self._leash = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()
        self._release()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that shall see these settings and none of the developer's."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "PYENV_ROOT")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(settings)


def shell(command: str, folder: Path, settings: Mapping[str, str]) -> str:
    """Run a command to its end, which must be a good one, as somebody types it; returns what it printed."""
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


async def _holds(condition: Condition) -> bool:
    result = condition()
    return bool(await result if inspect.isawaitable(result) else result)


def copy_of_project(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """Copy what runs into an empty folder, and add or replace files there.

    Args:
        folder: Must not exist yet.
        files: Sources by path.
    """
    shutil.copytree(ROOT, folder, ignore=_all_but_sources)
    for path, source in (files or {}).items():
        (folder / path).write_text(source)
    return folder


def _all_but_sources(folder: str, names: list[str]) -> set[str]:
    kept = {"app", "bootstrap", "config", "core", "routes", "main.py"} if Path(folder) == ROOT else set(names)
    return (set(names) - kept) | {"__pycache__"}

"""The life of one private server process: start, stop, kill, restart, freeze, thaw."""

import abc
import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil

from tests.servers import executables
from tests.servers.leash import Leash
from tests.servers.ports import free_port

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02
_UNPRIVILEGED_USER = "nobody"


class ServerFailed(RuntimeError):
    """A private server did not start or stop; the message ends with its log."""


class Server(abc.ABC):
    """One server process in a folder of its own, listening on 127.0.0.1 only.

    The folder lives until `close`, so that what is stored survives `kill` and `restart`.
    """

    needs: ClassVar[tuple[str, ...]]  # names of executables
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        for name in self.needs:
            executables.find(name)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"mqueduct-{type(self).__name__.lower()}-"))
        self._own(self.folder)
        self._leash = Leash(self.folder)
        self._log = self.folder / "server.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._prepared = False

    # What a kind of server says about itself.

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where clients find the server."""

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Write what the first start needs into the folder."""

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Return whether the server speaks its protocol already; OSError counts as no."""

    @classmethod
    def missing(cls) -> str | None:
        """Return why this kind of server cannot run on this machine, or None when it can."""
        return executables.missing(cls.needs)

    # Life.

    def start(self) -> Self:
        """Start the server and return once it answers. Raises `ServerFailed`."""
        if self.running:
            return self
        if not self._prepared:
            self._prepare()
            self._prepared = True
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                **self._unprivileged(),
            )
        self._leash.hold([-self._child.pid])
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """Stop the server in good order and wait for its end. Raises `ServerFailed` when it hangs."""
        if self._child is None:
            return
        self.thaw()
        self._child.send_signal(self.stop_signal)
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self!r} did not stop on {self.stop_signal.name}\n{self.log()}") from None
        self._forget_child()

    def kill(self) -> None:
        """End the server and all its processes with SIGKILL, as a crash would."""
        if self._child is None:
            return
        family = self._family()
        for process in family:
            _signal(process, signal.SIGKILL)
        self._child.wait()
        _wait_until(lambda: not any(_alive(process) for process in family))
        self._forget_child()

    def restart(self) -> None:
        """Stop and start; what is stored stays, and so does the port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Suspend all processes of the server: connections stay open and nothing answers."""
        family = self._family()
        # PostgreSQL gives each backend a process group of its own, so the group alone would not be enough.
        self._leash.hold([-self.pid, *(process.pid for process in family)])
        for process in family:
            _signal(process, signal.SIGSTOP)
        _wait_until(lambda: all(_suspended(process) for process in family))

    def thaw(self) -> None:
        """Let a frozen server go on; harmless when it is not frozen."""
        for process in self._family():
            _signal(process, signal.SIGCONT)

    def limit_files(self, size: int | None) -> None:
        """Let no file grow beyond so many bytes, as a full disk would; ``None`` lifts the limit.

        All processes of the server have it, and those that it starts later. Linux only.
        """
        limit = "unlimited" if size is None else size
        for process in self._family():
            try:
                # By the server's own user: not even root may do it to another's process everywhere.
                self._run([executables.find("prlimit"), f"--pid={process.pid}", f"--fsize={limit}:"])
            except ServerFailed:
                if _alive(process):
                    raise

    def close(self) -> None:
        """End the server and remove its folder."""
        try:
            self.stop()
        finally:
            self._leash.release()

    # What can be asked.

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server's main process. Raises `ServerFailed` when it does not run."""
        if self._child is None:
            raise ServerFailed(f"{self!r} has no process id")
        return self._child.pid

    def log(self) -> str:
        """Return everything that the server has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"pid={self._child.pid}" if self._child is not None and self.running else "stopped"
        return f"<{type(self).__name__} 127.0.0.1:{self.port} {state}>"

    # For the kinds of servers.

    def _run(self, command: list[str]) -> None:
        """Run a preparing command as the server's user. Raises `ServerFailed` with what it said."""
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=self.folder,
            **self._unprivileged(),
        )
        if done.returncode != 0:
            raise ServerFailed(f"{command[0]} ended with code {done.returncode}\n{done.stdout}")

    def _write(self, name: str, text: str) -> Path:
        """Write a file into the folder that only the server's user can read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        self._own(path)
        return path

    @staticmethod
    def _own(path: Path) -> None:
        if os.geteuid() == 0:
            account = _unprivileged_account()
            os.chown(path, account.pw_uid, account.pw_gid)

    def _unprivileged(self) -> dict[str, Any]:
        # A folder for temporary files of its own: MariaDB clears those of others away when it starts.
        options: dict[str, Any] = {"env": {**os.environ, "TMPDIR": str(self.folder)}}
        if os.geteuid() == 0:
            account = _unprivileged_account()
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options

    # Within.

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers_now():
            if not self.running:
                self._forget_child()
                raise ServerFailed(f"{type(self).__name__} ended while starting\n{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{type(self).__name__} did not answer in {_START_SECONDS:.0f} s\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def _answers_now(self) -> bool:
        try:
            return self._answers()
        except OSError:
            return False

    def _family(self) -> list[psutil.Process]:
        if self._child is None or self._child.poll() is not None:
            return []
        main = psutil.Process(self._child.pid)
        return [main, *main.children(recursive=True)]

    def _forget_child(self) -> None:
        self._child = None
        self._leash.hold([])


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _alive(process: psutil.Process) -> bool:
    try:
        # A zombie is dead: in a container nobody may ever collect an orphan's exit code.
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _suspended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    except psutil.NoSuchProcess:
        return True


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed("the server's processes do not take their signals")
        time.sleep(_POLL_SECONDS)


def _unprivileged_account() -> pwd.struct_passwd:
    return pwd.getpwnam(_UNPRIVILEGED_USER)

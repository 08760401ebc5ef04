"""The contenders, and the life of one of them as a process."""

import inspect
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

import config
from benchmarks.ingest_stand import cpu_of
from benchmarks.peers.order import Order
from core.model import Model
from core.router import Router

__all__ = ["CONTENDERS", "Contender", "Program", "Setting"]

ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Setting:
    """What of a contender varies between measurements.

    Attributes:
        window: Messages taken in and not yet acknowledged.
        workers: Processes of Mqueduct.
        routes: Routes of Mqueduct.
    """

    window: int = 1_000
    workers: int = 1
    routes: int = 1


def _always() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contender:
    """A program to measure.

    Attributes:
        name: As in ``--only``.
        module: What ``python -m`` runs.
        environment: Variables of an Mqueduct; ``None`` for a peer, which gets an ``Order``.
        share: Part of the messages that it gets; a slow one need not run for an hour.
        missing: Says why it cannot run, or nothing.
    """

    name: str
    module: str
    environment: Mapping[str, str] | None = None
    share: float = 1.0
    missing: Callable[[], str | None] = field(default=_always)

    @property
    def reconnects(self) -> bool:
        """Whether it goes on after its connection was cut; peers do not."""
        return self.environment is not None

    def unfit(self, setting: Setting) -> str | None:
        """Why it cannot run with this setting, or ``None``."""
        if setting.workers > 1 and self.environment is None:
            return "has no workers"
        if setting.workers > 1 and "INGEST_WORKERS" not in config.variable_names():
            return "not built yet: INGEST_WORKERS"
        return self.missing()

    def start(self, order: Order, setting: Setting) -> "Program":
        """Start it."""
        command = [sys.executable, "-m", self.module]
        environment = {k: v for k, v in os.environ.items() if k not in config.variable_names()}
        if self.environment is None:
            command += order.arguments()
        else:
            command.append("run")
            environment |= _environment(order, setting) | self.environment
        return Program(command, environment)


def _environment(order: Order, setting: Setting) -> dict[str, str]:
    environment = {
        "MQTT_BROKER": "127.0.0.1",
        "MQTT_PORT": str(order.port),
        "MQTT_CLIENT_ID": order.client_id,
        "DATABASE_URL": order.url,
        # The tables are there already, made as the models say; the service notes that.
        "DB_AUTO_MIGRATE": "true",
        "INGEST_WINDOW": str(order.window),
        "INGEST_WORKERS": str(setting.workers),
        "BENCH_ROUTES": str(setting.routes),
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "json",
    }
    known = config.variable_names()
    return {k: v for k, v in environment.items() if k in known or k.startswith("BENCH_")}


def _without_batches() -> str | None:
    if "batch" in inspect.signature(Router.on).parameters and hasattr(Model, "insert"):
        return None
    return "not built yet: Router.on(batch=...) with Model.insert"


def _without_fast_driver() -> str | None:
    return None if find_spec("core.mqtt.mqtt5_driver") else "not built yet: mqueduct itself runs on aiomqtt"


def _without_faststream() -> str | None:
    return None if find_spec("faststream") and find_spec("zmqtt") else "pip install -r benchmarks/requirements.txt"


_APPLICATION = "benchmarks.application"

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("floor", "benchmarks.peers.floor"),
        Contender("mqueduct", _APPLICATION, {"MQTT_PROTOCOL": "5"}),
        Contender(
            "mqueduct-batch", _APPLICATION, {"MQTT_PROTOCOL": "5", "BENCH_BATCH": "500"}, missing=_without_batches
        ),
        Contender("mqueduct-aiomqtt", _APPLICATION, {"MQTT_PROTOCOL": "3.1.1"}, 0.25, _without_fast_driver),
        Contender("naive", "benchmarks.peers.naive", share=0.025),
        Contender("faststream", "benchmarks.peers.faststream", share=0.025, missing=_without_faststream),
    )
}


class Program:
    """A contender's process; a context manager that ends it."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._child = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def cpu(self) -> float:
        """Seconds of processor time so far, workers included."""
        return cpu_of(self.pid)

    def peak_mib(self) -> float:
        """The most memory it ever had (VmHWM), in MiB, workers included."""
        return self._memory("VmHWM")

    def resident_mib(self) -> float:
        """The memory it has now (VmRSS), in MiB, workers included."""
        return self._memory("VmRSS")

    def log(self) -> str:
        """What it has written."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> int:
        """Ask it to end, and end it if it does not.

        Returns:
            Its exit code.
        """
        if self.running:
            self._child.send_signal(signal.SIGTERM)
        try:
            return self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            return self._child.wait()

    def _kill(self) -> None:
        main = psutil.Process(self.pid)
        for process in [*main.children(recursive=True), main]:
            process.kill()

    def _memory(self, name: str) -> float:
        main = psutil.Process(self.pid)
        return sum(_status_mib(process.pid, name) for process in [main, *main.children(recursive=True)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()


def _status_mib(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":")), 0.0)

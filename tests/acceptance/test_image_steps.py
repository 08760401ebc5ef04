"""The Dockerfile's steps, run as a script in an empty folder: install, health check, start, stop."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import dockerfile
from tests.compose import ROOT
from tests.servers import Mosquitto, executables

STATUS_TOPIC = "mqueduct/status"
READING = '{"sensor_id": "s1", "sensor_type": "temperature", "value": 21.5, "unit": "C"}'
PATIENCE_SECONDS = 60


class Image:
    """What the Dockerfile builds, in a folder instead of an image."""

    def __init__(self, root: Path) -> None:
        """Copy the checkout and run every step up to the last."""
        self._root = root
        self._context = root / "context"
        self._workdir = root
        # The image's Python stands for itself: the interpreter of this run, not its virtual environment.
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))
        if os.geteuid() != 0:
            _write_script(root / "bin" / "chown", "exit 0")  # only root can; the container's build is root
        self.environment = {
            "PATH": f"{root / 'bin'}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **_pip_settings(),
            "PIP_QUIET": "1",
        }
        self.user: int | None = None
        self.command: list[str] = []
        self.health_check: list[str] = []
        self.stop_signal = signal.SIGTERM
        _copy_checkout(self._context)
        for instruction in dockerfile.read(ROOT / "Dockerfile"):
            self._apply(instruction)

    def run(self, command: list[str], **settings: str) -> subprocess.Popen[str]:
        """Start a command as the container would, with more environment variables."""
        account: dict[str, Any] = {}
        if self._can_switch_user():
            account = {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen(
            command,
            cwd=self._workdir,
            env={**self.environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **account,
        )

    @property
    def storage(self) -> Path:
        return self._workdir / "storage"

    def _apply(self, instruction: dockerfile.Instruction) -> None:
        arguments = dockerfile.relocate(instruction.arguments, self._root)
        match instruction.keyword:
            case "FROM":
                self._workdir = self._root
            case "ENV":
                relocated = dockerfile.Instruction("ENV", arguments)
                self.environment |= dockerfile.assignments(relocated, self.environment)
            case "WORKDIR":
                self._workdir = Path(arguments)
                self._workdir.mkdir(parents=True, exist_ok=True)
            case "COPY" if not arguments.startswith("--from"):  # both stages share one folder here
                self._copy(*arguments.split())
            case "RUN":
                subprocess.run(["/bin/sh", "-ec", arguments], cwd=self._workdir, env=self.environment, check=True)
            case "USER":
                self.user = int(arguments.partition(":")[0])
            case "STOPSIGNAL":
                self.stop_signal = signal.Signals[arguments]
            case "HEALTHCHECK":
                self.health_check = instruction.exec_form
            case "CMD":
                self.command = instruction.exec_form

    def _copy(self, source: str, target: str) -> None:
        origin, destination = self._context / source, self._workdir / target
        destination.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, destination)
        else:
            shutil.copy(origin, destination)

    def _can_switch_user(self) -> bool:
        """Root can, unless its Python lies where only root may look."""
        if os.geteuid() != 0 or self.user is None:
            return False
        try:
            python = shutil.which("python", path=self.environment["PATH"]) or ""
            subprocess.run([python, "-c", ""], user=self.user, check=True)
        except PermissionError:
            return False
        return True


def _copy_checkout(target: Path) -> None:
    """Copy what git knows or would take, as a fresh clone of it has."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def _pip_settings() -> dict[str, str]:
    """Where this machine's pip finds packages is the machine's business."""
    names = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT", "http_proxy", "https_proxy")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


def _write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def _mosquitto(program: str, broker: Mosquitto, *arguments: str) -> str:
    command = [executables.find(program), "-p", str(broker.port), "-q", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not pytest's folder, which only its owner may enter: the container's user is another one.
    with tempfile.TemporaryDirectory(prefix="mqueduct-image-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        yield Image(root)


@pytest.fixture
def settings(mosquitto: Mosquitto, image: Image) -> dict[str, str]:
    return {
        "MQTT_BROKER": "127.0.0.1",
        "MQTT_PORT": str(mosquitto.port),
        "MQTT_CLIENT_ID": "image-steps",
        "MQTT_STATUS_TOPIC": STATUS_TOPIC,
        "DATABASE_URL": f"sqlite:///{image.storage / 'readings.db'}",
    }


@pytest.mark.timeout(300)  # installs all dependencies
def test_image_serves(image: Image, mosquitto: Mosquitto, settings: dict[str, str]) -> None:
    """The image starts its command, is healthy, turns a message into a row and ends with 0 on the stop signal."""
    service = image.run(image.command, **settings)
    try:
        online = _mosquitto("mosquitto_sub", mosquitto, "-t", STATUS_TOPIC, "-C", "1", "-W", str(PATIENCE_SECONDS))
        assert online.strip() == "online"

        check = image.run(image.health_check, **settings)
        output, _ = check.communicate(timeout=PATIENCE_SECONDS)
        assert check.returncode == 0, output

        _mosquitto("mosquitto_pub", mosquitto, "-t", "sensors/image/data", "-m", READING)
        _wait_until(lambda: _values(image.storage / "readings.db") == [21.5], "the reading as a row")

        service.send_signal(image.stop_signal)
        output, _ = service.communicate(timeout=PATIENCE_SECONDS)
        assert service.returncode == 0, output
    except BaseException as failure:
        service.kill()
        failure.add_note(service.communicate()[0])
        raise


@pytest.mark.timeout(300)
def test_image_reports_a_missing_broker(image: Image, settings: dict[str, str], free_port: int) -> None:
    """The health check fails while the broker cannot be reached."""
    check = image.run(image.health_check, **{**settings, "MQTT_PORT": str(free_port)})
    output, _ = check.communicate(timeout=PATIENCE_SECONDS)
    assert check.returncode == 1, output


def _values(database: Path) -> list[float]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [value for (value,) in connection.execute("select value from sensor_readings where device_id = 'image'")]

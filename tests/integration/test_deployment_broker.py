"""The broker configuration that is shipped, run by the real Mosquitto."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.compose import PASSWORDS, ROOT, resolve
from tests.servers import Certificates, Mosquitto, executables, free_port

CONFIGURATION = ROOT / "deploy" / "mosquitto" / "mosquitto.conf"
ACL = ROOT / "deploy" / "mosquitto" / "acl"
GUIDE = ROOT / "docs" / "deployment.md"
SERVICE = ("mqueduct", PASSWORDS["BROKER_PASSWORD"])
DEVICE_PASSWORD = "of the device"

pytestmark = pytest.mark.mosquitto


class ShippedMosquitto(Mosquitto):
    """A broker with the shipped files; only its ports and its folders are other ones than in the container."""

    def __init__(self, certificates: Certificates) -> None:
        """Take the server's certificate for the TLS listener that the guide describes."""
        super().__init__()
        self._certificate = certificates.server
        self.service_port = free_port()

    def _prepare(self) -> None:
        text = CONFIGURATION.read_text() + fence("conf")
        (self.folder / "certs").mkdir()
        self._own(self.folder / "certs")
        self._write("certs/server.crt", self._certificate.certificate.read_text())
        self._write("certs/server.key", self._certificate.key.read_text())
        replacements = {
            "listener 1883\n": f"listener {self.port} 127.0.0.1\n",
            "listener 1884\n": f"listener {self.service_port} 127.0.0.1\n",
            "listener 8883\n": f"listener {self.tls_port} 127.0.0.1\n",
            "/mosquitto/data/": f"{self.folder}/",
            "/mosquitto/config/": f"{self.folder}/",
        }
        for there, here in replacements.items():
            assert there in text
            text = text.replace(there, here)
        self._write(self.configuration.name, text)
        self._write("acl", ACL.read_text())

    def run_in_container(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command of the compose file against this broker's folder and port."""
        replacements = {"/mosquitto/data": str(self.folder), "-p 1884": f"-p {self.service_port}"}
        for there, here in replacements.items():
            command = [part.replace(there, here) for part in command]
        environment = {"PATH": executables.search_path(), **PASSWORDS}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        for path in self.folder.iterdir():
            self._own(path)
        return done

    def add_device(self, name: str) -> None:
        self.run_in_container(["mosquitto_passwd", "-b", "/mosquitto/data/passwords", name, DEVICE_PASSWORD])


def fence(language: str, containing: str = "") -> str:
    """Return the one fenced block of the guide that is of this language and contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = resolve(tmp_path_factory.mktemp("compose"))["services"]
    return found


@pytest.fixture
def broker(services: dict[str, Any], certificates: Certificates) -> Iterator[ShippedMosquitto]:
    """The shipped broker with the service's account, made as the compose file makes it, and two devices."""
    server = ShippedMosquitto(certificates)
    try:
        assert server.run_in_container(services["broker-account"]["command"]).stderr == ""
        server.add_device("pump-1")
        server.add_device("pump-2")
        yield server.start()
    finally:
        server.close()


def client(program: str, server: ShippedMosquitto, account: tuple[str, str] | None, *arguments: str) -> list[str]:
    login = ["-u", account[0], "-P", account[1]] if account else []
    port = server.service_port if account == SERVICE else server.port
    return [executables.find(program), "-p", str(port), *login, "-q", "1", *arguments]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the time limit of each test ends a wait in vain."""
    while not condition():
        time.sleep(0.05)


def publish(server: ShippedMosquitto, account: tuple[str, str] | None, topic: str) -> int:
    command = client("mosquitto_pub", server, account, "-t", topic, "-m", topic)
    return subprocess.run(command, capture_output=True, check=False).returncode


def subscribed(server: ShippedMosquitto, account: tuple[str, str], name: str, *topics: str) -> None:
    """Leave a session at the broker that collects what comes to the topics."""
    filters = [part for topic in topics for part in ("-t", topic)]
    subprocess.run(client("mosquitto_sub", server, account, "-c", "-i", name, *filters, "-E"), check=True)


def received(server: ShippedMosquitto, account: tuple[str, str], name: str, count: int) -> list[str]:
    """Take `count` messages out of the session, or what is there when a minute is over."""
    command = client("mosquitto_sub", server, account, "-c", "-i", name, "-t", "mqueduct/unused")
    command += ["-C", str(count), "-W", "60"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def test_nobody_is_anonymous(broker: ShippedMosquitto) -> None:
    """The broker refuses clients without an account and with a wrong password."""
    assert publish(broker, SERVICE, "any/topic") == 0
    assert publish(broker, None, "sensors/pump-1/data") != 0
    assert publish(broker, ("pump-1", "wrong"), "sensors/pump-1/data") != 0


def test_a_device_speaks_for_itself_only(broker: ShippedMosquitto) -> None:
    """What a device publishes under another device's name reaches nobody."""
    device = ("pump-1", DEVICE_PASSWORD)
    subscribed(broker, SERVICE, "service", "#")
    for topic in ("sensors/pump-2/data", "anything/else", "sensors/pump-1/data", "devices/pump-1/status"):
        publish(broker, device, topic)
    publish(broker, SERVICE, "end")
    assert received(broker, SERVICE, "service", 3) == ["sensors/pump-1/data", "devices/pump-1/status", "end"]


def test_a_device_listens_for_itself_only(broker: ShippedMosquitto) -> None:
    """A device that subscribes to everything gets what is addressed to it."""
    device = ("pump-1", DEVICE_PASSWORD)
    subscribed(broker, device, "device", "#")
    for topic in ("devices/pump-2/config", "anything/else", "devices/pump-1/config", "sensors/pump-1/history/answer"):
        publish(broker, SERVICE, topic)
    assert received(broker, device, "device", 2) == ["devices/pump-1/config", "sensors/pump-1/history/answer"]


def die(server: ShippedMosquitto, account: tuple[str, str], will_topic: str) -> None:
    """Connect with a last will, and vanish without a farewell."""
    will = ["--will-topic", will_topic, "--will-payload", will_topic, "--will-qos", "1"]
    command = client("mosquitto_sub", server, account, "-t", "devices/pump-1/kept", *will)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline()  # connected: what is retained has come
        dying.kill()


def test_no_way_around_the_rules(broker: ShippedMosquitto) -> None:
    """Neither a last will, nor a shared subscription, nor the broker's own topics reach beyond a device."""
    device = ("pump-1", DEVICE_PASSWORD)
    kept = ["-t", "devices/pump-1/kept", "-m", "kept", "-r"]
    subprocess.run(client("mosquitto_pub", broker, SERVICE, *kept), check=True)
    subscribed(broker, SERVICE, "service", "devices/+/status")
    die(broker, device, "devices/pump-2/status")
    die(broker, device, "devices/pump-1/status")
    assert received(broker, SERVICE, "service", 1) == ["devices/pump-1/status"]

    subscribed(broker, device, "device", "$share/group/#", "$SYS/#")
    for topic in ("devices/pump-2/config", "devices/pump-1/end"):
        publish(broker, SERVICE, topic)
    assert received(broker, device, "device", 2) == ["kept", "devices/pump-1/end"]


def test_no_device_takes_the_session_of_another_client(broker: ShippedMosquitto, certificates: Certificates) -> None:
    """A device that calls itself by the service's client id, or by another device's, harms neither."""
    subscribed(broker, SERVICE, "mqueduct", "sensors/#")
    publish(broker, SERVICE, "sensors/pump-1/data")
    tls = ["-p", str(broker.tls_port), "--cafile", str(certificates.ca), "-h", "localhost"]
    for id_of_another, listener in (("mqueduct", []), ("pump-2", []), ("mqueduct", tls)):
        # A clean start in its name would delete the session and what waits in it.
        thief = ["-i", id_of_another, "-t", "sensors/pump-1/other", "-m", "sensors/pump-1/other"]
        subprocess.run(client("mosquitto_pub", broker, ("pump-1", DEVICE_PASSWORD), *listener, *thief), check=True)
    assert received(broker, SERVICE, "mqueduct", 4) == ["sensors/pump-1/data", *["sensors/pump-1/other"] * 3]


def test_accounts_are_added_as_documented(broker: ShippedMosquitto) -> None:
    """The guide's two commands let a new device in while the broker runs."""
    device = ("pump-3", "password of pump-3")
    assert publish(broker, device, "sensors/pump-3/data") != 0
    add, reload = fence("sh", "mosquitto_passwd").splitlines()
    assert shlex.split(add)[:4] == ["docker", "compose", "exec", "broker"]
    assert broker.run_in_container(shlex.split(add)[4:]).returncode == 0
    assert reload == "docker compose kill --signal HUP broker"
    os.kill(broker.pid, signal.SIGHUP)
    wait_until(lambda: publish(broker, device, "sensors/pump-3/data") == 0)


def test_tls_as_documented(broker: ShippedMosquitto, certificates: Certificates) -> None:
    """The guide's listener takes devices over TLS, and only with their accounts."""
    tls = ["-p", str(broker.tls_port), "--cafile", str(certificates.ca), "-h", "localhost"]
    message = ["-t", "sensors/pump-1/data", "-m", "x"]
    command = client("mosquitto_pub", broker, ("pump-1", DEVICE_PASSWORD), *tls, *message)
    assert subprocess.run(command, check=False).returncode == 0
    command = client("mosquitto_pub", broker, None, *tls, *message)
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


def test_health_check(broker: ShippedMosquitto, services: dict[str, Any]) -> None:
    """The container's health check succeeds on a broker that works and fails on one that is gone."""
    kind, command = services["broker"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert broker.run_in_container(["/bin/sh", "-c", command]).returncode == 0
    broker.stop()
    assert broker.run_in_container(["/bin/sh", "-c", command]).returncode != 0


def test_keeps_what_waits(broker: ShippedMosquitto) -> None:
    """More than Mosquitto's default of 1,000 messages wait, and a crash of the broker loses one at most."""
    count = 1100
    subscribed(broker, SERVICE, "service", "#")
    lines = [f"{number}" for number in range(count)]
    command = client("mosquitto_pub", broker, SERVICE, "-t", "sensors/pump-1/data", "-l")
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True)
    broker.kill()
    broker.start()
    publish(broker, SERVICE, "end")
    messages = received(broker, SERVICE, "service", count)
    assert messages[: count - 1] == lines[: count - 1]

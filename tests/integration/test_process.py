"""The service as a process: how it starts, what ends it, and what it says then."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Mosquitto, PostgreSQL, executables, free_port
from tests.service import ROOT, Service, copy_of_project, environment

STOPPING = "stopping; a second signal ends at once, without waiting for handlers"

HANGING = """
import asyncio
import threading

from core.controller import Controller
from core.router import Router


class Hanging(Controller):
    async def stubborn(self):
        self.logger.info("hanging")
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    async def blocking(self):
        self.logger.info("hanging")
        threading.Event().wait()

    def thread(self):
        self.logger.info("hanging")
        threading.Event().wait()


router = Router()
router.on("hanging/stubborn", Hanging.stubborn)
router.on("hanging/blocking", Hanging.blocking)
router.on("hanging/thread", Hanging.thread, timeout=0.1)
"""


def settings(tmp_path: Path, port: int, **more: str) -> dict[str, str]:
    return {
        "MQTT_BROKER": "127.0.0.1",
        "MQTT_PORT": str(port),
        "MQTT_CLIENT_ID": f"process-{tmp_path.name}",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
    } | more


def publish(port: int, topic: str, payload: str = "x") -> None:
    command = [executables.find("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port), "-q", "1"]
    subprocess.run([*command, "-t", topic, "-m", payload], check=True)


def run(arguments: list[str], variables: dict[str, str], root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=root,
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def hanging_project(tmp_path: Path) -> Path:
    return copy_of_project(tmp_path / "project", {"routes/hanging.py": HANGING})


# --- the end ---


@pytest.mark.parametrize(("kind", "code"), [("stubborn", 0), ("thread", 0), ("blocking", 1)])
async def test_handler_that_never_ends_does_not_keep_the_process(
    mosquitto: Mosquitto, tmp_path: Path, hanging_project: Path, kind: str, code: int
) -> None:
    """Neither a swallowed cancellation, nor a hanging thread, nor a blocked event loop holds SIGTERM up for long."""
    variables = settings(tmp_path, mosquitto.port, DRAIN_TIMEOUT="0.2")
    with Service(tmp_path, variables, root=hanging_project) as service:
        await service.connected()
        publish(mosquitto.port, f"hanging/{kind}")
        await service.until_logged("hanging")
        assert code == service.stop()
    if code == 0:
        assert {"received": 1, "committed": 0, "dead_lettered": 0, "dropped": 0, "left": 1} == service.summary()


async def test_second_signal_ends_at_once(mosquitto: Mosquitto, tmp_path: Path, hanging_project: Path) -> None:
    """Who insists does not wait for the drain; the exit code tells."""
    with Service(tmp_path, settings(tmp_path, mosquitto.port), root=hanging_project) as service:
        await service.connected()
        publish(mosquitto.port, "hanging/stubborn")
        await service.until_logged("hanging")
        service.send(signal.SIGINT)
        await service.until_logged(STOPPING)

        def insist() -> bool:
            if service.running:
                service.send(signal.SIGINT)
            return not service.running

        await service.until(insist)
        assert 130 == service.wait()


async def test_one_wish_delivered_twice_is_one(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """`timeout` and terminals signal a process and its group; that is no second thought."""
    with Service(tmp_path, settings(tmp_path, mosquitto.port)) as service:
        await service.connected()
        service.send(signal.SIGINT)
        service.send(signal.SIGINT)
        assert 0 == service.wait()
    assert 0 == service.summary()["received"]


@pytest.mark.parametrize("away", ["broker", "database"])
async def test_stop_while_starting(mosquitto: Mosquitto, tmp_path: Path, away: str) -> None:
    """A service that still waits for its servers stops like any other."""
    variables = settings(tmp_path, free_port() if away == "broker" else mosquitto.port)
    if away == "database":
        variables["DATABASE_URL"] = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    with Service(tmp_path, variables) as service:
        await service.until(lambda: [line for line in service.events() if line["level"] == "warning"])
        assert 0 == service.stop()
    assert "Traceback" not in service.said()


async def test_stop_during_an_outage_of_the_database(
    postgres_factory: Callable[..., PostgreSQL], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """What is held is left to the broker and stored by the next run."""
    server = postgres_factory(durable=True)
    variables = settings(tmp_path, mosquitto.port, DRAIN_TIMEOUT="0.2", DATABASE_URL=server.create_database("held"))
    service = Service(tmp_path, variables)
    with service:
        await service.connected()
        server.kill()
        publish(mosquitto.port, "sensors/held/data", '{"value": 1, "timestamp": 1760000000}')
        await service.until_logged("writes are held until the database serves again")
        assert 0 == service.stop()
    assert 1 == service.summary()["left"]
    server.start()
    with service:
        await service.until(lambda: server.sql("select count(*) from sensor_readings", "held") == [["1"]])
        assert 0 == service.stop()


async def test_frozen_servers_do_not_keep_the_process(
    postgres_factory: Callable[..., PostgreSQL], mosquitto_factory: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """A database and a broker that hang are not waited for."""
    postgres, mosquitto = postgres_factory(), mosquitto_factory()
    variables = settings(tmp_path, mosquitto.port, DRAIN_TIMEOUT="0.2", DATABASE_URL=postgres.create_database("frozen"))
    with Service(tmp_path, variables) as service:
        await service.connected()
        publish(mosquitto.port, "sensors/a/data", '{"value": 1, "timestamp": 1760000000}')
        await service.until(lambda: postgres.sql("select count(*) from sensor_readings", "frozen") == [["1"]])
        postgres.freeze()
        mosquitto.freeze()
        assert 0 == service.stop()


# --- the start ---


def test_wrong_settings_are_listed_and_exit_with_1(tmp_path: Path) -> None:
    """All of them at once, without a traceback."""
    done = run([], {"MQTT_PORT": "many", "INGEST_WINDOW": "0"})
    assert 1 == done.returncode
    assert ["mqueduct:", "  MQTT_PORT", "  INGEST_WINDOW"] == [line.split(" (")[0] for line in done.stderr.splitlines()]


def test_broker_that_refuses_ends_the_start(mosquitto_factory: Callable[..., Mosquitto], tmp_path: Path) -> None:
    """Trying again with the same password cannot help."""
    broker = mosquitto_factory(users={"service": "right"})
    done = run(["run"], settings(tmp_path, broker.port, MQTT_USERNAME="service", MQTT_PASSWORD="wrong"))
    assert 1 == done.returncode
    assert "mqueduct: " in done.stderr
    assert "MQTT_PASSWORD" in done.stderr
    assert "Traceback" not in done.stderr


def test_database_that_refuses_ends_the_start(postgres: PostgreSQL, tmp_path: Path) -> None:
    """A wrong password is a mistake of the deployment, and is not shown."""
    url = postgres.url.replace(":secret@", ":wr0ng@")
    done = run(["run"], settings(tmp_path, free_port(), DATABASE_URL=url))
    assert 1 == done.returncode
    assert "mqueduct: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "wr0ng" not in done.stderr + done.stdout


@pytest.mark.parametrize("command", [["run"], ["routes"], ["check"]])
def test_route_file_with_a_bug_shows_its_traceback(tmp_path: Path, command: list[str]) -> None:
    """An empty router would be worse."""
    project = copy_of_project(tmp_path / "project", {"routes/broken.py": "import nothing_of_this_name\n"})
    done = run(command, settings(tmp_path, free_port()), project)
    assert 1 == done.returncode
    assert "Traceback" in done.stderr
    assert 'routes/broken.py", line 1' in done.stderr
    if command == ["check"]:
        assert re.search(r"^routes +FAILED", done.stdout, re.MULTILINE)


def test_impossible_route_is_told_plainly(tmp_path: Path) -> None:
    """File, line and fix, without a traceback."""
    source = "from core.router import Router\nrouter = Router()\nrouter.on('a/b+', print)\n"
    project = copy_of_project(tmp_path / "project", {"routes/odd.py": source})
    done = run(["run"], settings(tmp_path, free_port()), project)
    assert 1 == done.returncode
    assert "mqueduct: " in done.stderr
    assert "routes/odd.py:3" in done.stderr
    assert "Traceback" not in done.stderr


# --- the other commands ---


def test_routes_are_listed_with_their_place(tmp_path: Path) -> None:
    """One line per route, files named from the project's folder."""
    done = run(["routes"], {})
    header, *lines = done.stdout.splitlines()
    assert ["PATTERN", "TOPIC FILTER", "QOS", "ACTION", "MIDDLEWARE", "DECLARED IN"] == re.split("  +", header)
    (line,) = [line for line in lines if line.startswith("sensors/{device_id}/data")]
    expected = ["sensors/+/data", "1", "SensorController.handle_sensor_data", "LogMessages"]
    assert expected == re.split("  +", line)[1:5]
    assert re.fullmatch(r"routes/sensors\.py:\d+", re.split("  +", line)[5])


def test_check_of_a_good_set_up(mosquitto: Mosquitto, postgres: PostgreSQL, tmp_path: Path) -> None:
    """One line each, exit code 0, no password."""
    variables = settings(tmp_path, mosquitto.port, DATABASE_URL=postgres.url, DB_AUTO_MIGRATE="true")
    done = run(["check"], variables)
    assert (0, "") == (done.returncode, done.stderr)
    states = [line.split()[:2] for line in done.stdout.splitlines()]
    names = ["settings", "routes", "database", "migrations", "broker"]
    assert [[name, "ok"] for name in names] == states
    assert "secret" not in done.stdout


async def test_check_leaves_the_running_service_alone(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It has a client id of its own, or it would throw the service out of its session."""
    variables = settings(tmp_path, mosquitto.port)
    with Service(tmp_path, variables) as service:
        await service.connected()
        assert 0 == run(["check"], variables).returncode
        assert 0 == service.stop()
    assert 1 == len(service.events("connected to the broker"))


def test_check_names_everything_that_is_away(tmp_path: Path) -> None:
    """Database and broker are both looked at; exit code 1."""
    url = f"postgresql://service:hidden@127.0.0.1:{free_port()}/nothing"
    done = run(["check"], settings(tmp_path, free_port(), DATABASE_URL=url))
    assert 1 == done.returncode
    states = [line.split()[:2] for line in done.stdout.splitlines()]
    assert [["settings", "ok"], ["routes", "ok"], ["database", "FAILED"], ["broker", "FAILED"]] == states
    assert "hidden" not in done.stdout + done.stderr


def test_check_lists_several_problems_below_each_other(tmp_path: Path) -> None:
    """A line for each wrong setting; what depends on them is skipped."""
    done = run(["check"], settings(tmp_path, 1, INGEST_WINDOW="0", LOG_LEVEL="loud"))
    assert 1 == done.returncode
    lines = done.stdout.splitlines()
    assert "settings   FAILED  2 problems:" == lines[0]
    assert ["  INGEST_WINDOW", "  LOG_LEVEL"] == [line.split(" (")[0] for line in lines[1:3]]
    assert ["skipped", "skipped"] == [line.split()[1] for line in lines[-2:]]


async def test_demo_shows_commits_and_a_command_that_works(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The port is taken here: the demo says so, takes another, and its hint works as it is printed."""
    variables = {"MQTT_PORT": str(mosquitto.port), "DATABASE_URL": f"sqlite:///{tmp_path / 'demo.db'}"}
    with Service(tmp_path, variables, arguments=("run", "--demo")) as service:
        await service.until(lambda: "main.py publish" in service.output.read_text())
        assert service.events("port in use; the embedded broker took another")
        (command,) = [line for line in service.output.read_text().splitlines() if "main.py publish" in line]
        shell = await asyncio.create_subprocess_shell(command, cwd=ROOT, env=environment(variables))
        assert 0 == await shell.wait()
        await service.until(lambda: re.search(r"committed [1-9]\d*  .*devices 6", service.output.read_text()))
        assert 0 == service.stop()
    assert service.summary()["committed"] > 0

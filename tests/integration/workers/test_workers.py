"""Several workers on a real broker and database: whatever ends one of them, no message is lost or doubled."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.running import until
from tests.integration.workers.fleet import Fleet
from tests.outside import Outside
from tests.readings import assert_complete, publish, stored
from tests.servers import Mosquitto, executables
from tests.service import copy_of_project

MESSAGES = 5000
ENDED = "a worker has ended; another one takes its place"

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)

MakeFleet = Callable[..., Fleet]

BLOCKING_ONCE = """
import pathlib
import time

from core.router import Router

HAPPENED = pathlib.Path(__file__).with_name("happened")


async def block():
    if not HAPPENED.exists():
        HAPPENED.touch()
        time.sleep(3600)


router = Router()
router.on("blocking/{name}", block)
"""

DYING = """
import os
import sys

from core.router import Router

if sys.argv[1:3] == ["worker", "2"]:
    os._exit(3)

router = Router()
"""

STUBBORN = """
import asyncio

from core.controller import Controller
from core.router import Router


class Stubborn(Controller):
    async def hang(self):
        self.logger.info("hanging")
        await asyncio.Event().wait()


router = Router()
router.on("stubborn/{name}", Stubborn.hang)
"""

OVERLAPPING = """
from core.controller import Controller
from core.router import Router


class Overlapping(Controller):
    async def one(self, number: str):
        self.logger.info("one", number=number)

    async def other(self, number: str):
        self.logger.info("other", number=number)


router = Router()
router.on("overlap/+/{number}/c", Overlapping.one)
router.on("overlap/b/{number}/#", Overlapping.other)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_worker_that_is_gone_in_the_middle(
    fleet: MakeFleet, mosquitto: Mosquitto, client_id: str, outside: Outside, number: signal.Signals
) -> None:
    """Another one takes its place and its session: every reading is there, once."""
    with fleet(2) as service:
        await service.all_connected()
        publishing = asyncio.create_task(publish(mosquitto, client_id, 0, MESSAGES))
        await service.until(lambda: stored(outside, 500))
        service.signal_worker(2, number)
        assert await outside.readings() < MESSAGES
        await service.until_logged(ENDED)
        await publishing
        await service.until(lambda: stored(outside, MESSAGES))
        await service.until(lambda: len(service.events("connected to the broker")) == 3)
        assert 0 == service.stop()
    await assert_complete(outside, MESSAGES)
    assert [1, 2] == [len(service.starts(slot)) for slot in (1, 2)]
    assert {"dead_lettered": 0} == {name: count for name, count in service.summary().items() if name == "dead_lettered"}


async def test_worker_whose_event_loop_is_blocked(
    fleet: MakeFleet, mosquitto: Mosquitto, client_id: str, outside: Outside, tmp_path: Path
) -> None:
    """It is replaced after the time that the settings give it."""
    project = copy_of_project(tmp_path / "project", {"routes/blocking.py": BLOCKING_ONCE})
    with fleet(2, root=project, more={"WORKER_TIMEOUT": "1"}) as service:
        await service.all_connected()
        await publish_one(mosquitto, "blocking/x")
        await service.until_logged(ENDED)
        await publish(mosquitto, client_id, 0, 100)
        await service.until(lambda: stored(outside, 100))
        assert 0 == service.stop()
    (event,) = service.events(ENDED)
    assert ("it was frozen: its event loop did not run", 137) == (event["reason"], event["exit_code"])


async def test_stop_under_load(fleet: MakeFleet, mosquitto: Mosquitto, client_id: str, outside: Outside) -> None:
    """All workers drain; the exit code is 0, and the next start stores the rest."""
    service = fleet(2)
    with service:
        await service.all_connected()
        publishing = asyncio.create_task(publish(mosquitto, client_id, 0, MESSAGES))
        await service.until(lambda: stored(outside, 500))
        assert 0 == await asyncio.to_thread(service.stop)
        assert await outside.readings() < MESSAGES
        await publishing
    assert [] == service.living()
    with service:
        await service.until(lambda: stored(outside, MESSAGES))
        assert 0 == service.stop()
    await assert_complete(outside, MESSAGES)


async def test_second_signal_ends_all_at_once(fleet: MakeFleet, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Also a worker whose handler never ends."""
    project = copy_of_project(tmp_path / "project", {"routes/stubborn.py": STUBBORN})
    with fleet(2, root=project) as service:
        await service.all_connected()
        await publish_one(mosquitto, "stubborn/x")
        await service.until_logged("hanging")
        service.send(signal.SIGINT)
        await service.until_logged("stopping; a second signal ends at once, without waiting for handlers")

        def insist() -> bool:
            if service.running:
                service.send(signal.SIGINT)
            return not service.running

        await service.until(insist)
        assert 130 == service.wait()
        await workers_gone(service)


async def workers_gone(service: Fleet) -> None:
    await until(lambda: not service.living())


async def publish_one(mosquitto: Mosquitto, topic: str) -> None:
    publisher = await asyncio.create_subprocess_exec(
        executables.find("mosquitto_pub"),
        *("-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", "1", "-t", topic, "-m", "1"),
    )
    assert 0 == await publisher.wait()


async def test_supervisor_that_is_killed(
    fleet: MakeFleet, mosquitto: Mosquitto, client_id: str, outside: Outside
) -> None:
    """Its workers drain and end by themselves; a new start stores the rest."""
    service = fleet(2)
    with service:
        await service.all_connected()
        publishing = asyncio.create_task(publish(mosquitto, client_id, 0, MESSAGES))
        await service.until(lambda: stored(outside, 500))
        service.kill()
        await workers_gone(service)
        await publishing
    assert 2 == len(service.events("the supervisor is gone; this worker drains and ends"))
    with service:
        await service.until(lambda: stored(outside, MESSAGES))
        assert 0 == service.stop()
    await assert_complete(outside, MESSAGES)


async def test_worker_that_dies_at_each_start(
    fleet: MakeFleet, mosquitto: Mosquitto, client_id: str, outside: Outside, tmp_path: Path
) -> None:
    """It is tried again with growing delays, while the others work; at the end its exit code tells."""
    project = copy_of_project(tmp_path / "project", {"routes/dying.py": DYING})
    with fleet(2, root=project) as service:
        await service.until(lambda: len(service.events(ENDED)) == 3)
        await publish(mosquitto, client_id, 0, 100)
        service.send(signal.SIGTERM)
        assert 3 == service.wait()
    assert [0, 0.5, 1] == [event["delay"] for event in service.events(ENDED)][:3]


async def test_overlapping_routes_under_several_workers(fleet: MakeFleet, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Each route runs once, though the copies of one message come to different workers (MQTT 5)."""
    project = copy_of_project(tmp_path / "project", {"routes/overlapping.py": OVERLAPPING})
    with fleet(2, root=project) as service:
        await service.all_connected()
        # Those with one copy bring the turns of the two filters out of step.
        for number in range(40):
            await publish_one(mosquitto, f"overlap/b/{number}/{'c' if number % 3 else 'x'}")
        await service.until(lambda: len(service.events("other")) >= 40 and len(service.events("one")) >= 26)
        assert 0 == service.stop()
    both = [str(number) for number in range(40) if number % 3]
    assert sorted(both) == sorted(event["number"] for event in service.events("one"))
    assert sorted(map(str, range(40))) == sorted(event["number"] for event in service.events("other"))
    assert {1, 2} == {event["worker"] for event in service.events("other")}


async def test_refusal_is_told_once(fleet: MakeFleet, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """A wrong password ends all with one plain message, instead of starting workers again and again."""
    broker = mosquitto_factory(users={"service": "right"})
    login = {"MQTT_PORT": str(broker.port), "MQTT_USERNAME": "service", "MQTT_PASSWORD": "wrong"}
    with fleet(2, more=login) as service:
        assert 1 == service.wait()
    assert 1 == service.said().count("not authorised")
    assert "Traceback" not in service.said()
    assert [1] == [event["worker"] for event in service.events("worker started")]


async def test_embedded_broker_cannot_serve_several(fleet: MakeFleet) -> None:
    """It would deliver nothing, so this is an error that says what to do."""
    with fleet(2, more={"MQTT_BROKER": ""}) as service:
        assert 1 == service.wait()
    assert "2 workers need a real broker" in service.said()
    assert "Traceback" not in service.said()

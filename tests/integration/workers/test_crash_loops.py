"""A message that takes its process down each time: set aside after three crashes, and nothing else is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.running import publishing
from tests.integration.workers.fleet import Fleet
from tests.integration.workers.test_workers import ENDED
from tests.outside import Outside
from tests.servers import Mosquitto
from tests.service import copy_of_project

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)

MESSAGES = 30

CRASHING = """
import asyncio
import os

from app.models import SensorReading
from core.model import Model
from core.router import Router


async def store(name: str, payload: int):
    if payload == 17:
        os._exit(9)
    await asyncio.sleep(0.01)
    await Model.create(SensorReading, device_id=name, value=payload, timestamp=payload)


router = Router()
router.on("crashing/{name}", store, ordered=False)
"""


@pytest.mark.timeout(180)  # the supervisor waits between restarts
async def test_message_that_ends_its_process_is_set_aside(
    fleet: Callable[..., Fleet], mosquitto: Mosquitto, outside: Outside, tmp_path: Path
) -> None:
    """Three crashes, one dead letter, and every other message is a row."""
    root = copy_of_project(tmp_path / "project", {"routes/crashing.py": CRASHING})
    with fleet(2, root=root) as service:
        await service.all_connected()
        async with publishing(mosquitto.port) as device:
            for number in range(MESSAGES):
                await device.publish("crashing/a", number)
        await service.until(lambda: letters(outside), "the dead letter")
        await service.until(lambda: all_stored(outside), "the other messages")
        assert 3 == len(service.events(ENDED))
        assert 0 == service.stop()
    assert "crash-loop" == await outside.value("SELECT reason FROM dead_letters")
    assert 3 == await outside.value("SELECT attempts FROM dead_letters")
    assert 0 == await outside.value("SELECT count(*) FROM mqueduct_suspects")
    assert 0 == await outside.value("SELECT count(*) FROM mqueduct_runs WHERE running")


async def letters(outside: Outside) -> bool:
    return bool(await outside.value("SELECT count(*) FROM dead_letters"))


async def all_stored(outside: Outside) -> bool:
    return await outside.readings() == MESSAGES - 1

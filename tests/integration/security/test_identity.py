"""Devices that speak for others, on a real broker."""

import subprocess
from collections import Counter

from core.middleware import DeviceIdentity
from core.router import Router
from tests.integration.mqtt.contract import until
from tests.integration.running import options, running
from tests.servers import Mosquitto, executables

MESSAGES = [
    ("spoof/1", '{"device_id": "1"}', "1"),
    ("spoof/1", '{"device_id": "2"}', "1"),
    ("spoof/1", '{"device_id": "1"}', "2"),
    ("spoof/1", "{}", "1"),
    ("spoof/1", "{}", None),
    ("spoof/2", '{"device_id": "2"}', None),
]


def publish(port: int, topic: str, payload: str, device: str | None) -> None:
    command = [executables.find("mosquitto_pub"), "-V", "mqttv5", "-p", str(port), "-q", "1"]
    command += ["-D", "publish", "user-property", "device", device] if device else []
    subprocess.run([*command, "-t", topic, "-m", payload], check=True)


async def test_only_a_device_itself_is_heard(mosquitto: Mosquitto) -> None:
    """Messages that name another device, or none, never reach the action; each is accounted for."""
    heard: Counter[str] = Counter()

    async def hear(device_id: str) -> None:
        heard[device_id] += 1

    router = Router()
    router.on("spoof/{device_id}", hear, middleware=[DeviceIdentity(user_property="device")])
    async with running(router, options(mosquitto.port), "sqlite://") as application:
        for message in MESSAGES:
            publish(mosquitto.port, *message)
        await until(lambda: application.statistics().consumer.received == len(MESSAGES))
        await until(lambda: application.statistics().consumer.in_flight == 0)
        statistics = application.statistics().consumer

    assert {"1": 2, "2": 1} == heard
    assert 3 == statistics.received - statistics.processed

"""The embedded broker: amqtt on loopback, for a first run and demos, never for a guarantee."""

import asyncio
import logging
import socket
from typing import Any

import structlog
from amqtt.broker import Broker
from amqtt.errors import AMQTTError

from core.exceptions import BrokerUnavailable

__all__ = ["EmbeddedBroker"]

_STOP_SECONDS = 3.0

logger = structlog.get_logger(__name__)


class EmbeddedBroker:
    """A broker inside this process; MQTT 3.1.1, anonymous, loopback only.

    Args:
        port: The port to listen on; another one is taken when it is in use.
    """

    host = "127.0.0.1"

    def __init__(self, port: int = 1883) -> None:
        self.wanted_port = port
        self.port = port
        self._broker: Broker | None = None

    async def start(self) -> None:
        """Listen; afterwards ``port`` tells where.

        Raises:
            BrokerUnavailable: amqtt could not start.
        """
        # Its warnings are about every client that goes without a word, and about its own end.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        self.port = _free_port(self.host, self.wanted_port)
        broker = Broker(_configuration(self.host, self.port))
        try:
            await broker.start()
        except (AMQTTError, OSError) as error:
            raise BrokerUnavailable(f"the embedded broker could not start: {error}") from error
        self._broker = broker
        if self.wanted_port not in (0, self.port):
            logger.warning("port in use; the embedded broker took another", wanted=self.wanted_port, port=self.port)

    async def stop(self) -> None:
        """Close all connections; ends within seconds."""
        broker, self._broker = self._broker, None
        if broker is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await broker.shutdown()
        except TimeoutError:
            logger.warning("the embedded broker did not stop in time and is left behind", seconds=_STOP_SECONDS)


def _configuration(host: str, port: int) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}", "max_connections": 1000}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }


def _free_port(host: str, wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise BrokerUnavailable(f"no port is free on {host}")

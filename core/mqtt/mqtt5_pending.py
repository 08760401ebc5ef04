"""What is waited for on an MQTT 5 connection, and fails when that ends."""

import asyncio
from typing import Any

import mqtt5

from core.exceptions import ProtocolError

__all__ = ["Answer", "Pending"]

Answer = mqtt5.SubAckPacket | mqtt5.UnsubAckPacket


class Pending:
    """The futures of those who wait.

    Args:
        loop: The running event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def answer_to(self, packet_id: int) -> "asyncio.Future[Answer]":
        """Wait for the answer to a request."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answers[packet_id] = answer
        return answer

    def answered(self, packet: Answer) -> None:
        """An answer has come.

        Raises:
            ProtocolError: Nobody has asked.
        """
        answer = self._answers.pop(packet.packet_id, None)
        if answer is None:
            raise ProtocolError("the broker answered a request that was not made", 0x82)
        if not answer.done():
            answer.set_result(packet)

    def end_of_wait(self) -> "asyncio.Future[None]":
        """A future that somebody else resolves."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def fail(self, error: Exception, connected: "asyncio.Future[Any]") -> None:
        """The connection has ended.

        Args:
            error: Why.
            connected: Who waits for the connection to stand.
        """
        for future in (connected, *self._answers.values(), *self._waiting):
            if not future.done():
                future.set_exception(error)
        if not connected.cancelled():
            # Who connects may have gone away; asyncio need not warn then.
            connected.exception()

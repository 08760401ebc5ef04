"""The floor: what a hand-written program for this one table and this one payload reaches, with the same promise.

No framework at all: the ``mqtt5`` codec in an asyncio protocol, msgspec, and one statement for everything that has
arrived while the statement before was being committed. A PUBACK leaves after COMMIT, in order of receipt.
"""

import asyncio
import contextlib
import signal
from typing import cast

import mqtt5
import msgspec
import uvloop

from benchmarks.load.workload import SUBSCRIPTION
from benchmarks.peers.order import Order
from benchmarks.peers.tables import Row, Table, open_table


class Reading(msgspec.Struct, gc=False):
    """The payload."""

    sensor_id: str
    sensor_type: str
    value: float
    unit: str
    timestamp: float


class Floor(asyncio.Protocol):
    """Receives, stores and acknowledges."""

    def __init__(self, order: Order, table: Table) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order = order
        self._table = table
        self._decode = msgspec.json.Decoder(Reading).decode
        self._rest = b""
        self._rows: list[Row] = []
        self._acknowledgements: list[bytes] = []
        self._flush: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the persistent session."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        connect = mqtt5.ConnectPacket(
            self._order.client_id,
            clean_start=False,
            session_expiry_interval=3600,
            receive_max=self._order.window,
        )
        self._transport.write(connect.write())

    def connection_lost(self, error: Exception | None) -> None:
        """End the program."""
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Turn packets into rows."""
        if self._rest:
            data = self._rest + data
        view = memoryview(data)
        read, publish = mqtt5.read, mqtt5.PublishPacket
        position = 0
        with contextlib.suppress(IndexError):  # the rest of the packet is still to come
            while position < len(data):
                packet, size = read(view[position:])
                position += size
                if type(packet) is publish:
                    self._store(packet)
                elif type(packet) is mqtt5.ConnAckPacket:
                    wanted = mqtt5.TopicFilter(SUBSCRIPTION, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
                    self._transport.write(mqtt5.SubscribePacket(1, [wanted]).write())
        self._rest = data[position:]
        if self._rows and self._flush is None:
            self._flush = asyncio.create_task(self._store_all())
        # Mosquitto before 2.0.13 sends more than the window allows.
        if self._in_flight >= self._order.window and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _store(self, packet: mqtt5.PublishPacket) -> None:
        reading = self._decode(packet.payload)
        device = packet.topic.split("/", 2)[1]
        self._rows.append(
            (device, reading.sensor_id, reading.sensor_type, reading.value, reading.unit, reading.timestamp)
        )
        self._in_flight += 1
        self._acknowledgements.append(b"\x40\x02" + packet.packet_id.to_bytes(2, "big"))

    async def _store_all(self) -> None:
        while self._rows:
            rows, self._rows = self._rows, []
            acknowledgements, self._acknowledgements = self._acknowledgements, []
            await self._table.insert(rows)
            self._transport.write(b"".join(acknowledgements))
            self._in_flight -= len(rows)
            if self._paused and self._in_flight < self._order.window:
                self._paused = False
                self._transport.resume_reading()
        self._flush = None


async def run(order: Order) -> None:
    """Run until the broker goes or a signal comes."""
    loop = asyncio.get_running_loop()
    async with open_table(order.url) as table:
        transport, floor = await loop.create_connection(lambda: Floor(order, table), "127.0.0.1", order.port)
        loop.add_signal_handler(signal.SIGTERM, transport.close)
        await floor.lost


if __name__ == "__main__":
    uvloop.run(run(Order.given()))

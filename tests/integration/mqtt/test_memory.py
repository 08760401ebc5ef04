"""A payload of 100 MB passes through a driver without filling the memory."""

import asyncio
import contextlib
import hashlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from core.message import Message
from tests.integration.mqtt.contract import DRIVERS, Driver, client_of, until

MEBIBYTE = 2**20
SIZE = 100 * MEBIBYTE
PIECE = bytes(MEBIBYTE)
# User properties of 64 KiB in all.
PROPERTY = b"\x26\x00\x01k" + (2**16 - 6).to_bytes(2) + b"v" * (2**16 - 6)
PROPERTIES = PROPERTY * 16


@contextlib.asynccontextmanager
async def flooding_broker(*, five: bool, properties: int = 0) -> AsyncIterator[int]:
    """A broker that greets everybody with one enormous message, with this many MiB of properties; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(bytes.fromhex("2003000000" if five else "20020000"))
        head = b"\x00\x01a" + b"\x00\x01" + (variable(properties * len(PROPERTIES)) if five else b"")
        writer.write(b"\x32" + variable(len(head) + properties * len(PROPERTIES) + SIZE) + head)
        with contextlib.suppress(OSError):
            for _ in range(properties):
                writer.write(PROPERTIES)
                await writer.drain()
            for _ in range(SIZE // len(PIECE)):
                writer.write(PIECE)
                await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def variable(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


async def received(driver: Driver, port: int) -> tuple[Message, int]:
    """The only message, and the most bytes that were in use until it was there."""
    client = client_of(driver, port)
    tracemalloc.start()
    try:
        connection = await client.connect()
        await until(lambda: client.inbox)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await connection.close()
    (message,) = client.inbox
    return message, peak


@pytest.mark.one_loop
async def test_enormous_payload_takes_no_memory(driver: Driver) -> None:
    """Both drivers keep its beginning, and read on."""
    async with flooding_broker(five=driver.five) as port:
        message, peak = await received(driver, port)
    whole = hashlib.sha256()
    for _ in range(SIZE // len(PIECE)):
        whole.update(PIECE)
    assert (4096, SIZE, whole.digest()) == (len(message.payload), message.truncated_size, message.digest)
    assert peak < 16 * MEBIBYTE


@pytest.mark.one_loop
@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if driver.five], ids=lambda driver: driver.name)
async def test_enormous_properties_take_no_memory(driver: Driver) -> None:
    """100 MB of properties pass through like a payload, and what is said of the whole counts them."""
    async with flooding_broker(five=True, properties=100) as port:
        message, peak = await received(driver, port)
    assert (4096, 100 * len(PROPERTIES) + SIZE) == (len(message.payload), message.truncated_size + len(PROPERTY))
    assert peak < 16 * MEBIBYTE

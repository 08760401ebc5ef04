"""The proxy of latency and proof passes on what its observer lets pass."""

import asyncio

from benchmarks.load.proxy import Link, proxy


class Upper:
    """Lets the service shout, and the broker speak."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.over = asyncio.Event()

    def from_broker(self, data: bytes) -> None:
        self.link.to_service(data)

    def from_service(self, data: bytes) -> None:
        self.link.to_broker(data.upper())

    def ended(self) -> None:
        self.over.set()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_bytes_go_through_the_observer_both_ways_until_the_connection_is_cut() -> None:
    """What the service says at once, before the broker is reached, is not lost either."""
    observers: list[Upper] = []

    def observe(link: Link) -> Upper:
        observers.append(Upper(link))
        return observers[-1]

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, proxy(server.sockets[0].getsockname()[1], observe) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert b"HELLO" == await reader.readexactly(5)
        observers[0].link.cut()
        await observers[0].over.wait()
        writer.close()

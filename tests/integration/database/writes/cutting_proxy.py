"""A TCP proxy before a database server that cuts a connection around its COMMIT."""

import asyncio
import contextlib
from enum import Enum


class Cut(Enum):
    """What becomes of the next COMMIT."""

    BEFORE = "the server never gets it"
    AFTER = "the server gets it, and its answer gets lost"
    LATE = "the client loses its connection, and the server gets it when the client has come back"


class CuttingProxy:
    """Forwards every byte both ways, except around the COMMIT that it is told to cut.

    Attributes:
        port: Where to connect instead of to the server.
        cut: What to do with the next COMMIT, or ``None``; it is ``None`` again when that is done.
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.cut: Cut | None = None
        self._server_port = server_port
        self._connections: set[asyncio.Task[None]] = set()
        self._stalled: set[asyncio.Task[None]] = set()
        self._came_back = asyncio.Event()
        self._stopping = False

    async def __aenter__(self) -> "CuttingProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def stall(self) -> None:
        """Let nothing through any more on the connections that stand now, as if a cable were cut."""
        self._stalled |= self._connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        back = asyncio.create_task(_copy(server_reader, writer))
        try:
            await self._forward(reader, writer, server_reader, server_writer, back)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            back.cancel()
            for stream in (writer, server_writer):
                stream.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        while sent := await reader.read(65536):
            if asyncio.current_task() in self._stalled:
                continue
            if b"FOR UPDATE" in sent:
                self._came_back.set()
            if b"COMMIT" in sent and self.cut is not None:
                cut, self.cut = self.cut, None
                back.cancel()
                await asyncio.wait([back])
                if cut is Cut.AFTER:
                    server_writer.write(sent)
                    await server_reader.read(65536)
                if cut is Cut.LATE:
                    writer.transport.abort()
                    await self._came_back.wait()
                    server_writer.write(sent)
                    await server_reader.read(65536)
                return
            server_writer.write(sent)
            await server_writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()
        writer.close()

"""The shipped routes on an empty SQLite database, with a client that only remembers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import app.models  # noqa: F401 - makes the tables known
from core.encoding import encode
from core.exceptions import BrokerError
from core.message import Message
from core.model import Model
from core.routing.discovery import discover
from core.routing.table import RouteTable

ROOT = Path(__file__).resolve().parents[3]

Deliver = Callable[..., Awaitable[Any]]


class RememberingClient:
    """Takes what handlers publish; fails with ``error`` if that is set."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []
        self.error: BrokerError | None = None

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        if self.error is not None:
            raise self.error
        self.published.append((topic, payload))


@pytest.fixture
def client() -> RememberingClient:
    return RememberingClient()


@pytest.fixture
async def deliver(client: RememberingClient, tmp_path: Path) -> AsyncIterator[Deliver]:
    """Run a message through the one route that it matches; returns the answer as its receiver decodes it."""
    Model.configure(f"sqlite:///{tmp_path}/app.db")
    await Model.create_tables()
    table = RouteTable(discover(ROOT / "routes").routes)

    async def deliver(topic: str, payload: Any, **options: Any) -> Any:
        message = Message(topic, payload.encode() if isinstance(payload, str) else encode(payload), **options)
        (match,) = table.match(topic)
        answer = await match.compiled.pipeline(match.context(message, client))
        return None if answer is None else json.loads(encode(answer))

    yield deliver
    await Model.cleanup()

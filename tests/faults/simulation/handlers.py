"""The routes of the simulated service, whose handlers do what their messages say."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from core.context import Context
from core.database.intents import Intent
from core.database.upserts import upsert_intent
from core.exceptions import DatabaseUnavailable, Reject, SchemaError
from core.middleware import Handler, Middleware
from core.router import Router
from core.routing.table import RouteTable
from tests.faults.simulation.database import POISON
from tests.faults.simulation.models import Keyless, Reading, State

__all__ = ["DOINGS", "TIMEOUT", "owed_by", "table"]

TIMEOUT = 10.0

#: What a message can ask of a handler, and what must become of it then.
DOINGS: Mapping[str, str] = {
    "write": "row",
    "twice": "two rows",
    "unit": "two rows",
    "upsert": "row",
    "keyless": "row",
    "slow": "row",
    "swallow": "row",
    "read": "row",
    "heedless": "either",  # its write may fail when its time is up already
    "impatient": "either",
    "filter": "nothing",
    "undecodable": "letter",
    "invalid": "letter",
    "raise": "letter",
    "reject": "letter",
    "late": "letter",
    "exit": "letter",
    "cancel": "letter",
}

_OF_BATCHES = {"write", "slow", "swallow", "filter", "undecodable", "invalid", "raise", "reject"}

_TOPICS: Mapping[str, str] = {
    "lane": r"lane/\w+",
    "strict": r"strict/\w+",
    "free": r"free/\w+",
    "batch": r"batch/\w+",
    "retry": r"retry/\w+",
    "wide": r"wide(/\w+)*",
    "narrow": r"wide/\w+",
    "left": r"part/\w+/x",
    "right": r"part/y/\w+",
}


def owed_by(topic: str, do: str) -> dict[str, str]:
    """What must become of a message on each route that matches its topic."""
    routes = [route for route, pattern in _TOPICS.items() if re.fullmatch(pattern, topic)]
    return {route: DOINGS[do] if route != "batch" or do in _OF_BATCHES else "row" for route in routes}


class _Filter(Middleware):
    """Stops messages that say so."""

    def __init__(self, route: str) -> None:
        self._route = route

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        if b'"filter"' not in context.message.payload:
            return await next_handler(context)
        context.client.ledger.of(context.message.payload).filtered.add(self._route)  # type: ignore[attr-defined]
        return None


class _Handler:
    """What one route does with messages. The client stands for the process: it knows the database and the ledger."""

    def __init__(self, route: str) -> None:
        self._route = route

    async def __call__(self, payload: Any, topic: str, client: Any) -> Any:
        n, do = payload["n"], payload["do"]
        with client.handling(self._route, n):
            return await getattr(self, f"_{do}")(client, n, topic)

    async def batch(self, contexts: Sequence[Context]) -> None:
        client: Any = contexts[0].client
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(client.handling(self._route, context.payload["n"]))
            await self._act_together(client, contexts)

    async def _act_together(self, client: Any, contexts: Sequence[Context]) -> None:
        rows = []
        for context in contexts:
            n, do = context.payload["n"], context.payload["do"]
            if do == "raise":
                raise ValueError("one of them is wrong")
            if do == "reject":
                raise Reject("not one of these")
            if do == "slow":
                await asyncio.sleep(client.chance.random())
            rows.append({"route": self._route, "n": n, "part": POISON if do == "invalid" else 1})
        await client.writes.commit([Intent(Reading, rows)])

    def _row(self, n: int, part: int = 1) -> dict[str, Any]:
        return {"route": self._route, "n": n, "part": part}

    async def _write(self, client: Any, n: int, _topic: str) -> None:
        await client.writes.create(Reading, self._row(n))

    async def _twice(self, client: Any, n: int, _topic: str) -> None:
        await client.writes.create(Reading, self._row(n))
        await client.writes.create(Reading, self._row(n, 2))

    async def _unit(self, client: Any, n: int, _topic: str) -> None:
        await client.writes.commit([Intent(Reading, [self._row(n), self._row(n, 2)])])

    async def _upsert(self, client: Any, n: int, topic: str) -> None:
        state = upsert_intent(State, {"route": self._route, "topic": topic, "n": n})
        await client.writes.commit([Intent(Reading, [self._row(n)]), state])

    async def _keyless(self, client: Any, n: int, _topic: str) -> None:
        await client.writes.commit([Intent(Keyless, [{"route": self._route, "n": n}])])

    async def _slow(self, client: Any, n: int, topic: str) -> None:
        await asyncio.sleep(client.chance.random())
        await self._write(client, n, topic)

    async def _swallow(self, client: Any, n: int, topic: str) -> Any:
        try:
            await client.database.read()
            await self._write(client, n, topic)
        except (DatabaseUnavailable, SchemaError):
            client.failed(self._route, n)
            return {"status": "error"}
        return {"status": "success"}

    async def _read(self, client: Any, n: int, topic: str) -> None:
        await client.database.read()
        await self._write(client, n, topic)

    async def _heedless(self, client: Any, n: int, topic: str) -> None:
        try:
            await asyncio.sleep(TIMEOUT * 2)
        except asyncio.CancelledError:
            if not client.alive:
                raise
            await self._write(client, n, topic)

    async def _impatient(self, client: Any, n: int, topic: str) -> None:
        writing = asyncio.ensure_future(self._write(client, n, topic))
        done, _ = await asyncio.wait([writing], timeout=client.chance.random() * 0.02)
        if not done:
            writing.cancel()
        try:
            await writing
        except asyncio.CancelledError:
            raise Reject("it takes too long") from None

    async def _invalid(self, client: Any, n: int, _topic: str) -> None:
        await client.writes.create(Reading, self._row(n, POISON))

    async def _raise(self, _client: Any, _n: int, _topic: str) -> None:
        raise ValueError("wrong")

    async def _reject(self, _client: Any, _n: int, _topic: str) -> None:
        raise Reject("not this one")

    async def _late(self, client: Any, n: int, topic: str) -> None:
        await asyncio.sleep(TIMEOUT * 3)
        await self._write(client, n, topic)

    async def _exit(self, _client: Any, _n: int, _topic: str) -> None:
        raise SystemExit(1)

    async def _cancel(self, _client: Any, _n: int, _topic: str) -> None:
        raise asyncio.CancelledError


def _declare() -> RouteTable:
    router = Router()

    def on(pattern: str, name: str, **options: Any) -> None:
        handler = _Handler(name)

        async def action(payload: Any, topic: str, client: Any) -> Any:
            return await handler(payload, topic, client)

        router.on(pattern, action, name=name, middleware=[_Filter(name)], **options)

    on("lane/{key}", "lane")
    on("strict/{key}", "strict", ordered="strict")
    on("free/{key}", "free", ordered=False)
    on("retry/{key}", "retry", retries=2, backoff=0.5, qos=2)
    on("wide/#", "wide")
    on("wide/{key}", "narrow")
    on("part/{key}/x", "left")
    on("part/y/{key}", "right", qos=2)
    batch = _Handler("batch")

    async def batch_action(contexts: Sequence[Context]) -> None:
        await batch.batch(contexts)

    router.on("batch/{key}", batch_action, name="batch", middleware=[_Filter("batch")], batch=4)
    return RouteTable(router.routes)


#: Compiled once; what differs from process to process comes with the client.
table = _declare()

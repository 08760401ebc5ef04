"""What the tested service stores: numbered facts, with their payloads as they came."""

import asyncio
import os
import time

import msgspec
from sqlalchemy import String, Text, UniqueConstraint, select
from sqlalchemy.dialects.mysql import LONGTEXT

from core.controller import Controller
from core.message import Message
from core.model import BigId, Mapped, Model, mapped_column


class Fact(Model):
    """One message of a publisher."""

    __tablename__ = "facts"
    __natural_key__ = ("source", "number")
    __table_args__ = (UniqueConstraint("source", "number"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    number: Mapped[int] = mapped_column(BigId)
    lane: Mapped[str] = mapped_column(String(64))
    payload: Mapped[str] = mapped_column(Text().with_variant(LONGTEXT(), "mysql", "mariadb"))


class Source(Model):
    """The highest number that a lane of a publisher has reached: every message changes one of few rows."""

    __tablename__ = "sources"
    __natural_key__ = ("source", "lane")
    __table_args__ = (UniqueConstraint("source", "lane"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    lane: Mapped[str] = mapped_column(String(64))
    latest: Mapped[int] = mapped_column(BigId)


class Told(msgspec.Struct):
    """A message; what its handler is to do beside storing it."""

    number: int
    source: str
    mode: str = ""
    text: str = ""


class Troubled(Exception):
    """What a handler raises that was told to."""


class FactController(Controller):
    """Stores facts, and misbehaves on demand."""

    async def store(self, lane: str, payload: Told, message: Message) -> None:
        """Store a fact and the progress of its lane in one transaction."""
        if payload.mode:
            await self._misbehave(payload)
        async with Model.unit_of_work() as work:
            text = message.payload.decode()
            work.create(Fact, source=payload.source, number=payload.number, lane=lane, payload=text)
            work.upsert(Source, {"source": payload.source, "lane": lane, "latest": payload.number}, newer_than="latest")

    async def _misbehave(self, told: Told) -> None:
        match told.mode:
            case "raise":
                raise Troubled("told to raise")
            case "slow":
                await asyncio.sleep(0.2)
            case "hang":
                await asyncio.Event().wait()
            case "block":
                time.sleep(2)  # noqa: ASYNC251 - the fault
            case "exit":
                os._exit(70)
            case "quit":
                raise SystemExit(70)

    async def store_in_own_session(self, payload: Told, message: Message) -> None:
        """Lock the row with a session of the handler's own, and write it through the shared flush meanwhile."""
        key = {"source": payload.source, "lane": "own"}
        await Source.upsert(key | {"latest": 0}, newer_than="latest")
        async with await Model.get_session() as session:
            locked = select(Source).filter_by(**key).with_for_update()
            (await session.scalars(locked)).one().latest = payload.number
            await session.flush()
            text = message.payload.decode()
            writing = asyncio.create_task(
                Fact.create(source=payload.source, number=payload.number, lane="own", payload=text)
            )
            upserting = asyncio.create_task(Source.upsert(key | {"latest": payload.number}, newer_than="latest"))
            await writing
            await session.commit()
            await upserting

    async def store_and_leak(self, payload: Told, message: Message) -> None:
        """Store a fact and leave a session open that holds a connection of the pool."""
        session = await Model.get_session()
        await session.execute(select(Source))
        self._forgotten.append(session)
        text = message.payload.decode()
        await Fact.create(source=payload.source, number=payload.number, lane="leak", payload=text)

    _forgotten: list[object] = []  # noqa: RUF012 - the leak

"""The commands on dead letters, on a database with some."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.models import SensorReading
from core.application import Application
from core.cli import Example, main
from core.context import Context
from core.database.database import Database
from core.database.dead_letters import DeadLetters
from core.database.migrations import Migrations
from core.dead_letter import DeadLetter
from core.exceptions import Reject
from core.instants import now
from core.message import Message
from core.model import Model
from core.mqtt.options import BrokerOptions
from core.router import Router
from core.routing.table import RouteTable
from core.status import Gauge

Run = Callable[..., tuple[int, str, str]]

REFUSED = b'{"refuse": true}'


async def store(context: Context, payload: dict[str, Any]) -> None:
    if payload.get("refuse"):
        raise Reject("again")
    await Model.create(SensorReading, device_id="d", value=1, timestamp=1)


async def nothing(_client: object) -> None: ...


class Bootstrap:
    """An application with two routes."""

    ROOT = Path(__file__).parents[2]
    EXAMPLE = Example("a", "1", nothing)
    GAUGES: Mapping[str, Gauge] = {}

    def __init__(self, url: str) -> None:
        self._url = url

    def load_settings(self) -> Any:
        return {}

    def load_routes(self) -> RouteTable:
        router = Router()
        router.on("a", store, name="first")
        router.on("b", store)
        return RouteTable(router.routes)

    def create_app(self, _settings: Any, routes: RouteTable, /) -> Application:
        return Application(BrokerOptions("127.0.0.1", 1), Model.configure(self._url), routes)

    def create_migrations(self, _settings: Any, _database: str | None = None, /) -> Migrations:
        raise NotImplementedError


async def fill(url: str) -> None:
    """Three letters: of two routes, of two reasons, one old."""
    database = Database(url)
    await database.create_tables()
    letters = DeadLetters(database)
    old = now() - timedelta(days=40)
    binary = Message("b", b"\xff\x00", qos=2, content_type="\x1b[2J", response_topic="r")
    for letter in (
        DeadLetter(Message("a", b"{}", 1), "first", "invalid", "no value", old, attempts=3),
        DeadLetter(Message("a", REFUSED, 1), "first", "handler-error", "ValueError: x", now(), "Traceback ...\n  x"),
        DeadLetter(binary, "b", "invalid", "evil\x1b[2J\nline", now()),
    ):
        await letters.add(letter)
    await database.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; gives exit code, output and errors."""
    url = f"sqlite:///{tmp_path / 'letters.db'}"
    asyncio.run(fill(url))
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["main.py", "dead-letters", *arguments])
        for hook in (sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"):
            monkeypatch.setattr(*hook, getattr(*hook))
        with pytest.raises(SystemExit) as end:
            main(Bootstrap(url))
        Model.install(None)
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def listed(run: Run, *options: str) -> list[int]:
    code, out, _ = run("list", "--json", *options)
    assert 0 == code
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_list_is_a_table_without_control_characters(run: Run) -> None:
    """The newest first; what strangers sent cannot write to the terminal."""
    code, out, _ = run("list")
    lines = out.splitlines()
    assert (0, 5) == (code, len(lines))
    assert ["ID", "FAILED", "AT", "REASON", "ROUTE", "TOPIC", "BYTES", "TRIED", "ERROR"] == lines[0].split()
    assert lines[1].endswith(r"evil\x1b[2J\nline")
    assert "3 of 3 dead letters." == lines[4]
    assert "1 of 3 dead letters." == run("list", "--limit", "1")[1].splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [3, 2, 1]),
        (["--route", "first"], [2, 1]),
        (["--reason", "invalid"], [3, 1]),
        (["--since", "12h"], [3, 2]),
        (["--since", "2020-01-01"], [3, 2, 1]),
        (["--route", "none"], []),
    ],
    ids=str,
)
def test_list_can_be_narrowed(run: Run, options: list[str], expected: list[int]) -> None:
    """By route, reason and time."""
    assert expected == listed(run, *options)


def test_show_tells_everything(run: Run) -> None:
    """Payload and traceback too, safely; what is no text comes in base64."""
    code, out, _ = run("show", "2")
    assert 0 == code
    assert all(part in out for part in ("handler-error", "ValueError: x", REFUSED.decode(), "Traceback ...\n  x"))
    code, out, _ = run("show", "3")
    assert "\x1b" not in out
    facts = json.loads(run("show", "3", "--json")[1])
    assert ("/wA=", None, {"content_type": "\x1b[2J", "response_topic": "r"}) == (
        facts["payload_base64"],
        facts["payload"],
        facts["properties"],
    )


def test_replay_of_one_letter(run: Run) -> None:
    """Success removes it."""
    assert (0, "1  replayed\n1 replayed, 0 failed again.\n") == run("replay", "1")[:2]
    assert [3, 2] == listed(run)


def test_replay_that_fails_exits_with_1(run: Run) -> None:
    """Each letter is told; those that failed stay."""
    code, out, _ = run("replay", "--all")
    assert (1, "1 replayed, 2 failed again.") == (code, out.splitlines()[-1])
    assert "2  rejected: again" == out.splitlines()[1]
    assert out.splitlines()[2].startswith("3  undecodable: ")
    assert [3, 2] == listed(run)
    assert 2 == json.loads(run("show", "2", "--json")[1])["attempts"]


@pytest.mark.parametrize("options", [["--route", "first"], ["--reason", "handler-error"], ["--since", "1h"]], ids=str)
def test_replay_can_be_narrowed(run: Run, options: list[str]) -> None:
    """Nothing else is touched."""
    chosen = listed(run, *options)
    out = run("replay", *options)[1]
    assert sorted(chosen) == [int(line.split()[0]) for line in out.splitlines()[:-1]]


def test_replay_with_nothing_to_do(run: Run) -> None:
    """That is no failure."""
    assert (0, "Nothing to do: no letter is meant.\n") == run("replay", "--route", "other")[:2]


def test_purge_asks_first(run: Run) -> None:
    """Nobody there to answer is a no."""
    code, out, _ = run("purge", "--before", "30d")
    assert (1, True) == (code, out.startswith("Remove 1 dead letters"))
    assert [3, 2, 1] == listed(run)


def test_purge_removes_what_is_meant(run: Run) -> None:
    """By age, by route, by number, or everything."""
    assert (0, "1 removed.\n") == run("purge", "--before", "30d", "--yes")[:2]
    assert (0, "1 removed.\n") == run("purge", "2", "--yes")[:2]
    assert [3] == listed(run)
    assert (0, "1 removed.\n") == run("purge", "--all", "--yes")[:2]
    assert "There are no dead letters." == run("list")[1].strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["purge", "--yes"],
        ["replay", "--all", "1"],
        ["show", "9"],
        ["replay", "9"],
        ["list", "--since", "?"],
    ],
    ids=str,
)
def test_what_is_not_clear_is_refused(run: Run, arguments: list[str]) -> None:
    """A command never guesses which letters are meant."""
    code, _, err = run(*arguments)
    assert 2 == code
    assert "Traceback" not in err

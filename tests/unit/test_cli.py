"""The command line, with a composition root made for the test."""

import asyncio
import gc
import io
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.application import Application
from core.cli import Example, main
from core.context import Client
from core.database.database import Database
from core.database.migrations import Migrations
from core.exceptions import BrokerRefused, ConfigurationError, MqueductError
from core.mqtt.options import BrokerOptions
from core.router import Router
from core.routing.table import RouteTable
from core.status import Gauge

Run = Callable[..., tuple[int, str, str]]


async def action() -> None: ...


async def simulate(_client: Client) -> None:
    await asyncio.Event().wait()


class Refused(Application):
    """A service whose broker says no."""

    async def serve(self) -> None:
        raise BrokerRefused("bad user name")


class Bootstrap:
    """The smallest application."""

    ROOT = Path(__file__).parents[2]
    EXAMPLE = Example("a/topic", '{"a": 1}', simulate)
    GAUGES: Mapping[str, Gauge] = {}

    def __init__(self, error: MqueductError | None = None) -> None:
        self._error = error

    def load_settings(self) -> Any:
        if self._error is not None:
            raise self._error
        return {}

    def load_routes(self) -> RouteTable:
        router = Router()
        router.on("a/{name}", action)
        return RouteTable(router.routes)

    def create_app(self, _settings: Any, routes: RouteTable, /) -> Application:
        return Refused(BrokerOptions("127.0.0.1", 1), Database("sqlite://"), routes)

    def create_migrations(self, _settings: Any, _database: str | None = None, /) -> Migrations:
        return Migrations(Database("sqlite://"), self.ROOT / "app" / "migrations")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; gives exit code, output and errors."""
    # A service tunes the collector of its process, which is that of all tests here.
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)

    def run(*arguments: str, bootstrap: Bootstrap | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
        for hook in (sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"):
            monkeypatch.setattr(*hook, getattr(*hook))  # main() replaces them; pytest wants its own back
        with pytest.raises(SystemExit) as end:
            main(bootstrap or Bootstrap())
        return int(end.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "--demo"]])
def test_error_of_the_service_is_told_plainly(run: Run, arguments: list[str]) -> None:
    """With and without the word run: exit code 1, one line, no traceback; then what was stored."""
    code, out, err = run(*arguments)
    assert (1, "mqueduct: bad user name") == (code, err.splitlines()[-1])
    assert "Received 0 messages" in out
    assert "Traceback" not in err


def test_several_problems_stand_below_each_other(run: Run) -> None:
    """Each on a line of its own."""
    error = ConfigurationError("ONE: wrong\nTWO: wrong")
    assert (1, "", "mqueduct:\n  ONE: wrong\n  TWO: wrong\n") == run("run", bootstrap=Bootstrap(error))


def test_routes_need_no_settings(run: Run) -> None:
    """Listing routes is possible before anything is configured."""
    code, out, _ = run("routes", bootstrap=Bootstrap(ConfigurationError("wrong")))
    assert (0, True) == (code, "tests/unit/test_cli.py" in out)


def test_check_exits_with_1_when_something_is_wrong(run: Run) -> None:
    """Here the broker is away."""
    code, out, _ = run("check")
    assert 1 == code
    assert "broker     FAILED" in out


def test_unknown_command_is_refused(run: Run) -> None:
    """With the usual exit code of a usage error."""
    assert 2 == run("walk")[0]


def test_help_names_every_command(run: Run) -> None:
    """A newcomer's first question."""
    code, out, _ = run("--help")
    assert 0 == code
    assert all(command in out for command in ("run", "routes", "check", "publish", "migrate"))


def test_fresh_does_nothing_without_a_yes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody there to answer is a no."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, _ = run("migrate:fresh")
    assert (1, True) == (code, out.startswith("Drop all tables of sqlite+aiosqlite://"))


def test_status_lists_what_is_pending(run: Run) -> None:
    """And says what to do about it."""
    code, out, _ = run("migrate:status")
    assert (0, "pending  0001 create the first tables") == (code, out.splitlines()[0])
    assert out.endswith("fix: python main.py migrate.\n")


def test_revision_needs_a_message(run: Run) -> None:
    """`make migration` without msg= is a usage error."""
    assert 2 == run("migrate:make", "")[0]

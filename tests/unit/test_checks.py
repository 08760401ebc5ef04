"""What check and routes print."""

from pathlib import Path
from typing import Any

import pytest

from core.application import Application
from core.checks import check, route_listing
from core.database.database import Database
from core.exceptions import ConfigurationError, RouteFileError
from core.middleware import Middleware
from core.mqtt.options import BrokerOptions
from core.router import Router
from core.routing.table import RouteTable


class Guard(Middleware):
    """Has a name to show."""


async def action() -> None: ...


def table() -> RouteTable:
    router = Router()
    router.on("a/{name}", action, qos=2, middleware=[Guard()])
    router.on("b/#", action)
    return RouteTable(router.routes)


def embedded(_settings: object, routes: RouteTable) -> Application:
    return Application(BrokerOptions("127.0.0.1", 1), Database("sqlite://"), routes, embedded=True)


def failing(error: Exception) -> Any:
    def fail(*_: object) -> Any:
        raise error

    return fail


async def lines(capsys: pytest.CaptureFixture[str], *steps: Any) -> tuple[bool, list[str]]:
    sound = await check(*steps)
    return sound, capsys.readouterr().out.splitlines()


async def test_good_service_gets_a_line_for_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    """Settings, routes, database, broker."""
    expected = [
        "settings   ok      complete and valid",
        "routes     ok      2 routes",
        "database   ok      sqlite+aiosqlite://",
        "broker     ok      embedded, starts with the service (MQTT_BROKER is not set)",
    ]
    assert (True, expected) == await lines(capsys, dict, table, embedded)


async def test_problems_are_listed_and_what_needs_them_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """Settings and routes are both looked at, so that one run shows all that is wrong."""
    settings = failing(ConfigurationError("ONE: wrong\nTWO: wrong"))
    routes = failing(RouteFileError("routes: none"))
    expected = [
        "settings   FAILED  2 problems:",
        "  ONE: wrong",
        "  TWO: wrong",
        "routes     FAILED  routes: none",
        "database   skipped mend the above first",
        "broker     skipped mend the above first",
    ]
    assert (False, expected) == await lines(capsys, settings, routes, embedded)


async def test_database_that_cannot_be_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """A URL may be well formed and yet name a driver that is missing."""
    sound, printed = await lines(capsys, dict, table, failing(ConfigurationError("no driver")))
    assert (False, "database   FAILED  no driver") == (sound, printed[2])


async def test_bug_in_a_route_file_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The line in the table tells where to look."""
    assert not await check(dict, failing(NameError("name 'x' is not defined")), embedded)
    out, err = capsys.readouterr()
    assert "routes     FAILED  NameError: name 'x' is not defined (traceback above)" in out.splitlines()
    assert "Traceback" in err


def test_routes_are_listed_in_aligned_columns() -> None:
    """Files are named from the project's folder."""
    listing = route_listing(table(), Path(__file__).parents[2]).splitlines()
    assert [
        "PATTERN   TOPIC FILTER  QOS  ACTION  MIDDLEWARE  DECLARED IN",
        "a/{name}  a/+           2    action  Guard       tests/unit/test_checks.py",
        "b/#       b/#           1    action  -           tests/unit/test_checks.py",
    ] == [line.split(":")[0] for line in listing]

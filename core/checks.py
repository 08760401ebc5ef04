"""What ``check`` and ``routes`` print: whether a service could start, and what it would listen to."""

import asyncio
import dataclasses
import itertools
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.application import Application
from core.database.database import Database
from core.database.migrations import Migrations
from core.exceptions import MqueductError, described
from core.mqtt.drivers import driver_for
from core.mqtt.options import BrokerOptions
from core.redaction import redacted_traceback
from core.routing.table import RouteTable
from core.terminal import readable

__all__ = ["check", "route_listing"]

# Seconds for a server to answer.
_PATIENCE = 10.0


class _Finding(NamedTuple):
    name: str
    state: str
    detail: str


async def check(
    load_settings: Callable[[], Any],
    load_routes: Callable[[], RouteTable],
    create_app: Callable[[Any, RouteTable], Application],
) -> bool:
    """Check settings, routes, database and broker, and print a line for each, followed by what is wrong.

    Returns:
        Whether all of them are good.
    """
    settings = _try("settings", load_settings, lambda _: "complete and valid")
    routes = _try("routes", load_routes, lambda table: f"{len(table.routes)} routes")
    if settings is None or routes is None:
        _line("database", "skipped", "mend the above first")
        _line("broker", "skipped", "mend the above first")
        return False
    try:
        application = create_app(settings, routes)
    except MqueductError as error:
        _line("database", "FAILED", str(error))
        _line("broker", "skipped", "mend the above first")
        return False
    try:
        # Side by side, since a health check has little time and both may be slow to fail.
        findings = await asyncio.gather(
            _check_database(application),
            *(_check_further(name, database) for name, database in application.further.items()),
            _check_broker(application),
        )
    finally:
        for database in (application.database, *application.further.values()):
            await database.close()
    good = [_line(*finding) for finding in itertools.chain(*findings)]
    return all(good)


async def _check_database(application: Application) -> list[_Finding]:
    """Check the database, and then whether its tables are those that the service needs."""
    findings = []
    try:
        async with asyncio.timeout(_PATIENCE):
            await application.database.ping()
            findings.append(_Finding("database", "ok", _addresses(application.database)))
            if application.migrations is not None:
                findings.append(await _check_migrations(application, application.migrations))
    except TimeoutError:
        return [_Finding("database", "FAILED", f"{application.database.address}: no answer within {_PATIENCE:g} s")]
    except MqueductError as error:
        findings.append(_Finding("migrations" if findings else "database", "FAILED", str(error)))
    return findings


def _addresses(database: Database) -> str:
    return database.address + (f", replica {database.replica}" if database.replica else "")


async def _check_further(name: str, database: Database) -> list[_Finding]:
    try:
        async with asyncio.timeout(_PATIENCE):
            await database.ping()
    except TimeoutError:
        return [_Finding("database", "FAILED", f"{name}: {database.address}: no answer within {_PATIENCE:g} s")]
    except MqueductError as error:
        return [_Finding("database", "FAILED", f"{name}: {error}")]
    return [_Finding("database", "ok", f"{name}: {database.address}")]


async def _check_migrations(application: Application, migrations: Migrations) -> _Finding:
    state = await migrations.state()
    if state.complaint is None:
        newest = f"at the newest revision ({state.applied[-1]})" if state.applied else "there are none"
        return _Finding("migrations", "ok", newest)
    if not state.unknown and application.auto_migrate:
        return _Finding("migrations", "ok", f"{len(state.pending)} pending, run at the start (DB_AUTO_MIGRATE)")
    if not state.recorded and application.create_tables:
        return _Finding("migrations", "ok", "tables are created at the start (DB_AUTO_CREATE_TABLES)")
    return _Finding("migrations", "FAILED", state.complaint)


async def _check_broker(application: Application) -> list[_Finding]:
    if application.embedded is not None:
        return [_Finding("broker", "ok", "embedded, starts with the service (MQTT_BROKER is not set)")]
    # A client id of its own, or the check would throw the running service out of its session.
    options = dataclasses.replace(
        application.broker,
        client_id=f"{application.broker.client_id}-check-{secrets.token_hex(4)}",
        status_topic=None,
    )
    address = f"{options.host}:{options.port}"
    try:
        async with asyncio.timeout(_PATIENCE):
            await _connect_once(options)
    except TimeoutError:
        return [_Finding("broker", "FAILED", f"{address}: no answer within {_PATIENCE:g} s")]
    except MqueductError as error:
        return [_Finding("broker", "FAILED", str(error))]
    return [_Finding("broker", "ok", f"{address}, MQTT {options.protocol}")]


async def _connect_once(options: BrokerOptions) -> None:
    connection = await driver_for(options)(options, 0, lambda message: None, clean_start=True)
    await connection.close()


def _try(name: str, load: Callable[[], Any], describe: Callable[[Any], str]) -> Any:
    try:
        loaded = load()
    except MqueductError as error:
        _line(name, "FAILED", str(error))
        return None
    except Exception as error:  # noqa: BLE001 - the reason follows
        # A route file runs code of the user's: its own traceback is the best message.
        print(redacted_traceback(error), end="", file=sys.stderr)
        _line(name, "FAILED", f"{described(error)} (traceback above)")
        return None
    _line(name, "ok", describe(loaded))
    return loaded


def _line(name: str, state: str, detail: str) -> bool:
    """Print a finding; details of several lines follow, indented."""
    lines = readable(detail).splitlines()
    if len(lines) > 1:
        lines = [f"{len(lines)} problems:", *(f"  {line}" for line in lines)]
    print(f"{name:<10} {state:<7} {lines[0] if lines else ''}".rstrip(), *lines[1:], sep="\n", flush=True)
    return state == "ok"


def route_listing(table: RouteTable, root: Path) -> str:
    """The route table as text with aligned columns.

    Args:
        table: The routes.
        root: The project's folder; files are named from there.
    """
    rows: list[Sequence[str]] = [("PATTERN", "TOPIC FILTER", "QOS", "ACTION", "MIDDLEWARE", "DECLARED IN")]
    for compiled in table.routes:
        route = compiled.route
        middleware = ", ".join(type(step).__name__ for step in compiled.middleware) or "-"
        source = f"{os.path.relpath(route.source.file, root)}:{route.source.line}"
        rows.append((route.pattern.text, route.pattern.filter, str(route.qos), route.action_name, middleware, source))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

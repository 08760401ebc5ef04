"""What ``check`` and ``routes`` print: whether a service could start, and what it would listen to."""

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from core.application import Application
from core.exceptions import MqueductError
from core.mqtt import aiomqtt_driver
from core.mqtt.options import BrokerOptions
from core.routing.table import RouteTable

__all__ = ["check", "route_listing"]


async def check(
    load_settings: Callable[[], Any],
    load_routes: Callable[[], RouteTable],
    create_app: Callable[[Any, RouteTable], Application],
) -> bool:
    """Check settings, routes, database and broker, and print a line for each.

    Returns:
        Whether all of them are good.
    """
    settings = _try("settings", load_settings, lambda _: "complete and valid")
    routes = _try("routes", load_routes, lambda table: f"{len(table.routes)} routes")
    if settings is None or routes is None:
        _line("database", "skipped", "mend the above first")
        _line("broker", "skipped", "mend the above first")
        return False
    application = _try("service", lambda: create_app(settings, routes), lambda app: repr(app.broker.client_id))
    if application is None:
        return False
    try:
        database = await _check_database(application)
        broker = await _check_broker(application)
    finally:
        await application.database.close()
    return database and broker


async def _check_database(application: Application) -> bool:
    try:
        await application.database.ping()
    except MqueductError as error:
        return _line("database", "FAILED", str(error))
    return _line("database", "ok", application.database.address)


async def _check_broker(application: Application) -> bool:
    if application.embedded is not None:
        return _line("broker", "ok", "embedded, starts with the service (MQTT_BROKER is not set)")
    # A client id of its own, or the check would throw the running service out of its session.
    options = dataclasses.replace(
        application.broker,
        client_id=f"{application.broker.client_id}-check-{secrets.token_hex(4)}",
        status_topic=None,
    )
    try:
        await _connect_once(options)
    except MqueductError as error:
        return _line("broker", "FAILED", str(error))
    return _line("broker", "ok", f"{options.host}:{options.port}, MQTT {options.protocol}")


async def _connect_once(options: BrokerOptions) -> None:
    connection = await aiomqtt_driver.connect(options, 0, lambda message: None, clean_start=True)
    await connection.close()


def _try(name: str, load: Callable[[], Any], describe: Callable[[Any], str]) -> Any:
    try:
        loaded = load()
    except MqueductError as error:
        _line(name, "FAILED", str(error))
        return None
    _line(name, "ok", describe(loaded))
    return loaded


def _line(name: str, state: str, detail: str) -> bool:
    print(f"{name:<9} {state:<7} {' '.join(detail.split())}", flush=True)
    return state == "ok"


def route_listing(table: RouteTable) -> str:
    """The route table as text with aligned columns."""
    rows: list[Sequence[str]] = [("PATTERN", "TOPIC FILTER", "QOS", "ACTION", "MIDDLEWARE", "DECLARED IN")]
    for compiled in table.routes:
        route = compiled.route
        middleware = ", ".join(type(step).__name__ for step in compiled.middleware) or "-"
        rows.append(
            (route.pattern.text, route.pattern.filter, str(route.qos), route.action_name, middleware, str(route.source))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

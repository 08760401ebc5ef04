"""The service that the faults are done to: ``python -m tests.faults.application run``, set up by the environment."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import config
from bootstrap import app
from core.application import Application
from core.cli import Example, main
from core.router import Router
from core.routing.table import RouteTable
from core.status import Gauge
from tests.faults.application import crash_points
from tests.faults.application.facts import FactController
from tests.faults.application.watches import limit_pages, tell_readiness

ROOT = app.ROOT
EXAMPLE: Example = app.EXAMPLE
GAUGES: Mapping[str, Gauge] = {}
create_migrations = app.create_migrations


def load_settings() -> config.Settings:
    """Read the environment, and no .env file."""
    settings = config.load(None)
    config.configure_logging(settings.logging)
    return settings


def load_routes() -> RouteTable:
    """The routes of the tests, for the topics of one test only: many share a broker."""
    name = os.environ["FAULT_NAME"]
    timeout = float(os.environ.get("FAULT_TIMEOUT", "30"))
    router = Router()
    router.on(f"{name}/facts/{{lane}}", FactController.store, qos=2, timeout=timeout)
    router.on(f"{name}/own-session", FactController.store_in_own_session)
    router.on(f"{name}/leak", FactController.store_and_leak, ordered=False)
    return RouteTable(router.routes)


def create_app(settings: config.Settings, routes: RouteTable) -> Application:
    """The service, which logs its readiness, and of which every process writes its counters to a file when it ends."""
    application = app.create_app(settings, routes)
    start, stop = application.start, application.stop
    watches: list[asyncio.Task[None]] = []

    async def start_and_watch() -> None:
        await start()
        watches.append(asyncio.create_task(tell_readiness(application)))

    async def stop_and_tell() -> None:
        for watch in watches:
            watch.cancel()
        await stop()
        if application.started:
            counters = application.statistics().consumer._asdict()
            _write(json.dumps(counters))

    application.start = start_and_watch  # type: ignore[method-assign]
    application.stop = stop_and_tell  # type: ignore[method-assign]
    return application


def _write(counters: str) -> None:
    (Path(os.environ["FAULT_STATISTICS"]) / f"{os.getpid()}.json").write_text(counters)


if __name__ == "__main__":
    crash_points.install()
    limit_pages()
    main(sys.modules[__name__])

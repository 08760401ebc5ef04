"""Start the measured application: ``python -m benchmarks.application run``, set up by the environment alone."""

import os
from collections.abc import Mapping

import config
from benchmarks.application.middleware import CountMessages, MeasureTime, RefuseLarge
from benchmarks.application.readings import Reading, ReadingController
from bootstrap import app
from core.cli import Example, main
from core.router import Router
from core.routing.table import RouteTable
from core.status import Gauge

EXAMPLE: Example = app.EXAMPLE
GAUGES: Mapping[str, Gauge] = {}


def load_settings() -> config.Settings:
    """Read the environment, and no .env file: a measurement must not depend on it."""
    settings = config.load(None)
    config.configure_logging(settings.logging)
    return settings


def load_routes() -> RouteTable:
    """As many routes as ``BENCH_ROUTES`` says, in batches of ``BENCH_BATCH`` if that is set."""
    router = Router()
    batch = int(os.environ.get("BENCH_BATCH", "0"))
    for number in range(int(os.environ.get("BENCH_ROUTES", "1"))):
        pattern = f"bench-{number}/{{device_id}}/reading"
        if batch:
            router.on(pattern, ReadingController.store_all, batch=batch, payload=Reading)
        else:
            router.on(pattern, ReadingController.store)
    return RouteTable(router.routes, [CountMessages(), RefuseLarge(1_000_000), MeasureTime()])


create_app = app.create_app


if __name__ == "__main__":
    import sys

    main(sys.modules[__name__])

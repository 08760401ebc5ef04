"""The composition root: the one place that puts the service together."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import func, select

import config
from app import demo, models
from app.middleware.log_messages import LogMessages
from core.application import Application
from core.cli import Example
from core.database.database import Database
from core.database.discovery import import_models
from core.database.migrations import Migrations
from core.middleware import Middleware
from core.model import Model
from core.routing.discovery import discover
from core.routing.table import RouteTable
from core.status import Gauge

ROOT = Path(__file__).resolve().parent.parent

EXAMPLE = Example(demo.EXAMPLE_TOPIC, demo.EXAMPLE_PAYLOAD, demo.simulate)


async def count_devices() -> int:
    """How many devices are known."""
    async with await Model.get_session() as session:
        return await session.scalar(select(func.count()).select_from(models.Device)) or 0


GAUGES: Mapping[str, Gauge] = {"devices": count_devices}


def global_middleware() -> list[Middleware]:
    """The middleware around every route, outermost first."""
    return [LogMessages()]


def load_settings() -> config.Settings:
    """Read the settings and set the log up; raises ConfigurationError with every problem listed."""
    settings = config.load(ROOT / ".env")
    config.configure_logging(settings.logging)
    return settings


def load_routes() -> RouteTable:
    """Read ``routes/*.py`` and bind every action; raises RoutingError."""
    return RouteTable(discover(ROOT / "routes").routes, global_middleware())


def create_migrations(settings: config.Settings, name: str | None = None) -> Migrations:
    """Give the databases to all models, and the revisions of one to who asks; nothing is connected yet."""
    import_models(models)
    skew = settings.ingest.max_clock_skew
    database = Model.configure(settings.database.url, max_clock_skew=skew, **settings.database.options())
    for further, (url, options) in settings.database.further().items():
        Model.install(Database(url, max_clock_skew=skew, **options), further)
    return Migrations(database if name is None else Model.on(name).database(), ROOT / "app" / "migrations")


def create_app(settings: config.Settings, routes: RouteTable) -> Application:
    """Put the service together; nothing is connected yet."""
    migrations = create_migrations(settings)
    return Application(
        settings.mqtt.broker_options(settings.ingest.window),
        migrations.database,
        routes,
        settings.ingest_options(),
        embedded=settings.mqtt.embedded,
        create_tables=settings.database.creates_tables,
        migrations=migrations,
        auto_migrate=settings.database.auto_migrate,
        further=Model.further_databases(),
    )

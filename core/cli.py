"""The command line."""

import asyncio
import dataclasses
import gc
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol

import structlog
import typer
import uvloop

from core import checks
from core.application import Application
from core.concurrency import first_of
from core.context import Client
from core.exceptions import MqueductError
from core.mqtt.drivers import driver_for
from core.mqtt.publisher import Publisher
from core.routing.table import RouteTable
from core.signals import stop_on_signals
from core.status import Gauge, log_status, print_status, summary

__all__ = ["Bootstrap", "Example", "main"]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """What ``run --demo`` shows.

    Attributes:
        topic: A topic that a route of the application takes.
        payload: A payload that fits it.
        simulate: Publishes as devices would, until cancelled.
    """

    topic: str
    payload: str
    simulate: Callable[[Client], Coroutine[Any, Any, None]]


class Bootstrap(Protocol):
    """What the module ``bootstrap.app`` provides."""

    ROOT: Path
    EXAMPLE: Example
    GAUGES: Mapping[str, Gauge]

    def load_settings(self) -> Any:
        """Read the settings and set the log up; raises ConfigurationError."""

    def load_routes(self) -> RouteTable:
        """Read the routes and bind their actions; raises RoutingError."""

    def create_app(self, settings: Any, routes: RouteTable, /) -> Application:
        """Put the service together; nothing is connected yet."""


def main(bootstrap: Bootstrap) -> NoReturn:
    """Run the command that ``sys.argv`` names and exit: 0, or 1 after an error of the user's to mend."""
    try:
        _commands(bootstrap)()
    except MqueductError as error:
        print("mqueduct:", *str(error).splitlines(), sep="\n  " if "\n" in str(error) else " ", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _commands(bootstrap: Bootstrap) -> typer.Typer:
    # Typer's own tracebacks show local variables, which may hold secrets.
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False, help="MQTT to database, nothing lost.")

    @cli.callback(invoke_without_command=True)
    def default(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            _run(bootstrap, demo=False)

    @cli.command()
    def run(demo: Annotated[bool, typer.Option(help="Simulate a few devices as well.")] = False) -> None:
        """Run the service (also without any command); Ctrl-C drains and stops it."""
        _run(bootstrap, demo=demo)

    @cli.command()
    def routes() -> None:
        """Show every route, in the order in which they run."""
        print(checks.route_listing(bootstrap.load_routes(), bootstrap.ROOT))

    @cli.command()
    def check() -> None:
        """Check settings, routes, database and broker; exit with 1 if one of them is bad."""
        sound = uvloop.run(checks.check(bootstrap.load_settings, bootstrap.load_routes, bootstrap.create_app))
        raise typer.Exit(0 if sound else 1)

    @cli.command()
    def publish(
        topic: str,
        payload: str,
        qos: Annotated[int, typer.Option(min=0, max=2)] = 1,
        retain: Annotated[bool, typer.Option(help="Let the broker keep it.")] = False,
    ) -> None:
        """Publish one message to the service's broker."""
        uvloop.run(_publish(bootstrap, topic, payload, qos, retain))

    return cli


def _run(bootstrap: Bootstrap, *, demo: bool) -> None:
    settings = bootstrap.load_settings()
    application = bootstrap.create_app(settings, bootstrap.load_routes())
    _tune_collector()
    uvloop.run(_live(bootstrap, application, demo=demo))


def _tune_collector() -> None:
    """Let the garbage collector look rarely: messages leave few cycles, and each look costs a quarter of the speed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _live(bootstrap: Bootstrap, application: Application, *, demo: bool) -> None:
    stop = asyncio.Event()
    with stop_on_signals(stop, application.ingest.drain_timeout):
        try:
            await first_of(_asked(stop), application.start())
            if not stop.is_set():
                await first_of(_asked(stop), application.serve(), *_company(bootstrap, application, demo=demo))
        finally:
            await application.stop()
            if application.started:
                print(summary(application), flush=True)
        if application.cut_short:
            # A handler that heeds no cancellation, or a thread that never ends, would keep the interpreter alive.
            os._exit(0)


async def _asked(stop: asyncio.Event) -> None:
    await stop.wait()
    logger.info("stopping; a second signal ends at once, without waiting for handlers")


def _company(bootstrap: Bootstrap, application: Application, *, demo: bool) -> Iterator[Coroutine[Any, Any, None]]:
    """What runs beside the service."""
    if demo:
        yield _demonstrate(bootstrap.EXAMPLE, application)
    if demo or sys.stdout.isatty():
        yield print_status(application, bootstrap.GAUGES)
    else:
        yield log_status(application)


async def _demonstrate(example: Example, application: Application) -> None:
    await application.ready()
    broker = application.broker
    print(
        f"Devices are simulated on {broker.host}:{broker.port}. Publish a message of your own from another terminal:\n"
        f"  {_publish_command(application, example)}\n"
        f"or with any MQTT client, to topic {example.topic} at {broker.host}:{broker.port}. Ctrl-C stops.",
        flush=True,
    )
    await example.simulate(application.publisher)


def _publish_command(application: Application, example: Example) -> str:
    """A command for a shell in the present folder, which reads the same settings as this process."""
    words = [os.path.relpath(sys.executable), "main.py", "publish", example.topic, example.payload]
    embedded = application.embedded
    moved = embedded is not None and embedded.port != embedded.wanted_port
    return f"MQTT_PORT={application.broker.port} " * moved + shlex.join(words)


async def _publish(bootstrap: Bootstrap, topic: str, payload: str, qos: int, retain: bool) -> None:
    application = bootstrap.create_app(bootstrap.load_settings(), bootstrap.load_routes())
    options = dataclasses.replace(
        application.broker, client_id=f"{application.broker.client_id}-cli-{secrets.token_hex(4)}"
    )
    publisher = Publisher(options, driver_for(options), patience=10)
    try:
        await publisher.publish(topic, payload, qos=qos, retain=retain)
    finally:
        await publisher.close()
        await application.database.close()

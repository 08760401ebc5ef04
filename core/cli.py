"""The command line."""

import asyncio
import contextlib
import dataclasses
import gc
import os
import secrets
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol

import structlog
import typer
import uvloop

from core import checks
from core.application import Application
from core.cli_dead_letters import add_dead_letter_commands
from core.cli_migrations import Migrating, add_migration_commands
from core.cli_time_series import add_time_series_commands
from core.concurrency import first_of
from core.context import Client
from core.exceptions import ConfigurationError, MqueductError
from core.mqtt.drivers import driver_for
from core.mqtt.publisher import Publisher
from core.routing.table import RouteTable
from core.signals import stop_on_signals
from core.status import Gauge, Observed, log_status, print_status, summary
from core.supervisor import Supervisor, worker_command
from core.terminal import readable, redact_uncaught
from core.workers.channel import Channel
from core.workers.reports import Report

__all__ = ["Bootstrap", "Example", "main"]

# Seconds by which the supervisor's own deadline comes after those of its workers.
_SUPERVISION = 5.0

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


class Bootstrap(Migrating, Protocol):
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
    redact_uncaught()
    try:
        _commands(bootstrap)()
    except MqueductError as error:
        text = readable(str(error))
        print("mqueduct:", *text.splitlines(), sep="\n  " if "\n" in text else " ", file=sys.stderr)
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
    def run(
        demo: Annotated[bool, typer.Option(help="Simulate a few devices as well.")] = False,
        workers: Annotated[
            int | None, typer.Option(min=1, help="Processes that share the work [default: INGEST_WORKERS].")
        ] = None,
    ) -> None:
        """Run the service (also without any command); Ctrl-C drains and stops it."""
        _run(bootstrap, demo=demo, workers=workers)

    @cli.command(hidden=True)
    def worker(slot: int, workers: int, descriptor: int, demo: bool = False) -> None:
        """Run one worker; started by ``run --workers``."""
        _run_worker(bootstrap, slot, workers, descriptor, demo=demo)

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

    def create() -> Application:
        return bootstrap.create_app(bootstrap.load_settings(), bootstrap.load_routes())

    add_dead_letter_commands(cli, create, _publisher)
    add_migration_commands(cli, bootstrap)
    add_time_series_commands(cli, bootstrap)
    return cli


def _run(bootstrap: Bootstrap, *, demo: bool, workers: int | None = None) -> None:
    settings = bootstrap.load_settings()
    application = bootstrap.create_app(settings, bootstrap.load_routes())
    workers = workers or application.ingest.workers
    if workers > 1:
        raise typer.Exit(uvloop.run(_supervise(bootstrap, application, workers, demo=demo)))
    _tune_collector()
    uvloop.run(_live(bootstrap, application, demo=demo))


def _run_worker(bootstrap: Bootstrap, slot: int, workers: int, descriptor: int, *, demo: bool) -> None:
    with Channel(descriptor) as channel:
        try:
            settings = bootstrap.load_settings()
            structlog.contextvars.bind_contextvars(worker=slot)
            application = bootstrap.create_app(settings, bootstrap.load_routes())
            application.take_slot(slot, workers)
            _tune_collector()
            uvloop.run(_live(bootstrap, application, demo=demo, channel=channel))
        except MqueductError as error:
            # Not printed here: the supervisor says it, once for all workers.
            channel.tell(Report(problem=str(error)))
            raise typer.Exit(1) from error


def _tune_collector() -> None:
    """Let the garbage collector look rarely: messages leave few cycles, and each look costs a quarter of the speed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


async def _live(bootstrap: Bootstrap, application: Application, *, demo: bool, channel: Channel | None = None) -> None:
    stop = asyncio.Event()
    with stop_on_signals(stop, application.ingest.drain_timeout):
        async with _heartbeat(channel, application, stop):
            try:
                await first_of(_asked(stop), application.start())
                if not stop.is_set():
                    company = _company(bootstrap, application, demo=demo, alone=channel is None)
                    await first_of(_asked(stop), application.serve(), *company)
            finally:
                await application.stop()
                if application.started and channel is None:
                    print(summary(application), flush=True)
        if application.cut_short:
            # A handler that heeds no cancellation, or a thread that never ends, would keep the interpreter alive.
            os._exit(0)


@contextlib.asynccontextmanager
async def _heartbeat(channel: Channel | None, application: Application, stop: asyncio.Event) -> AsyncIterator[None]:
    """Report to the supervisor, if there is one, to the very end."""
    if channel is None:
        yield
        return

    def report() -> Report:
        return Report(application.statistics() if application.started else None, application.is_ready)

    channel.stop_with_supervisor(stop.is_set)
    beating = asyncio.create_task(channel.beat(report))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        channel.tell(report())


async def _supervise(bootstrap: Bootstrap, application: Application, workers: int, *, demo: bool) -> int:
    """Run several workers; returns the worst of their exit codes."""
    if application.embedded is not None:
        raise ConfigurationError(
            f"{workers} workers need a real broker: the embedded one has no shared subscriptions; "
            "fix: set MQTT_BROKER, or run one worker"
        )
    supervisor = Supervisor(
        lambda slot: worker_command(slot, workers, demo=demo and slot == 1),
        workers,
        application.database,
        application.table.watched,
        worker_timeout=application.ingest.worker_timeout,
        drain_timeout=application.ingest.drain_timeout,
    )
    stop = asyncio.Event()
    with stop_on_signals(stop, application.ingest.drain_timeout + _SUPERVISION, supervisor.abandon):
        try:
            await first_of(_asked(stop), application.prepare())
            if not stop.is_set():
                company = _display(bootstrap, supervisor, often=demo)
                await first_of(_asked(stop), supervisor.run(), application.serve(), supervisor.watch(), company)
        finally:
            code = await supervisor.stop()
            await application.stop()
            if supervisor.started:
                print(summary(supervisor), flush=True)
    return code


async def _asked(stop: asyncio.Event) -> None:
    await stop.wait()
    logger.info("stopping; a second signal ends at once, without waiting for handlers")


def _company(
    bootstrap: Bootstrap, application: Application, *, demo: bool, alone: bool
) -> Iterator[Coroutine[Any, Any, None]]:
    """What runs beside the service; of several workers the supervisor shows the numbers."""
    if demo:
        yield _demonstrate(bootstrap.EXAMPLE, application)
    if alone:
        yield _display(bootstrap, application, often=demo)


def _display(bootstrap: Bootstrap, observed: Observed, *, often: bool) -> Coroutine[Any, Any, None]:
    if often or sys.stdout.isatty():
        return print_status(observed, bootstrap.GAUGES)
    return log_status(observed)


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
    publisher = _publisher(application)
    try:
        await publisher.publish(topic, payload, qos=qos, retain=retain)
    finally:
        await publisher.close()
        await application.database.close()


def _publisher(application: Application) -> Publisher:
    """A connection of this process's own, with a client id that nobody else has."""
    client_id = f"{application.broker.client_id}-cli-{secrets.token_hex(4)}"
    options = dataclasses.replace(application.broker, client_id=client_id)
    return Publisher(options, driver_for(options), patience=10)

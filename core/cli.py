"""The command line."""

import asyncio
import contextlib
import dataclasses
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, Protocol

import typer
import uvloop

from core import checks
from core.application import Application
from core.concurrency import first_of
from core.context import Client
from core.exceptions import MqueductError
from core.mqtt import aiomqtt_driver
from core.mqtt.publisher import Publisher
from core.routing.table import RouteTable
from core.status import Gauge, log_status, print_status, summary

__all__ = ["Bootstrap", "Example", "main"]


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

    EXAMPLE: Example
    GAUGES: Mapping[str, Gauge]
    load_settings: Callable[[], Any]
    load_routes: Callable[[], RouteTable]
    create_app: Callable[[Any, RouteTable], Application]


def main(bootstrap: Bootstrap) -> NoReturn:
    """Run the command that ``sys.argv`` names and exit: 0, or 1 after an error of the user's to mend."""
    try:
        _commands(bootstrap)()
    except MqueductError as error:
        print(f"mqueduct: {error}", file=sys.stderr)
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
        print(checks.route_listing(bootstrap.load_routes()))

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
    uvloop.run(_live(bootstrap, application, demo=demo))


async def _live(bootstrap: Bootstrap, application: Application, *, demo: bool) -> None:
    stop = asyncio.Event()
    with _signals(stop):
        try:
            await first_of(stop.wait(), application.start())
            if not stop.is_set():
                await first_of(stop.wait(), application.serve(), *_company(bootstrap, application, demo=demo))
        finally:
            await application.stop()
    if application.started:
        print(summary(application), flush=True)
    if application.stuck:
        # A thread that never ends would keep the interpreter from ending.
        os._exit(0)


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
        f"Devices are simulated on {broker.host}:{broker.port}. Publish a message of your own:\n"
        f"  mosquitto_pub -h {broker.host} -p {broker.port} -q 1 -t {example.topic} -m '{example.payload}'\n"
        f"  MQTT_BROKER={broker.host} MQTT_PORT={broker.port} MQTT_PROTOCOL={broker.protocol} "
        f"{sys.executable} main.py publish {example.topic} '{example.payload}'\n"
        "Ctrl-C stops.",
        flush=True,
    )
    await example.simulate(application.publisher)


async def _publish(bootstrap: Bootstrap, topic: str, payload: str, qos: int, retain: bool) -> None:
    application = bootstrap.create_app(bootstrap.load_settings(), bootstrap.load_routes())
    options = dataclasses.replace(application.broker, client_id=f"{application.broker.client_id}-cli-{secrets.token_hex(4)}")
    publisher = Publisher(options, aiomqtt_driver.connect, patience=10)
    try:
        await publisher.publish(topic, payload, qos=qos, retain=retain)
    finally:
        await publisher.close()
        await application.database.close()


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks to stop, the second ends the process at once."""
    loop = asyncio.get_running_loop()

    def received() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    caught = (signal.SIGINT, signal.SIGTERM)
    for number in caught:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)

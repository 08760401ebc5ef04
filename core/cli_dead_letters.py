"""The commands on dead letters: ``dead-letters list``, ``show``, ``replay`` and ``purge``."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar

import typer
import uvloop

from core.application import Application
from core.database.dead_letters import Selection, Summary
from core.database.errors import translate
from core.dead_letter import DeadLetter, facts_of
from core.durations import to_duration
from core.ingest.replay import Replay, Replayed
from core.instants import now, to_instant
from core.mqtt.publisher import Publisher
from core.redaction import redact
from core.terminal import printable, readable

__all__ = ["add_dead_letter_commands"]

T = TypeVar("T")

Work = Callable[[Application], Coroutine[Any, Any, T]]


class _Run(Protocol):
    """Does something with an application, in an event loop of its own."""

    def __call__(self, work: Work[T], /) -> T: ...


_SHOWN_TOPIC = 40
_SHOWN_ERROR = 80

_Number = Annotated[int | None, typer.Argument(metavar="[ID]", help="The number of one letter.")]
_Route = Annotated[str | None, typer.Option(help="Those of one route, by its name or else its pattern.")]
_Reason = Annotated[str | None, typer.Option(help="Those of one reason, such as invalid or timeout.")]
_Since = Annotated[
    str | None, typer.Option(help="Those set aside since a time or within a duration: 2026-05-01, 12h, 7d.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, a line for each.")]


def add_dead_letter_commands(
    cli: typer.Typer, create: Callable[[], Application], publisher_of: Callable[[Application], Publisher]
) -> None:
    """Add the commands to a command line.

    Args:
        cli: The command line.
        create: Puts the service together; nothing is connected yet.
        publisher_of: A connection to publish on, which opens when it is first used.
    """
    letters = typer.Typer(no_args_is_help=True, help="Look at messages that could not be handled, and replay them.")
    cli.add_typer(letters, name="dead-letters")

    def run(work: Work[T]) -> T:
        return uvloop.run(_with(create, work))

    _add_list(letters, run)
    _add_show(letters, run)
    _add_replay(letters, run, publisher_of)
    _add_purge(letters, run)


async def _with(create: Callable[[], Application], work: Work[T]) -> T:
    application = create()
    try:
        return await work(application)
    finally:
        await application.database.close()


def _add_list(letters: typer.Typer, run: _Run) -> None:
    @letters.command("list")
    def list_(
        route: _Route = None,
        reason: _Reason = None,
        since: _Since = None,
        limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
        as_json: _Json = False,
    ) -> None:
        """List dead letters, the newest first."""
        chosen = Selection(route=route, reason=reason, since=_time(since, "--since"))

        async def look(application: Application) -> tuple[Sequence[Summary], int]:
            return await asyncio.gather(
                application.dead_letters.list(chosen, limit), application.dead_letters.count(chosen)
            )

        found, count = run(look)
        if as_json:
            for summary in found:
                print(json.dumps(summary._asdict() | {"failed_at": summary.failed_at.isoformat()}))
        else:
            print(_table(found, count))


def _add_show(letters: typer.Typer, run: _Run) -> None:
    @letters.command()
    def show(
        number: Annotated[int, typer.Argument(metavar="ID", help="The number of the letter.")], as_json: _Json = False
    ) -> None:
        """Show everything about one dead letter."""
        letter = run(lambda application: application.dead_letters.get(number))
        if letter is None:
            raise typer.BadParameter(f"there is no dead letter {number}")
        print(json.dumps(facts_of(letter)) if as_json else _page(letter))


def _add_replay(letters: typer.Typer, run: _Run, publisher_of: Callable[[Application], Publisher]) -> None:
    @letters.command()
    def replay(
        number: _Number = None,
        route: _Route = None,
        reason: _Reason = None,
        since: _Since = None,
        everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    ) -> None:
        """Let messages go through their routes again; what succeeds is no dead letter any more.

        Exits with 1 if one of them failed again.
        """
        chosen = Selection(number, route, reason, _time(since, "--since"))
        _check_chosen(chosen, everything)
        ends = run(lambda application: _replay(application, publisher_of(application), chosen))
        kept = sum(end.problem is not None for end in ends)
        print(f"{len(ends) - kept} replayed, {kept} failed again." if ends else "Nothing to do: no letter is meant.")
        raise typer.Exit(1 if kept else 0)


def _add_purge(letters: typer.Typer, run: _Run) -> None:
    @letters.command()
    def purge(
        number: _Number = None,
        route: _Route = None,
        reason: _Reason = None,
        before: Annotated[
            str | None, typer.Option(help="Those set aside before a time, or longer ago: 2026-05-01, 30d.")
        ] = None,
        everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ) -> None:
        """Remove dead letters for good; asks first."""
        chosen = Selection(number, route, reason, before=_time(before, "--before"))
        _check_chosen(chosen, everything)
        if not yes:
            count = run(lambda application: application.dead_letters.count(chosen))
            typer.confirm(f"Remove {count} dead letters, with the messages in them?", abort=True)
        print(f"{run(lambda application: application.dead_letters.purge(chosen))} removed.")


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return now() - to_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        return to_instant(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text!r}: write a duration (12h, 30d) or a time (2026-05-01)") from error


def _check_chosen(chosen: Selection, everything: bool) -> None:
    if everything == any(part is not None for part in chosen):
        raise typer.BadParameter("name an ID or an option that chooses letters, or say --all")


async def _replay(application: Application, publisher: Publisher, chosen: Selection) -> list[Replayed]:
    ends: list[Replayed] = []
    replay = Replay(
        application.dead_letters,
        application.database,
        application.table,
        publisher,
        application.ingest.handler_timeout,
        translate,
    )
    numbers = await application.dead_letters.ids(chosen)
    if chosen.id is not None and not numbers:
        raise typer.BadParameter(f"there is no dead letter {chosen.id}")
    try:
        for number in numbers:
            ends.append(end := await replay(number))
            print(f"{number}  {'replayed' if end.problem is None else _line(end.problem)}", flush=True)
    finally:
        await publisher.close()
    return ends


def _table(found: Sequence[Summary], count: int) -> str:
    rows: list[Sequence[str]] = [("ID", "FAILED AT", "REASON", "ROUTE", "TOPIC", "BYTES", "TRIED", "ERROR")]
    for letter in found:
        time = letter.failed_at.isoformat(" ", "seconds")
        sizes = (str(letter.size), str(letter.attempts))
        topic, error = _line(letter.topic)[:_SHOWN_TOPIC], _line(letter.error)[:_SHOWN_ERROR]
        rows.append((str(letter.id), time, letter.reason, _line(letter.route or "-"), topic, *sizes, error))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if found else []
    return "\n".join([*lines, f"{len(found)} of {count} dead letters." if count else "There are no dead letters."])


def _page(letter: DeadLetter) -> str:
    facts = {name: value for name, value in facts_of(letter).items() if value not in (None, {})}
    traceback, payload = facts.pop("traceback", None), facts.pop("payload", None)
    lines = [f"{name:<12} {_line(str(value))}" for name, value in facts.items()]
    if payload is not None:
        lines += ["", "payload", "-------", "\n".join(map(readable, payload.splitlines()))]
    if traceback is not None:
        lines += ["", "\n".join(map(readable, traceback.splitlines()))]
    return "\n".join(lines)


def _line(text: str) -> str:
    return printable(redact(text))

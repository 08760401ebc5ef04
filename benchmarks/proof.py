"""The proof of the promise, apart from all timing: a PUBACK means committed, nothing is lost, nothing is there twice.

A proxy between the service and its broker holds every PUBACK until a second database connection has seen the row.
An acknowledgement whose row is not there when it is looked for, right after the PUBACK came, is early. So that an early
one cannot hide in the time that looking takes, commits are made slow where the database can do that.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.ingest import chosen
from benchmarks.ingest_contenders import Contender, Setting
from benchmarks.ingest_results import save
from benchmarks.ingest_stand import Bench, Kind, Stand, open_stand
from benchmarks.ingest_steps import prepared, publishing, wait_for_rows
from benchmarks.load.proxy import proxy
from benchmarks.load.workload import Workload
from benchmarks.witness import Witness

__all__ = ["Proof", "main"]

#: Makes each COMMIT that wrote readings last 20 ms longer: the trigger is deferred, and sleeps once per transaction.
SLOW_COMMITS = (
    """
    CREATE FUNCTION wait_once() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF coalesce(current_setting('bench.waited', true), '') = '' THEN
            PERFORM set_config('bench.waited', 'yes', true), pg_sleep(0.02);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON sensor_readings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_once()
    """,
)


class Proof(msgspec.Struct, kw_only=True):
    """What the proxy has seen.

    Attributes:
        contender: Its name.
        database: Which database.
        messages: Messages published.
        acknowledged: PUBACKs that came through the proxy.
        cuts: Connections that the proxy cut in the middle.
        redelivered: PUBLISHes that the broker sent again after a cut.
        early: Acknowledgements whose row was not committed.
        lost: Messages without a row at the end.
        duplicates: Rows too many at the end.
        slow_commits: Whether commits were made slow.
    """

    contender: str
    database: str
    messages: int
    acknowledged: int
    cuts: int
    redelivered: int
    early: int
    lost: int
    duplicates: int
    slow_commits: bool


async def prove(stand: Stand, contender: Contender, setting: Setting, workload: Workload, cuts: int) -> Proof:
    """Watch a contender take a workload in."""
    async with stand.bench() as bench:
        slow = await _slow_down(stand, bench)
        engine = create_async_engine(bench.url, isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                witness = Witness(connection)
                async with proxy(bench.broker.port, witness.observe) as port, asyncio.TaskGroup() as tasks:
                    releasing = tasks.create_task(witness.release())
                    made, rows = await _watched(bench, contender, setting, workload, port, witness, cuts)
                    releasing.cancel()
        finally:
            await engine.dispose()
        found, distinct = await bench.readings.count(), await bench.readings.distinct()
    return Proof(
        contender=contender.name,
        database=stand.kind.value,
        messages=workload.messages,
        acknowledged=witness.acknowledged,
        cuts=made,
        redelivered=witness.redelivered,
        early=witness.early,
        lost=rows + workload.messages - distinct,
        duplicates=found - distinct,
        slow_commits=slow,
    )


async def _slow_down(stand: Stand, bench: Bench) -> bool:
    if stand.kind is not Kind.POSTGRES:
        return False
    for statement in SLOW_COMMITS:
        await bench.readings.connection.execute(text(statement))
    return True


async def _watched(
    bench: Bench,
    contender: Contender,
    setting: Setting,
    workload: Workload,
    port: int,
    witness: Witness,
    cuts: int,
) -> tuple[int, int]:
    """Run a contender behind the proxy; returns the cuts made and the rows that were there before."""
    made = 0
    chance = random.Random(1)  # noqa: S311 - chooses moments
    async with prepared(bench, contender, setting, port) as (program, rows):
        async with publishing(bench.broker.port, workload) as publisher:
            publisher.go()
            for _ in range(cuts):
                # Some rows later, so that each cut comes in the middle.
                stored = await bench.readings.count()
                await wait_for_rows(bench, stored + chance.randrange(1, workload.messages // (cuts + 1)), program)
                if await bench.readings.highest_id() >= rows + workload.messages:
                    break
                made += witness.cut()
            await publisher.report()
        await wait_for_rows(bench, rows + workload.messages, program)
        await witness.settled()
    return made, rows


async def prove_all(
    kind_of: Kind, contenders: Sequence[Contender], setting: Setting, workload: Workload, cuts: int
) -> tuple[list[Proof], float]:
    """Prove one contender after the other; also returns the milliseconds of a bare commit."""
    with open_stand(kind_of) as stand:
        bare = await stand.bare_commit_ms()
        proofs = []
        for contender in contenders:
            # The peers do not connect again.
            proof = await prove(stand, contender, setting, workload, cuts if contender.reconnects else 0)
            proofs.append(proof)
            print(
                f"  {proof.contender:<17}{proof.messages:>8,} messages, {proof.acknowledged:>8,} acknowledged,"
                f" {proof.cuts} cuts, {proof.redelivered:,} sent again:"
                f" early {proof.early}, lost {proof.lost}, twice {proof.duplicates}",
                flush=True,
            )
    return proofs, bare


def main(
    database: Annotated[Kind, typer.Option(help="Where the rows go.")] = Kind.POSTGRES,
    messages: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="Messages.")] = 20_000,
    topics: Annotated[int, typer.Option(min=1, max=1_000_000, help="Topics the messages come from.")] = 1_000,
    window: Annotated[int, typer.Option(min=1, max=65_535, help="Messages in flight.")] = 1_000,
    cuts: Annotated[int, typer.Option(min=0, max=100, help="Connections to cut in the middle.")] = 3,
    only: Annotated[str, typer.Option(help="Contenders, with commas.")] = "mqueduct,mqueduct-batch,mqueduct-aiomqtt",
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
) -> None:
    """Early acknowledgements, lost messages, duplicates, seen from outside; `--only naive` shows that it can fail."""
    setting = Setting(window)
    contenders = chosen(only, setting)
    proofs, bare = uvloop.run(prove_all(database, contenders, setting, Workload(messages, topics), cuts))
    if json:
        save(json, proofs, {database.value: bare})
    if any(proof.early or proof.lost or proof.duplicates for proof in proofs):
        raise typer.Exit(1)

"""How long a message takes from its publisher to its committed row.

The service talks to the broker through a proxy that notes when what came by. A PUBACK means committed (``proof`` shows
that), so the time of the PUBACK minus the time that the device wrote into its payload is the latency; the way through
the proxy is part of it. What was noted is taken apart after the run.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from benchmarks.ingest_contenders import CONTENDERS, Contender, Setting
from benchmarks.ingest_results import percentile, save
from benchmarks.ingest_run import Run, Telling, measure
from benchmarks.ingest_stand import Kind, Stand, open_stand
from benchmarks.ingest_steps import prepared, publishing, wait_for_rows
from benchmarks.load.proxy import Link, proxy
from benchmarks.load.wire import CONNECT, PUBACK, PUBLISH, Framer, kind, level, packet_id, publication
from benchmarks.load.workload import FIRST_INSTANT, Workload
from benchmarks.peers.tables import bare_commits

__all__ = ["Latency", "Recorder", "main"]

BARE_COMMITS = 1_000


class Latency(msgspec.Struct, kw_only=True):
    """Latencies of one run, in milliseconds.

    Attributes:
        contender: Its name.
        database: Which database.
        rate: Messages per second that were published.
        load: Why this rate, in words.
        messages: How many.
        p50: Half of the messages took at most this long from their publisher to their PUBACK.
        p99: The same of 99 of 100.
        worst: The longest.
        bare_p50: One bare commit on the same table, right before and after.
        bare_p99: The same, 99 of 100.
        foreign_cpu: Part of one core that other programs used meanwhile.
    """

    contender: str
    database: str
    rate: float
    load: str
    messages: int
    p50: float
    p99: float
    worst: float
    bare_p50: float
    bare_p99: float
    foreign_cpu: float


class _Instant(msgspec.Struct):
    timestamp: float


class Recorder:
    """Passes everything on at once and keeps it with its time."""

    def __init__(self) -> None:
        self.noted: list[tuple[float, bool, bytes]] = []

    def observe(self, link: Link) -> "_Tap":
        """Watch a connection."""
        return _Tap(link, self.noted)

    def latencies(self, since: float) -> Iterator[float]:
        """Seconds from the payload's timestamp to the PUBACK, of messages published after a point in time."""
        broker, service = Framer(), Framer()
        sent: dict[int, float] = {}
        protocol = 5
        decode = msgspec.json.Decoder(_Instant).decode
        for moment, from_broker, data in self.noted:
            for packet in (broker if from_broker else service).feed(data):
                if kind(packet) == CONNECT:
                    protocol = level(packet)
                elif kind(packet) == PUBLISH and from_broker:
                    message = publication(packet, protocol)
                    sent[message.packet_id] = decode(message.payload).timestamp
                elif kind(packet) == PUBACK and not from_broker:
                    instant = sent.pop(packet_id(packet))
                    if instant >= since:
                        yield moment - instant


class _Tap:
    """The observer of one connection."""

    def __init__(self, link: Link, noted: list[tuple[float, bool, bytes]]) -> None:
        self._link = link
        self._note = noted.append

    def from_broker(self, data: bytes) -> None:
        self._link.to_service(data)
        self._note((time.time(), True, data))

    def from_service(self, data: bytes) -> None:
        self._note((time.time(), False, data))
        self._link.to_broker(data)

    def ended(self) -> None:
        pass


async def measure_latency(
    stand: Stand, contender: Contender, setting: Setting, *, rate: float, seconds: float, load: str
) -> Latency:
    """Measure a contender at one rate."""
    recorder = Recorder()
    workload = Workload(int(rate * seconds))
    async with stand.bench() as bench, proxy(bench.broker.port, recorder.observe) as port:
        bare = await bare_commits(bench.url, BARE_COMMITS, FIRST_INSTANT - 3_000_000)
        async with prepared(bench, contender, setting, port) as (program, rows):
            async with publishing(bench.broker.port, workload, rate=rate) as publisher:
                # No look at the database meanwhile: this process is the proxy, and a pause of its own would count.
                gc.collect()
                gc.disable()
                telling = Telling(stand, bench, program)
                began = time.time()
                publisher.go()
                report = await publisher.report()
                gc.enable()
                used = telling.since()
            await wait_for_rows(bench, BARE_COMMITS + rows + workload.messages, program)
        bare += await bare_commits(bench.url, BARE_COMMITS, FIRST_INSTANT - 6_000_000)
    taken = [latency * 1000 for latency in recorder.latencies(began)]
    assert len(taken) == workload.messages, f"{len(taken)} of {workload.messages} acknowledged"
    return Latency(
        contender=contender.name,
        database=stand.kind.value,
        rate=rate,
        load=load,
        messages=workload.messages,
        p50=percentile(taken, 50),
        p99=percentile(taken, 99),
        worst=max(taken),
        bare_p50=percentile(bare, 50) * 1000,
        bare_p99=percentile(bare, 99) * 1000,
        foreign_cpu=max(0.0, used.machine - sum(used[:3]) - report.cpu) / (report.ended - report.began),
    )


async def measure_all(
    kind_of: Kind, contenders: Sequence[Contender], setting: Setting, rate: float, seconds: float, messages: int
) -> list[Latency]:
    """Measure each contender at a low rate and at half of what it can do."""
    found = []
    with open_stand(kind_of) as stand:
        for contender in contenders:
            most: Run = await measure(stand, contender, Workload(messages), setting)
            for load, wanted in (("idle", rate), ("half of the maximum", most.rate / 2)):
                latency = await measure_latency(stand, contender, setting, rate=wanted, seconds=seconds, load=load)
                print(_line(latency), flush=True)
                found.append(latency)
    return found


def _line(latency: Latency) -> str:
    return (
        f"  {latency.contender:<17}{latency.rate:>9,.0f} msg/s ({latency.load}):"
        f"  p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms, worst {latency.worst:.2f} ms;"
        f"  one bare commit p50 {latency.bare_p50:.3f} ms, p99 {latency.bare_p99:.3f} ms;"
        f"  p99 / bare p50 {latency.p99 / latency.bare_p50:.1f}, p99 / bare p99 {latency.p99 / latency.bare_p99:.1f};"
        f"  others' CPU {latency.foreign_cpu:.0%} of a core"
    )


def main(
    database: Annotated[Kind, typer.Option(help="Where the rows go.")] = Kind.POSTGRES,
    rate: Annotated[float, typer.Option(min=10, max=100_000, help="Messages per second of the idle run.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of each run.")] = 10,
    messages: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="For finding the maximum.")] = 100_000,
    window: Annotated[int, typer.Option(min=1, max=65_535, help="Messages in flight.")] = 1_000,
    only: Annotated[str, typer.Option(help="Contenders, with commas.")] = "floor,mqueduct",
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
) -> None:
    """Milliseconds from the publisher to the committed row, at a low rate and at half of the maximum."""
    setting = Setting(window)
    contenders = [CONTENDERS[name] for name in only.split(",")]
    found = uvloop.run(measure_all(database, contenders, setting, rate, seconds, messages))
    if json:
        save(json, found, {database.value: found[0].bare_p50})

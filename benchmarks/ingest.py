"""How fast messages become committed rows: Mqueduct beside a hand-written floor and other frameworks."""

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ingest_contenders import CONTENDERS, Contender, Setting
from benchmarks.ingest_results import FOLDER, save
from benchmarks.ingest_run import Run, measure
from benchmarks.ingest_stand import Kind, Stand, open_stand
from benchmarks.ingest_steps import RunFailed
from benchmarks.load.workload import Workload

__all__ = ["chosen", "compare", "main", "median_run", "table"]

FEWEST = 1_000

#: Part of a core that other programs may use during a run.
DISTURBANCE = 0.15


def median_run(runs: Sequence[Run]) -> Run:
    """The run whose rate is the median; of two middle ones the slower."""
    return sorted(runs, key=lambda run: run.rate)[(len(runs) - 1) // 2]


async def compare(
    stand: Stand,
    contenders: Sequence[Contender],
    workload: Workload,
    setting: Setting,
    repeat: int,
    *,
    backlog: bool,
    profile: Path | None,
) -> dict[str, list[Run]]:
    """Measure contenders in turns, so that a disturbance hits all of them alike."""
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for turn in range(repeat):
        for contender in contenders:
            own = dataclasses.replace(workload, messages=max(FEWEST, int(workload.messages * contender.share)))
            flame = profile / f"flame-{contender.name}-{stand.kind}.svg" if profile and turn == 0 else None
            try:
                run = await measure(stand, contender, own, setting, backlog=backlog, profile=flame)
            except RunFailed as failure:
                print(f"  {contender.name}: failed: {failure}", flush=True)
                continue
            runs[contender.name].append(run)
            print(_line(run), flush=True)
    return runs


def _line(run: Run) -> str:
    used = {
        "own": run.cpu,
        "broker": run.broker_cpu,
        "database": run.database_cpu,
        "publisher": run.publisher_cpu,
        "others": run.foreign_cpu,
    }
    return (
        f"  {run.contender:<17}{run.rate:>9,.0f} msg/s  {run.messages:>9,} messages in {run.seconds:7.2f} s,"
        f" published in {run.publishing:.2f} s;  lost {run.lost}, twice {run.duplicates};"
        f"  CPU s: {', '.join(f'{name} {seconds:.2f}' for name, seconds in used.items())}"
    )


def table(medians: Mapping[str, Run]) -> str:
    """The comparison: a line per contender, and how many times faster than each peer it is."""
    peers = [name for name in ("floor", "naive", "faststream") if name in medians]
    head = f"{'median of each':<19}{'msg/s':>9}{'CPU s/100k':>12}{'peak MiB':>10}"
    lines = [head + "".join(f"{'x ' + peer:>13}" for peer in peers)]
    for name, run in medians.items():
        ratios = "".join(f"{run.rate / medians[peer].rate:>13.2f}" for peer in peers)
        lines.append(f"{name:<19}{run.rate:>9,.0f}{run.cpu_per_100k:>12.2f}{run.peak_mib:>10.1f}{ratios}")
    return "\n".join(lines)


def warn_of_company(runs: Iterable[Run]) -> None:
    """Say when something else ran on the machine."""
    disturbed = [run for run in runs if run.foreign_cpu > DISTURBANCE * run.seconds]
    if disturbed:
        print(
            f"WARNING: in {len(disturbed)} runs other programs used more than {DISTURBANCE:.0%} of one core;"
            " measure again on a quiet machine",
            flush=True,
        )


def chosen(only: str, setting: Setting) -> list[Contender]:
    """The contenders that are wanted and can run; says which cannot."""
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(CONTENDERS)
    if unknown := set(wanted) - set(CONTENDERS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    fit = []
    for name in wanted:
        if reason := CONTENDERS[name].unfit(setting):
            print(f"  {name}: left out: {reason}", flush=True)
        else:
            fit.append(CONTENDERS[name])
    return fit


def main(
    database: Annotated[Kind, typer.Option(help="Where the rows go.")] = Kind.POSTGRES,
    messages: Annotated[
        int, typer.Option(min=1_000, max=5_000_000, help="Messages; slow contenders get fewer.")
    ] = 200_000,
    topics: Annotated[int, typer.Option(min=1, max=1_000_000, help="Topics the messages come from.")] = 1_000,
    payload: Annotated[int, typer.Option(min=100, max=1_000_000, help="Bytes of each payload.")] = 100,
    window: Annotated[int, typer.Option(min=1, max=65_535, help="Messages in flight.")] = 1_000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of Mqueduct.")] = 1,
    repeat: Annotated[int, typer.Option(min=1, max=25, help="Runs of each contender.")] = 3,
    only: Annotated[str, typer.Option(help=f"Contenders, with commas: {', '.join(CONTENDERS)}.")] = "",
    backlog: Annotated[
        bool, typer.Option(help="Let all messages wait in the broker, then time the catching up.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write all runs to this file.")] = None,
    profile: Annotated[bool, typer.Option(help="Record flame graphs of the first turn into docs/benchmarks/.")] = False,
) -> None:
    """Messages per second until committed, beside a hand-written floor and other frameworks."""
    setting = Setting(window, workers)
    contenders = chosen(only, setting)
    print(
        f"{messages:,} QoS 1 messages of {payload} bytes, {topics:,} topics, window {window:,}, {database},"
        f" {'a backlog in the broker' if backlog else 'published live on this machine'}; {repeat} turns",
        flush=True,
    )
    with open_stand(database) as stand:
        bare = asyncio.run(stand.bare_commit_ms())
        print(f"  one bare commit takes {bare:.3f} ms here", flush=True)
        runs = asyncio.run(
            compare(
                stand,
                contenders,
                Workload(messages, topics, payload),
                setting,
                repeat,
                backlog=backlog,
                profile=FOLDER if profile else None,
            )
        )
    medians = {name: median_run(done) for name, done in runs.items() if done}
    print(table(medians), flush=True)
    warn_of_company(run for done in runs.values() for run in done)
    if json:
        save(json, [run for done in runs.values() for run in done], {database.value: bare})
    if len(medians) < len(contenders) or any(run.lost or run.duplicates for done in runs.values() for run in done):
        raise typer.Exit(1)

"""The long run: hundreds of crashes, restarts and outages, and the table that docs/reliability.md shows.

`make soak` starts it; `make soak ARGS="--minutes 10"` bounds its time, and the table says how far it came.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.soak.apart import run_apart
from tests.faults.soak.campaign import Campaign, Cycle, broker_crash, database_outage, kill, network_cut, row_lock
from tests.faults.soak.report import write_report


def campaigns(options: argparse.Namespace) -> Iterator[tuple[str, Cycle, int, list[tuple[str, str]]]]:
    """Which faults, how often in all, and with what."""
    servers = [("postgres", "5"), ("postgres", "3.1.1"), ("mariadb", "5"), ("mariadb", "3.1.1")]
    everything = [*servers, ("sqlite", "5"), ("sqlite", "3.1.1")]
    yield "service killed (kill -9)", kill, options.kills, everything
    yield "broker killed or restarted", broker_crash, options.brokers, everything
    yield "database server killed (kill -9)", database_outage, options.outages, servers
    yield "connection to the broker reset", network_cut, options.cuts, everything
    yield "row locked by others for a minute", row_lock, options.locks, [("postgres", "5"), ("mariadb", "3.1.1")]


async def _soak(options: argparse.Namespace) -> list[Campaign]:
    """Do the campaigns, a few at a time; each has a share of the time by its number of faults."""
    listed = [
        (name, cycle, -(-count // len(pairs)), database, protocol)
        for name, cycle, count, pairs in campaigns(options)
        for database, protocol in pairs
        if count and database in options.databases
    ]
    seconds = options.minutes * 60 * options.at_once / max(1, sum(count for _, _, count, _, _ in listed))
    room = asyncio.Semaphore(options.at_once)

    async def run(name: str, cycle: Cycle, count: int, database: str, protocol: str) -> Campaign:
        async with room:
            deadline = time.monotonic() + seconds * count
            campaign = Campaign(name, cycle, database, protocol, count, options.seed, deadline)
            await campaign.run()
            print(f"{campaign.name}, {campaign.database}, MQTT {campaign.protocol}: {campaign.sum}", flush=True)
            return campaign

    return list(await asyncio.gather(*(run(*arguments) for arguments in listed)))


async def _run(options: argparse.Namespace) -> int:
    done, apart = await asyncio.gather(_soak(options), run_apart(options.seed, options.schedules, options.inputs))
    print(apart, flush=True)
    if options.report is not None:
        write_report(options.report, done, apart, options)
    return int(bool(apart.problems) or any(campaign.sum.problem for campaign in done))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="crashes of the service")
    parser.add_argument("--brokers", type=int, default=60, help="crashes and restarts of the broker")
    parser.add_argument("--outages", type=int, default=60, help="crashes of the database server")
    parser.add_argument("--cuts", type=int, default=60, help="resets of the connection to the broker")
    parser.add_argument("--locks", type=int, default=2, help="rows locked for a minute")
    parser.add_argument("--schedules", type=int, default=100_000, help="simulated schedules")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="damaged inputs")
    parser.add_argument("--minutes", type=float, default=90, help="for the faults, at most")
    parser.add_argument("--at-once", type=int, default=4, help="campaigns side by side, each with its own servers")
    parser.add_argument(
        "--databases", nargs="+", default=["postgres", "mariadb", "sqlite"], help="with which databases"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    parser.add_argument("--report", type=Path, help="the page whose table is replaced")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.exit(asyncio.run(_run(options)))


if __name__ == "__main__":
    main()

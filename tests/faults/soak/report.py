"""The table of a long run, written into a page between two marks."""

import argparse
import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import executables

if TYPE_CHECKING:
    from tests.faults.soak.apart import Apart
    from tests.faults.soak.campaign import Campaign

__all__ = ["write_report"]

_BEGIN, _END = "<!-- soak: begin -->", "<!-- soak: end -->"
_HEAD = (
    "| fault | database | MQTT | faults | messages | sent again | early acks | lost | stored twice | altered | "
    "dead letters | goes on after | memory |",
    "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
)
_DATABASES = {"postgres": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}


def write_report(page: Path, campaigns: Sequence["Campaign"], apart: "Apart", options: argparse.Namespace) -> None:
    """Replace what stands between the marks of a page."""
    before, rest = page.read_text().split(_BEGIN)
    after = rest.split(_END)[1]
    lines = [
        _BEGIN,
        f"Run on {_today()} on {os.cpu_count()} cores, with {', '.join(_versions())}.",
        f'Command: `make soak ARGS="{_arguments(options)}"`.',
        "",
        *_HEAD,
        *map(_row, campaigns),
        "",
        f"Simulated: {apart.schedules:,} schedules with {apart.steps:,} steps and {apart.redelivered:,} redeliveries "
        "in which every promise was kept.",
        f"Fuzzed: {apart.inputs.total():,} damaged inputs ({', '.join(sorted(apart.inputs))}) that did no harm.",
        *(f"- **Broken**: {problem}" for problem in apart.problems),
        _END,
    ]
    page.write_text(before + "\n".join(lines) + after)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _row(campaign: "Campaign") -> str:
    found = campaign.sum
    cells = [
        campaign.name + (f" (ended: {found.problem})" if found.problem else ""),
        _DATABASES[campaign.database],
        campaign.protocol,
        *(f"{count:,}" for count in (found.cycles, found.published, found.redelivered)),
        *(f"**{count}**" for count in (found.early, found.lost, found.duplicates, found.altered)),
        f"{found.dead}",
        f"{found.recovery:.1f} s",
        f"{found.memory / 2**20:.0f} MiB",
    ]
    return f"| {' | '.join(cells)} |"


def _arguments(options: argparse.Namespace) -> str:
    names = ("kills", "brokers", "outages", "cuts", "locks", "schedules", "inputs", "minutes", "at-once", "seed")
    return " ".join(f"--{name} {getattr(options, name.replace('-', '_'))}" for name in names)


def _versions() -> list[str]:
    commands = {"Mosquitto": ["mosquitto", "-h"], "PostgreSQL": ["postgres", "-V"], "MariaDB": ["mariadbd", "-V"]}
    return [f"Python {platform.python_version()}", *(f"{name} {_version(of)}" for name, of in commands.items())]


def _version(command: list[str]) -> str:
    done = subprocess.run([executables.find(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "?"

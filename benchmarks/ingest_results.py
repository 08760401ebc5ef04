"""Results on disk: what was measured, with what was measured on."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["FOLDER", "RESULTS", "Machine", "Results", "load", "percentile", "save"]

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
RESULTS = FOLDER / "results"

T = TypeVar("T")


class Machine(msgspec.Struct):
    """What was measured on; figures of two machines do not compare.

    Attributes:
        processor: Its name.
        cores: How many.
        system: Operating system and kernel.
        python: Version.
        measured: When, as ISO 8601 in UTC.
        bare_commit_ms: Milliseconds of one INSERT with its COMMIT, the median, by database.
    """

    processor: str
    cores: int
    system: str
    python: str
    measured: str
    bare_commit_ms: dict[str, float]


class Results(msgspec.Struct, Generic[T]):
    """What one command has measured."""

    machine: Machine
    runs: list[T]


def this_machine(bare_commit_ms: dict[str, float]) -> Machine:
    """Describe this machine."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=platform.platform(),
        python=platform.python_version(),
        measured=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        bare_commit_ms=bare_commit_ms,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(path: Path, runs: Sequence[Any], bare_commit_ms: dict[str, float]) -> None:
    """Write results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.encode(Results(this_machine(bare_commit_ms), list(runs)))
    path.write_bytes(msgspec.json.format(encoded) + b"\n")
    print(f"written: {path}", flush=True)


def load(path: Path, kind: type[T]) -> Results[T] | None:
    """Read results of one kind of run; ``None`` if there are none yet."""
    if not path.exists():
        return None
    return msgspec.json.decode(path.read_bytes(), type=Results[kind])  # type: ignore[valid-type]


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]

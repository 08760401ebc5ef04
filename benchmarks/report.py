"""The report: a table of goals and figures, and plots, made of the results that are there."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.ingest import median_run
from benchmarks.ingest_results import FOLDER, RESULTS, Machine, load
from benchmarks.ingest_run import Run
from benchmarks.ingest_stand import Kind
from benchmarks.latency import Latency
from benchmarks.memory import GOAL_MIB, Memory
from benchmarks.proof import Proof
from benchmarks.scale import Point

__all__ = ["Figure", "Measured", "figures", "main", "replaced"]

BEGIN, END = "<!-- results: written by `python -m benchmarks report` -->", "<!-- end of results -->"
LEAST, MOST = "at least", "at most"


class Figure(NamedTuple):
    """A goal and what was measured.

    Attributes:
        what: The figure, in words.
        bound: Whether the goal is the least or the most.
        goal: The goal.
        found: What was measured, or ``None``.
    """

    what: str
    bound: str
    goal: float
    found: float | None

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.found is None:
            return "not measured"
        met = self.found >= self.goal if self.bound == LEAST else self.found <= self.goal
        return "met" if met else "**not met**"


class Measured:
    """All results of a folder."""

    def __init__(self, folder: Path) -> None:
        self.machines: list[Machine] = []
        self.ingest = {kind: self._medians(folder / f"ingest-{kind}.json") for kind in Kind}
        self.busy_topic = self._medians(folder / "busy-topic.json")
        self.latency: list[Latency] = self._load(folder / "latency.json", Latency)
        self.points: list[Point] = self._load(folder / "scale.json", Point)
        self.memory: list[Memory] = self._load(folder / "memory.json", Memory)
        self.proofs: list[Proof] = [p for kind in Kind for p in self._load(folder / f"proof-{kind}.json", Proof)]

    def _load(self, path: Path, kind: type) -> list:  # type: ignore[type-arg]
        results = load(path, kind)
        if results is None:
            return []
        self.machines.append(results.machine)
        return results.runs

    def _medians(self, path: Path) -> dict[str, Run]:
        runs: list[Run] = self._load(path, Run)
        names = dict.fromkeys(run.contender for run in runs)
        return {name: median_run([run for run in runs if run.contender == name]) for name in names}


def figures(measured: Measured) -> Iterator[Figure]:
    """The figures to reach."""
    postgres = measured.ingest[Kind.POSTGRES]
    yield Figure("per-message controller / floor", LEAST, 0.5, _ratio(postgres, "mqueduct", "floor"))
    yield Figure("per-message controller / naive", LEAST, 40, _ratio(postgres, "mqueduct", "naive"))
    yield Figure("per-message controller / FastStream", LEAST, 30, _ratio(postgres, "mqueduct", "faststream"))
    yield Figure("batch route / floor", LEAST, 0.85, _ratio(postgres, "mqueduct-batch", "floor"))
    one = measured.busy_topic.get("mqueduct")
    yield Figure("one busy topic / 1,000 topics", LEAST, 0.5, _quotient(one, postgres.get("mqueduct")))
    for kind, goal in ((Kind.MARIADB, 0.4), (Kind.SQLITE, 0.3)):
        own = measured.ingest[kind].get("mqueduct")
        yield Figure(f"{kind} / postgres, per message", LEAST, goal, _quotient(own, postgres.get("mqueduct")))
    idle = next((la for la in measured.latency if la.contender == "mqueduct" and la.load == "idle"), None)
    yield Figure("idle latency p99 / one bare commit p50", MOST, 3, idle.p99 / idle.bare_p50 if idle else None)
    yield Figure("idle latency p99 / one bare commit p99", MOST, 3, idle.p99 / idle.bare_p99 if idle else None)
    grown = next((memory.growth_mib for memory in measured.memory if memory.contender == "mqueduct"), None)
    yield Figure("growth with a backlog, MiB", MOST, GOAL_MIB, grown)
    wrong = [proof.early + proof.lost + proof.duplicates for proof in measured.proofs]
    runs = [run for medians in measured.ingest.values() for run in medians.values()]
    wrong += [run.lost + run.duplicates for run in runs]
    yield Figure("lost, twice, or acknowledged before commit", MOST, 0, float(sum(wrong)) if wrong else None)


def _ratio(medians: dict[str, Run], name: str, other: str) -> float | None:
    return _quotient(medians.get(name), medians.get(other))


def _quotient(run: Run | None, other: Run | None) -> float | None:
    return run.rate / other.rate if run is not None and other is not None else None


def text(measured: Measured) -> str:
    """The results in Markdown."""
    parts = [_machine(measured.machines), _goals(figures(measured))]
    parts += [_rates(kind, medians) for kind, medians in measured.ingest.items() if medians]
    parts += [_section("Latency", LATENCY, measured.latency)] if measured.latency else []
    parts += [_section("Memory", MEMORY, measured.memory)] if measured.memory else []
    parts += [_section("Proof", PROOF, measured.proofs)] if measured.proofs else []
    return "\n\n".join(parts)


def _machine(machines: Sequence[Machine]) -> str:
    if not machines:
        return "Nothing has been measured yet."
    first, bare = machines[0], {k: v for m in machines for k, v in m.bare_commit_ms.items()}
    commits = ", ".join(f"{name} {ms:.2f} ms" for name, ms in bare.items())
    return (
        f"Measured {first.measured} on {first.processor}, {first.cores} cores, {first.system},"
        f" Python {first.python}. One bare commit there: {commits}."
    )


def _goals(rows: Iterator[Figure]) -> str:
    lines = ["| figure | goal | measured | |", "|---|---|---|---|"]
    for row in rows:
        found = "" if row.found is None else f"{row.found:,.2f}"
        lines.append(f"| {row.what} | {row.bound} {row.goal:g} | {found} | {row.verdict} |")
    return "\n".join(lines)


Columns = Sequence[tuple[str, Callable[..., str]]]

LATENCY: Columns = (
    ("contender", lambda la: la.contender),
    ("load", lambda la: la.load),
    ("msg/s", lambda la: f"{la.rate:,.0f}"),
    ("p50 ms", lambda la: f"{la.p50:.2f}"),
    ("p99 ms", lambda la: f"{la.p99:.2f}"),
    ("bare commit p50 ms", lambda la: f"{la.bare_p50:.3f}"),
    ("bare commit p99 ms", lambda la: f"{la.bare_p99:.3f}"),
    ("others' CPU", lambda la: f"{la.foreign_cpu:.0%}"),
)
MEMORY: Columns = (
    ("contender", lambda m: m.contender),
    ("backlog", lambda m: f"{m.messages:,}"),
    ("stored", lambda m: f"{m.stored:,}"),
    ("idle MiB", lambda m: f"{m.idle_mib:.1f}"),
    ("peak MiB", lambda m: f"{m.peak_mib:.1f}"),
)
PROOF: Columns = (
    ("contender", lambda p: p.contender),
    ("database", lambda p: p.database),
    ("messages", lambda p: f"{p.messages:,}"),
    ("cuts", lambda p: str(p.cuts)),
    ("sent again", lambda p: f"{p.redelivered:,}"),
    ("early", lambda p: str(p.early)),
    ("lost", lambda p: str(p.lost)),
    ("twice", lambda p: str(p.duplicates)),
)
RATES: Columns = (
    ("contender", lambda run: run.contender),
    ("messages", lambda run: f"{run.messages:,}"),
    ("msg/s", lambda run: f"{run.rate:,.0f}"),
    ("CPU s per 100,000", lambda run: f"{run.cpu_per_100k:.2f}"),
    ("peak MiB", lambda run: f"{run.peak_mib:.0f}"),
    ("others' CPU", lambda run: f"{run.foreign_cpu / run.seconds:.0%}"),
)


def _rates(kind: Kind, medians: dict[str, Run]) -> str:
    runs = list(medians.values())
    return _section(f"Throughput, {kind} (medians; window {runs[0].window:,}, {runs[0].topics:,} topics)", RATES, runs)


def _section(title: str, columns: Columns, rows: Sequence[object]) -> str:
    lines = [f"### {title}", "", "| " + " | ".join(name for name, _ in columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(show(row) for _, show in columns) + " |" for row in rows]
    return "\n".join(lines)


def replaced(page: str, results: str) -> str:
    """A page with its results replaced by new ones."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{results}\n{END}{after}"


def plot(measured: Measured, folder: Path) -> None:
    """Draw throughput and scale as SVG."""
    from benchmarks import plots

    if any(measured.ingest.values()):
        plots.throughput(measured.ingest, folder / "throughput.svg")
    if measured.points:
        plots.scale(measured.points, folder / "scale.svg")


def main(
    results: Annotated[Path, typer.Option(help="Where the results are.")] = RESULTS,
    folder: Annotated[Path, typer.Option(help="Where README.md is and plots go.")] = FOLDER,
) -> None:
    """Write tables and plots of all results into docs/benchmarks/."""
    measured = Measured(results)
    page = folder / "README.md"
    page.write_text(replaced(page.read_text(), text(measured)))
    plot(measured, folder)
    print(f"written: {page}")

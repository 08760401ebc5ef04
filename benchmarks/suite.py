"""All benchmarks one after the other, each with its defaults: what ``python -m benchmarks`` runs."""

import typer

from benchmarks import ingest, latency, memory, proof, report, routing, scale
from benchmarks.ingest_results import RESULTS
from benchmarks.ingest_stand import Kind

__all__ = ["run_all"]


def run_all() -> None:
    """Run everything, keep the results, and write the report; takes about half an hour."""
    failed = False
    steps = [
        ("routing", routing.main),
        *((f"ingest, {kind}", _ingest(kind)) for kind in Kind),
        ("ingest, one busy topic", lambda: ingest.main(topics=1, only="mqueduct", json=RESULTS / "busy-topic.json")),
        ("latency", lambda: latency.main(json=RESULTS / "latency.json")),
        ("scale", lambda: scale.main(json=RESULTS / "scale.json")),
        ("memory", lambda: memory.main(json=RESULTS / "memory.json")),
        *((f"proof, {kind}", _proof(kind)) for kind in Kind),
        ("report", report.main),
    ]
    for title, step in steps:
        print(f"\n== {title}", flush=True)
        try:
            step()
        except typer.Exit as end:
            failed = failed or end.exit_code != 0
    if failed:
        raise typer.Exit(1)


def _ingest(kind: Kind):
    return lambda: ingest.main(database=kind, json=RESULTS / f"ingest-{kind}.json")


def _proof(kind: Kind):
    return lambda: proof.main(database=kind, json=RESULTS / f"proof-{kind}.json")

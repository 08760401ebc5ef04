"""The command line of the benchmarks: one module each, one command each."""

import signal
import sys

import typer

from benchmarks import database, driver, engine, ingest, latency, memory, proof, report, routing, scale, suite

# Typer's own tracebacks are pages long.
cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
cli.command("routing")(routing.main)
cli.command("driver")(driver.main)
cli.command("engine")(engine.main)
cli.command("ingest")(ingest.main)
cli.command("latency")(latency.main)
cli.command("scale")(scale.main)
cli.command("memory")(memory.main)
cli.command("proof")(proof.main)
cli.command("report")(report.main)
cli.command("database")(database.main)


@cli.callback(invoke_without_command=True)
def benchmarks(context: typer.Context) -> None:
    """Measure Mqueduct on this machine, everything if no command is named; numbers of two machines do not compare."""
    if context.invoked_subcommand is None:
        suite.run_all()


if __name__ == "__main__":
    # So that contenders and servers are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cli(prog_name="python -m benchmarks")

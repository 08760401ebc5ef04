"""The command line of the benchmarks: one module each, one command each."""

import typer

from benchmarks import ingest, latency, routing

cli = typer.Typer(no_args_is_help=True, add_completion=False)
cli.command("routing")(routing.main)
cli.command("ingest")(ingest.main)
cli.command("latency")(latency.main)


@cli.callback()
def benchmarks() -> None:
    """Measure Mqueduct on this machine; numbers of two machines do not compare."""


if __name__ == "__main__":
    cli(prog_name="python -m benchmarks")

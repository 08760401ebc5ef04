"""The report: medians, goals and the page they are written into."""

from pathlib import Path

import pytest

from benchmarks.ingest import median_run
from benchmarks.ingest_results import load, percentile, save
from benchmarks.ingest_run import Run
from benchmarks.report import BEGIN, END, LEAST, MOST, Figure, Measured, figures, replaced


def run(rate: float, contender: str = "mqueduct") -> Run:
    return Run(
        contender=contender,
        database="postgres",
        messages=1_000,
        topics=10,
        payload_bytes=100,
        window=100,
        workers=1,
        routes=1,
        backlog=False,
        seconds=1_000 / rate,
        rate=rate,
        publishing=0.1,
        cpu=0.5,
        broker_cpu=0.1,
        database_cpu=0.1,
        publisher_cpu=0.1,
        foreign_cpu=0.0,
        idle_mib=30.0,
        peak_mib=40.0,
        lost=0,
        duplicates=0,
    )


@pytest.mark.parametrize(("rates", "expected"), [([3, 1, 2], 2), ([4, 1, 2, 3], 2), ([5], 5)])
def test_the_median_is_a_run_that_was_made(rates: list[float], expected: float) -> None:
    """Of two middle runs the slower one counts."""
    assert expected == median_run([run(rate) for rate in rates]).rate


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0.1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """Nearest rank."""
    assert expected == percentile([float(n) for n in range(100, 0, -1)], percent)


def test_processor_time_is_shown_for_100_000_messages() -> None:
    """Whatever the number of messages was."""
    assert 50.0 == run(100).cpu_per_100k


@pytest.mark.parametrize(
    ("bound", "found", "expected"),
    [
        (LEAST, 0.5, "met"),
        (LEAST, 0.49, "**not met**"),
        (MOST, 0.5, "met"),
        (MOST, 0.51, "**not met**"),
        (MOST, None, "not measured"),
    ],
)
def test_a_goal_is_met_or_not_or_not_measured(bound: str, found: float | None, expected: str) -> None:
    """The bound itself is good enough."""
    assert expected == Figure("anything", bound, 0.5, found).verdict


def test_figures_come_from_saved_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was not measured is said to be so, and what was is found again."""
    save(tmp_path / "ingest-postgres.json", [run(60), run(80, "floor"), run(20), run(40)], {"postgres": 0.1})
    assert "ingest-postgres.json" in capsys.readouterr().out
    found = {figure.what: figure.found for figure in figures(Measured(tmp_path))}
    assert 0.5 == found["per-message controller / floor"]
    assert found["per-message controller / naive"] is None


def test_there_may_be_no_results_yet(tmp_path: Path) -> None:
    """A report can be made at any time."""
    assert load(tmp_path / "ingest-postgres.json", Run) is None


def test_only_the_results_of_a_page_are_replaced() -> None:
    """What people wrote around them stays."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert f"before\n{BEGIN}\nnew\n{END}\nafter\n" == replaced(page, "new")

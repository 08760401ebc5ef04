"""The service in a simulated world: no schedule of faults breaks a promise, and planted bugs do."""

from pathlib import Path

import pytest

from tests.faults.simulation.mutants import MUTANTS, Plant
from tests.faults.simulation.schedule import Simulation
from tests.faults.simulation.shrinking import shrink
from tests.faults.simulation.steps import TROUBLES, schedule
from tests.faults.simulation.world import run

_SCHEDULES = 2_000
_BLOCK = 250

_REGRESSIONS = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("seed", _REGRESSIONS)
def test_what_once_broke_a_rule_does_not_any_more(seed: int) -> None:
    """Seeds are kept in regressions.txt; add those that are printed here."""
    Simulation().run(seed)


@pytest.mark.parametrize("first", range(1, _SCHEDULES, _BLOCK))
def test_no_schedule_breaks_a_rule(first: int) -> None:
    """Nothing is acknowledged before its COMMIT, nothing lost, doubled or out of order, and memory is bounded."""
    simulation = Simulation()
    for seed in range(first, first + _BLOCK):
        simulation.run(seed)
    # Everything that can happen has happened.
    assert set(TROUBLES) | {"publish", "flood"} == simulation.steps.keys()
    assert simulation.redelivered > 0


def test_a_seed_is_the_same_every_time() -> None:
    """Or a failure could not be repeated."""
    for seed in range(1, 30):
        one, other = run(seed), run(seed)
        assert one.events.now == other.events.now
        assert [str(fact) for fact in one.ledger.facts.values()] == [str(fact) for fact in other.ledger.facts.values()]


@pytest.mark.parametrize("plant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each within the schedules that every run of the tests goes through."""
    plant(monkeypatch)
    assert any(run(seed).ledger.violations for seed in range(1, _SCHEDULES + 1))


def test_a_failing_schedule_is_shrunk_to_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is acknowledged too early needs no faults around it."""
    MUTANTS["acknowledge_when_parked"](monkeypatch)
    seed = next(seed for seed in range(1, 100) if len(schedule(seed)) > 5 and run(seed).ledger.violations)
    assert ["publish"] == [step.what for step in shrink(seed, schedule(seed))]

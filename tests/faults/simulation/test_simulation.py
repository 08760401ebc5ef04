"""The core without I/O in thousands of simulated lives: crashes, cuts, outages and redeliveries in any order."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from core.database.buffer import WriteBuffer
from core.ingest.window import Slot, Window
from core.message import Message
from core.mqtt.mqtt5_inbound import Inbound
from tests.faults.simulation.database import End, SimulatedWriter
from tests.faults.simulation.loop import VirtualLoop
from tests.faults.simulation.schedule import Simulation
from tests.faults.simulation.world import KINDS, LANES, World

#: Blocks of schedules; each block begins at a seed of its own.
BLOCKS, SCHEDULES = 4, 500

# Each of them broke a core that was damaged on purpose; what ever breaks the sound one joins them.
KEPT_SEEDS = (0, 2, 4, 6, 8)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of outages are not worth a line."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation()
    yield simulation
    simulation.close()


def run(simulation: Simulation, schedules: int, first: int = 0) -> None:
    for seed in range(first, first + schedules):
        simulation.run(seed)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_schedules(simulation: Simulation, block: int) -> None:
    """Never acknowledged before committed, never lost, never twice by one write, in order, bounded, adding up."""
    run(simulation, SCHEDULES, block * SCHEDULES)
    assert SCHEDULES == simulation.schedules
    # Everything that can happen has happened.
    assert set(End) == {end for end, count in simulation.ends.items() if count}
    assert min(simulation.steps.values()) > 0
    assert simulation.redelivered > 0


@pytest.mark.parametrize("seed", KEPT_SEEDS)
def test_kept_seeds(simulation: Simulation, seed: int) -> None:
    """What once went wrong does not come back; longer than it was then."""
    simulation.run(seed, 300)


# --- that the simulation notices ---


async def _forgets(writer: SimulatedWriter, sequence: int) -> bool:
    return False


async def _dreams(writer: SimulatedWriter, sequence: int) -> bool:
    return True


def _in_any_order(window: Window) -> list[Message]:
    ready: list[Message] = []
    for order in window._orders.values():
        settled: list[Slot] = [slot for slot in order if slot.settled]
        for slot in settled:
            order.remove(slot)
            window._release(slot)
            ready.append(slot.message)
    return ready


def _remembers_too_much(inbound: Inbound, *, kept: bool) -> None:
    inbound._aliases.clear()


@pytest.mark.parametrize(
    ("owner", "name", "damage"),
    [
        (SimulatedWriter, "reached", _forgets),
        (SimulatedWriter, "reached", _dreams),
        (Window, "ready", _in_any_order),
        (Inbound, "begin", _remembers_too_much),
    ],
)
def test_a_damaged_core_is_noticed(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, damage: object
) -> None:
    """Judging wrongly whether a COMMIT happened, acknowledging out of order, mixing up connections."""
    monkeypatch.setattr(owner, name, damage)
    with pytest.raises(AssertionError, match=r"committed twice|neither stored|received first|never handled"):
        run(simulation, 200)


def test_an_early_acknowledgement_is_noticed(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer that tells its callers of a COMMIT before there is one."""
    write = WriteBuffer._write

    async def lies(buffer: WriteBuffer, atoms: object, attempt: object, patient: bool) -> None:
        for atom in atoms:  # type: ignore[attr-defined]
            atom.end()
        await write(buffer, atoms, attempt, patient)  # type: ignore[arg-type]

    monkeypatch.setattr(WriteBuffer, "_write", lies)
    with pytest.raises(AssertionError, match="neither stored nor refused"):
        run(simulation, 20)


# --- schedules that hypothesis draws, and shrinks where one fails ---


class Life(RuleBasedStateMachine):
    """The same world; each rule is a step."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = VirtualLoop()

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.world = World(self._loop, seed)

    @rule(lane=st.integers(0, LANES - 1), qos=st.sampled_from([1, 2]), kind=st.sampled_from(KINDS))
    def publish(self, lane: int, qos: int, kind: str) -> None:
        self.world.publish(lane, qos, kind)

    @rule(packets=st.integers(1, 5))
    def deliver(self, packets: int) -> None:
        for _ in range(packets):
            self.world.deliver()

    @rule(end=st.sampled_from(End))
    def end_flush(self, end: End) -> None:
        self.world.end_flush(end)

    @rule(kept=st.booleans())
    def disconnect(self, kept: bool) -> None:
        self.world.disconnect(kept=kept)

    @rule()
    def deafen(self) -> None:
        self.world.deafen()

    @rule(end=st.sampled_from([None, End.COMMITTED]))
    def crash(self, end: End | None) -> None:
        self.world.crash(end)

    @rule()
    def advance(self) -> None:
        self.world.advance()

    @rule(down=st.booleans())
    def database(self, down: bool) -> None:
        self.world.database.down = down

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.finish()
            finally:
                self.world.close()
        self._loop.close()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

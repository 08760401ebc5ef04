"""That the witness and the judge notice what they are there for."""

from tests.conftest import FreshDatabase
from tests.faults.combinations import ON_POSTGRES
from tests.faults.conftest import Begin
from tests.faults.rival import Rival


@ON_POSTGRES
async def test_early_acknowledgements_are_noticed(begin: Begin, fresh_database: FreshDatabase) -> None:
    """A service that acknowledges what is not committed is found out; when it is killed, the judge misses the rows."""
    async with begin(settings={"FAULT_LIE": "yes"}) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(16)
            await trial.stored(16)
            rival = Rival(fresh_database)
            async with rival.lock("lane-0"):
                trial.publisher.begin(8)
                await trial.service.until(lambda: trial.witness.early > 0, "an early acknowledgement")
                await trial.publisher.finished()
                await trial.kill()
            await rival.close()
        verdict = await trial.judge.verdict()
        assert not verdict.kept
        assert verdict.lost > 0

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FreshDatabase
from tests.integration.workers.fleet import Fleet
from tests.outside import Outside, looking_into
from tests.servers import Mosquitto


@pytest.fixture
async def outside(fresh_database: FreshDatabase) -> AsyncIterator[Outside]:
    async with looking_into(fresh_database) as client:
        yield client


_numbers = itertools.count(1)


@pytest.fixture
def client_id() -> str:
    """Sessions of this test's own at the shared broker."""
    return f"workers_{next(_numbers)}"


@pytest.fixture
def fleet(fresh_database: FreshDatabase, mosquitto: Mosquitto, client_id: str, tmp_path: Path) -> Callable[..., Fleet]:
    """Make services of one client id; takes the number of workers and options of Fleet."""

    def make(workers: int, folder: str = "fleet", **options: Any) -> Fleet:
        return Fleet(tmp_path / folder, mosquitto, fresh_database, client_id, workers, **options)

    return make

"""What all fault tests begin with."""

import contextlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FreshDatabase
from tests.faults.trial import Trial, trial
from tests.servers import Mosquitto

Begin = Callable[..., contextlib.AbstractAsyncContextManager[Trial]]

_numbers = itertools.count(1)


@pytest.fixture
def begin(tmp_path: Path, mosquitto: Mosquitto, fresh_database: FreshDatabase, request: pytest.FixtureRequest) -> Begin:
    """Prepare a trial at the shared broker, on each database; takes the options of `trial`, and another broker."""

    def prepare(broker: Mosquitto = mosquitto, database: FreshDatabase = fresh_database, **options: Any) -> Any:
        name = re.sub(r"\W", "-", request.node.name)[:60]
        folder = tmp_path / f"trial-{next(_numbers)}"
        folder.mkdir()
        return trial(folder, broker, database, f"{name}-{folder.name}", **options)

    return prepare

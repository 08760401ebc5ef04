"""The controller of the measured application."""

from collections.abc import Sequence

import msgspec

from app.models import SensorReading
from core.context import Context
from core.controller import Controller
from core.model import Model


class Reading(msgspec.Struct):
    """What a device sends."""

    sensor_id: str
    sensor_type: str
    value: float
    unit: str
    timestamp: float


class ReadingController(Controller):
    """Stores readings, one by one or in batches."""

    async def store(self, device_id: str, payload: Reading) -> None:
        """Store one reading."""
        await Model.create(
            SensorReading,
            device_id=device_id,
            sensor_id=payload.sensor_id,
            sensor_type=payload.sensor_type,
            value=payload.value,
            unit=payload.unit,
            timestamp=payload.timestamp,
        )

    async def store_all(self, contexts: Sequence[Context]) -> None:
        """Store a batch of readings."""
        rows = [
            {"device_id": context.params["device_id"], **msgspec.structs.asdict(context.payload)}
            for context in contexts
        ]
        await Model.insert(SensorReading, rows)

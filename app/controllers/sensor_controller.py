"""What sensors send: readings, and questions about past readings."""

import time
from typing import Annotated, Any

import msgspec
from sqlalchemy import select

from app.models import Device, SensorReading
from core.context import Client
from core.controller import Controller
from core.exceptions import BrokerError
from core.message import Message
from core.model import Model

# Outside of these bounds (lowest, highest) a reading raises an alert.
THRESHOLDS = {"temperature": (-20.0, 60.0), "humidity": (5.0, 95.0)}

MOST_READINGS = 1000


class Reading(msgspec.Struct):
    """One reading as devices send it; ``timestamp`` in seconds, milliseconds or ISO 8601."""

    value: float
    sensor_id: str = ""
    sensor_type: str = ""
    unit: str = ""
    timestamp: float | str | None = None


class HistoryRequest(msgspec.Struct):
    """A question for the readings of the last hours."""

    hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 366)] = 24.0


class SensorController(Controller):
    """Stores readings and answers for them."""

    async def handle_sensor_data(self, device_id: str, payload: Reading, message: Message, client: Client) -> None:
        """Store a reading, note that its device is online, and raise an alert beyond the thresholds.

        A reading without a timestamp gets the time of receipt; redelivered, it is a second row. A
        redelivered reading raises its alert again, for the first one may not have got out.
        """
        async with Model.unit_of_work() as work:
            work.create(
                SensorReading,
                device_id=device_id,
                sensor_id=payload.sensor_id,
                sensor_type=payload.sensor_type,
                value=payload.value,
                unit=payload.unit,
                timestamp=message.received_at if payload.timestamp is None else payload.timestamp,
            )
            seen = {"device_id": device_id, "status": "online", "last_seen": message.received_at}
            work.upsert(Device, seen, newer_than="last_seen")
        await self._alert(device_id, payload, client)

    async def _alert(self, device_id: str, reading: Reading, client: Client) -> None:
        lowest, highest = THRESHOLDS.get(reading.sensor_type, (reading.value, reading.value))
        if lowest <= reading.value <= highest:
            return
        self.logger.warning("threshold crossed", device=device_id, type=reading.sensor_type, value=reading.value)
        alert = {"device_id": device_id, "type": reading.sensor_type, "value": reading.value}
        try:
            await client.publish(f"alerts/{device_id}", alert | {"lowest": lowest, "highest": highest})
        except BrokerError as error:
            # The reading is stored; refusing its message now would say that it is not.
            self.logger.error("the alert was not sent", device=device_id, reason=str(error))

    async def get_device_history(self, device_id: str, payload: HistoryRequest) -> list[dict[str, Any]]:
        """Answer with the readings of the last hours, newest first, 1,000 at most."""
        since = time.time() - payload.hours * 3600
        statement = (
            select(SensorReading)
            .where(SensorReading.device_id == device_id, SensorReading.timestamp >= since)
            .order_by(SensorReading.timestamp.desc(), SensorReading.id.desc())
            .limit(MOST_READINGS)
        )
        async with await Model.get_session() as session:
            return [reading.to_dict() for reading in await session.scalars(statement)]

"""What gateways send: the readings of many meters in one message."""

from typing import Annotated

import msgspec

from app.models import SensorReading
from core.controller import Controller
from core.exceptions import InvalidPayload, InvalidValue
from core.model import Model

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class MeterReading(msgspec.Struct):
    """One reading of one meter.

    Attributes:
        device_id: The meter.
        value: What it measured.
        timestamp: When, in seconds, milliseconds or ISO 8601; by it a gateway can send a message again.
    """

    device_id: Name
    value: float
    timestamp: float | str
    sensor_id: str = ""
    sensor_type: str = ""
    unit: str = ""


class GatewayMessage(msgspec.Struct):
    """What a gateway has collected."""

    readings: Annotated[list[MeterReading], msgspec.Meta(min_length=1, max_length=1000)]


class GatewayController(Controller):
    """Stores what gateways collect."""

    async def store(self, gateway_id: str, payload: GatewayMessage) -> None:
        """Store all readings of a message, or none of them, in one statement.

        Sent again, a message changes nothing. One reading that cannot be stored refuses the whole message,
        with a reason that names its place, so that a gateway never has to guess what arrived.
        """
        rows = [msgspec.structs.asdict(reading) for reading in payload.readings]
        try:
            await Model.insert(SensorReading, rows)
        except InvalidValue as error:
            raise InvalidPayload(f"gateway {gateway_id}: {len(rows)} readings are refused: {error}") from error
        self.logger.debug("readings stored", gateway=gateway_id, readings=len(rows))

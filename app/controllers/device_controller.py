"""What devices say of themselves: status, registration, and what they ask for."""

from typing import Any

import msgspec
from sqlalchemy import select

from app.models import Device, TransferLog
from core.controller import Controller
from core.exceptions import InvalidPayload
from core.message import Message
from core.model import Model

STATUSES = ("online", "offline")

# Seconds between two readings, by device type; the empty type is for all others.
REPORT_INTERVALS = {"battery": 900, "": 60}


class Registration(msgspec.Struct):
    """What a device tells when it introduces itself."""

    name: str = ""
    device_type: str = ""
    user_id: str | None = None


class DeviceController(Controller):
    """Keeps the state of devices."""

    async def status(self, device_id: str, payload: str, message: Message) -> None:
        """Note a birth message or last will: the text ``online`` or ``offline``."""
        status = payload.strip().strip('"').lower()
        if status not in STATUSES:
            raise InvalidPayload(f"the status {payload!r:.40} is none of {', '.join(STATUSES)}")
        await Device.heard_of(device_id, status, message.received_at)
        self.logger.info("device status", device=device_id, status=status)

    async def register(self, device_id: str, payload: Registration, message: Message) -> dict[str, Any]:
        """Add a device, or change it, and keep a record when its owner changes; answers with the device."""
        await Model.create(Device, device_id=device_id, last_seen=message.received_at, status="online")
        async with await Model.get_session() as session:
            device = (await session.scalars(select(Device).where(Device.device_id == device_id))).one()
            if payload.user_id is not None and payload.user_id != device.user_id:
                session.add(
                    TransferLog(device_id=device_id, from_user_id=device.user_id, to_user_id=payload.user_id)
                )
                device.user_id = payload.user_id
            device.name = payload.name or device.name
            device.device_type = payload.device_type or device.device_type
            await session.commit()
            return device.to_dict()

    async def get_config(self, device_id: str) -> dict[str, Any]:
        """Answer a device that asks how to behave."""
        async with await Model.get_session() as session:
            device = await session.scalar(select(Device).where(Device.device_id == device_id))
        device_type = device.device_type if device is not None else ""
        return {
            "device_id": device_id,
            "registered": device is not None,
            "report_interval": REPORT_INTERVALS.get(device_type, REPORT_INTERVALS[""]),
        }

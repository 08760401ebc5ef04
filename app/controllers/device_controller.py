"""What devices say of themselves: status, registration, and what they ask for."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Device, TransferLog
from core.controller import Controller
from core.exceptions import InvalidPayload
from core.message import Message
from core.model import Model, now, to_instant

STATUSES = ("online", "offline")

# Seconds between two readings, by device type; the empty type is for all others.
REPORT_INTERVALS = {"battery": 900, "": 60}


class Registration(msgspec.Struct):
    """What a device tells when it introduces itself.

    Attributes:
        name: Empty to leave it as it is.
        device_type: Empty to leave it as it is.
        user_id: The new owner; ``null`` for none; left out to leave it as it is.
        timestamp: When it was sent, in seconds, milliseconds or ISO 8601. With it, a registration that
            the broker delivers again after a later one does not bring the former owner back.
    """

    name: str = ""
    device_type: str = ""
    user_id: str | msgspec.UnsetType | None = msgspec.UNSET
    timestamp: float | str | None = None


class DeviceController(Controller):
    """Keeps the state of devices."""

    async def status(self, device_id: str, payload: str, message: Message) -> None:
        """Note a birth message or last will: the text ``online`` or ``offline``.

        A retained one tells the state, but not when the device was last there.
        """
        status = payload.strip().strip('"').lower()
        if status not in STATUSES:
            raise InvalidPayload(f"the status {payload!r:.40} is none of {', '.join(STATUSES)}")
        await Device.heard_of(device_id, status, None if message.retain else message.received_at)
        self.logger.info("device status", device=device_id, status=status)

    async def register(self, device_id: str, payload: Registration, message: Message) -> dict[str, Any]:
        """Add a device, or change it, and keep a record when its owner changes; answers with the device."""
        sent_at = _sent_at(payload, message)
        await Device.heard_of(device_id, "online", message.received_at)
        named = {"name": payload.name, "device_type": payload.device_type}
        changes = {name: text for name, text in named.items() if text}
        async with await Model.get_session() as session:
            # Writing comes first and locks the row: of two registrations at once the second sees what the first did.
            await session.execute(
                update(Device).where(Device.device_id == device_id).values(updated_at=now(), **changes)
            )
            device = (await session.scalars(select(Device).where(Device.device_id == device_id))).one()
            await _transfer(session, device, payload, sent_at)
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


def _sent_at(registration: Registration, message: Message) -> datetime:
    """When a registration was made, at the latest when it came: a clock that is ahead must not block later ones."""
    received = to_instant(message.received_at)
    if registration.timestamp is None:
        return received
    try:
        return min(to_instant(registration.timestamp), received)
    except ValueError as error:
        raise InvalidPayload(f"timestamp: {error}") from error


async def _transfer(session: AsyncSession, device: Device, registration: Registration, sent_at: datetime) -> None:
    """Give a device to its new owner, and keep a record of it."""
    owner = registration.user_id
    if owner is msgspec.UNSET or owner == device.user_id:
        return
    if registration.timestamp is not None:
        last = await session.scalar(
            select(func.max(TransferLog.timestamp)).where(TransferLog.device_id == device.device_id)
        )
        if last is not None and last >= sent_at:
            return
    session.add(
        TransferLog(device_id=device.device_id, from_user_id=device.user_id, to_user_id=owner, timestamp=sent_at)
    )
    device.user_id = owner

"""All models; importing this package makes every table known."""

from app.models.device import Device
from app.models.sensor_reading import SensorReading
from app.models.transfer_log import TransferLog
from app.models.user import User

__all__ = ["Device", "SensorReading", "TransferLog", "User"]

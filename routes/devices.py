"""Topics of devices."""

from app.controllers.device_controller import DeviceController
from core.router import Router

router = Router()

with router.group(prefix="devices/{device_id}") as device:
    device.on("status", DeviceController.status, qos=1, name="devices.status")
    device.on("register", DeviceController.register, reply="devices/{device_id}/registered")
    device.on("config/get", DeviceController.get_config, reply="devices/{device_id}/config")

"""Topics of sensors."""

from app.controllers.sensor_controller import SensorController
from core.router import Router

router = Router()

with router.group(prefix="sensors/{device_id}") as sensor:
    sensor.on("data", SensorController.handle_sensor_data, qos=1, name="sensors.data")
    sensor.on("history", SensorController.get_device_history, reply="sensors/{device_id}/history/answer")

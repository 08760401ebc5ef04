"""Topics of gateways."""

from app.controllers.gateway_controller import GatewayController
from core.router import Router

router = Router()

with router.group(prefix="gateways/{gateway_id}") as gateway:
    gateway.on("readings", GatewayController.store, qos=1, name="gateways.readings")

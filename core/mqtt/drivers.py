"""Which driver speaks to which broker."""

from core.mqtt import aiomqtt_driver
from core.mqtt.connection import Connect
from core.mqtt.mqtt5_driver import Mqtt5Driver
from core.mqtt.options import BrokerOptions

__all__ = ["driver_for"]


def driver_for(options: BrokerOptions) -> Connect:
    """Choose the driver: ``mqtt5`` for MQTT 5 over TCP and TLS, aiomqtt for MQTT 3.1.1 and WebSockets.

    Keep what is returned: the session that it remembers from one connection to the next is in it.
    """
    if options.protocol == "5" and options.transport == "tcp":
        return Mqtt5Driver().connect
    return aiomqtt_driver.connect

"""What users need to test their services: a broker that does what a test says.

See ``ScriptedBroker``; ``packets`` are the MQTT 5 packet classes that it sends and records.
"""

from core.mqtt.mqtt5_broker import BrokerConnection, ScriptedBroker, packets

__all__ = ["BrokerConnection", "ScriptedBroker", "packets"]

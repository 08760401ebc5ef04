"""What users need to test their services: a broker that does what a test says, and a database for each test.

See ``ScriptedBroker``; ``packets`` are the MQTT 5 packet classes that it sends and records. See ``database``.
"""

from core.mqtt.mqtt5_broker import BrokerConnection, ScriptedBroker, packets
from core.testing.databases import database

__all__ = ["BrokerConnection", "ScriptedBroker", "database", "packets"]

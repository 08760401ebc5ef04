"""The broker refuses: the service says why, ends at its start, and waits when it served before."""

from collections.abc import Callable

import pytest

from core.mqtt.options import Protocol
from tests.faults.combinations import ON_SQLITE
from tests.faults.conftest import Begin
from tests.servers import Certificates, Mosquitto

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])

_REFUSED = 0x80


@ON_SQLITE
@PROTOCOLS
async def test_subscription_refused_at_the_start(begin: Begin, protocol: Protocol) -> None:
    """A SUBACK that refuses a filter ends the start; a service that receives only half of its topics would be worse."""
    async with begin(protocol=protocol) as trial:
        trial.witness.forged = _REFUSED
        with trial.service:
            assert 1 == await trial.ended()
        assert trial.witness.forgeries == 1
        assert "refuses to subscribe" in trial.service.said()


@ON_SQLITE
@PROTOCOLS
async def test_subscription_refused_later(begin: Begin, protocol: Protocol) -> None:
    """A broker that grants no longer what it granted is asked again and again; the service does not end."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(50)
            await trial.settled()
            trial.witness.forged = _REFUSED
            trial.broker_proxy.reset()
            if protocol == "5":
                await trial.service.until(lambda: trial.witness.forgeries > 0, "a forged SUBACK")
                assert not trial.service.events("connected to the broker")[1:]
            trial.witness.forged = None
            await trial.publisher.publish(50)
            await trial.conclude()


@ON_SQLITE
@PROTOCOLS
async def test_bad_password(begin: Begin, mosquitto_factory: Callable[..., Mosquitto], protocol: Protocol) -> None:
    """A password that is refused ends the start, and is not shown."""
    broker = mosquitto_factory(users={"service": "right"})
    settings = {"MQTT_USERNAME": "service", "MQTT_PASSWORD": "wr0ng-canary"}
    async with begin(broker, protocol=protocol, settings=settings) as trial:
        with trial.service:
            assert 1 == await trial.ended()
        said = trial.service.said()
        assert "MQTT_PASSWORD" in said
        assert "wr0ng-canary" not in said


@ON_SQLITE
@PROTOCOLS
@pytest.mark.parametrize("wrong", ["expired", "wrong_host", "untrusted"])
async def test_certificate_that_proves_nothing(
    begin: Begin,
    mosquitto_factory: Callable[..., Mosquitto],
    certificates: Certificates,
    protocol: Protocol,
    wrong: str,
) -> None:
    """A certificate that is expired, of another host or of an unknown authority gets nothing from the service."""
    broker = mosquitto_factory(tls=getattr(certificates, wrong))
    settings = {"MQTT_TLS": "true", "MQTT_TLS_CA_FILE": str(certificates.ca), "MQTT_PORT": str(broker.tls_port)}
    async with begin(broker, protocol=protocol, settings=settings) as trial:
        with trial.service:
            assert 1 == await trial.ended()
            assert "certificate" in trial.service.said().lower()
            assert not trial.service.events("connected to the broker")
        assert f" as {trial.client_id} " not in broker.log()

"""Encrypted connections beyond the contract: WebSockets over TLS, and versions of TLS that are too old."""

import contextlib
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from core.exceptions import BrokerRefused
from core.mqtt.connection import Publication, Subscription
from core.mqtt.options import TLSOptions
from tests.integration.mqtt.contract import Driver, client_of, device
from tests.servers import Certificates, Mosquitto


@pytest.fixture
def websockets(driver: Driver) -> Driver:
    """Each driver that speaks WebSockets."""
    if not driver.websockets:
        pytest.skip("this driver has no WebSockets")
    return driver


def trusting(certificates: Certificates) -> TLSOptions:
    keys = certificates.client
    return TLSOptions(str(certificates.ca), str(keys.certificate), str(keys.key))


async def test_encrypted_websockets(
    websockets: Driver, secure_mosquitto: Mosquitto, certificates: Certificates, topic: str
) -> None:
    """Messages travel both ways, large ones too, with a certificate of our own; without it we are told to set one."""
    # No larger: Mosquitto 2.0.11 moves 40 kB a second over an encrypted WebSocket.
    port, large, small = secure_mosquitto.secure_websocket_port, bytes(range(256)) * 80, b"small"
    client = client_of(websockets, port, host="localhost", transport="websockets", tls=trusting(certificates))
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, 1)])
        await connection.publish(Publication(topic, small))
        async with device(secure_mosquitto.port) as sender:
            await sender.publish(topic, large, qos=1)
        await client.received(2)
    assert [small, large] == client.payloads
    stranger = client_of(websockets, port, transport="websockets", tls=TLSOptions(str(certificates.ca)))
    with pytest.raises(BrokerRefused, match="MQTT_TLS_CERT_FILE"):
        await stranger.connect()


@pytest.mark.parametrize(
    ("pair", "words"),
    [("expired", "expired"), ("wrong_host", "MQTT_BROKER"), ("untrusted", "MQTT_TLS_CA_FILE")],
)
async def test_bad_certificates_of_websockets(
    websockets: Driver,
    mosquitto_factory: Callable[..., Mosquitto],
    certificates: Certificates,
    pair: str,
    words: str,
) -> None:
    """They are checked as strictly as without WebSockets, and the message says what to do."""
    broker = mosquitto_factory(tls=getattr(certificates, pair), websockets=True)
    options = {"transport": "websockets", "tls": TLSOptions(str(certificates.ca))}
    with pytest.raises(BrokerRefused, match=words):
        await client_of(websockets, broker.secure_websocket_port, **options).connect()


async def test_an_unknown_authority_is_not_trusted_by_default(driver: Driver, secure_mosquitto: Mosquitto) -> None:
    """Without a file of our own the system's authorities count, and nothing else; encryption alone is not enough."""
    with pytest.raises(BrokerRefused, match="MQTT_TLS_CA_FILE"):
        await client_of(driver, secure_mosquitto.tls_port, host="localhost", tls=TLSOptions()).connect()


@contextlib.contextmanager
def outdated_server(certificates: Certificates) -> Iterator[int]:
    """A server with a good certificate that speaks TLS 1.1 at most; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.certificate, certificates.server.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is outdated is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    def serve() -> None:
        # Not asyncio's server, which says nothing to those whom it refuses.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_old_versions_of_tls_are_refused(driver: Driver, certificates: Certificates) -> None:
    """Below TLS 1.2 there is no connection, and the message says which end is behind."""
    with outdated_server(certificates) as port:
        for host in ("localhost", "127.0.0.1"):
            client = client_of(driver, port, host=host, tls=TLSOptions(str(certificates.ca)))
            with pytest.raises(BrokerRefused, match=r"TLS 1\.2"):
                await client.connect()

"""Reason codes and TLS errors, for people."""

import pytest

from core.exceptions import BrokerRefused, BrokerUnavailable
from core.mqtt.options import BrokerOptions
from core.mqtt.reasons import connection_problem, refusal

OPTIONS = BrokerOptions("broker.example", 8883, client_id="greenhouse", password="secret")


@pytest.mark.parametrize("code", [0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C])
def test_permanent(code: int) -> None:
    """What cannot pass by itself is a refusal that names broker and fix."""
    error = refusal(code, "its name", OPTIONS)
    assert BrokerRefused is type(error)
    assert str(error).startswith("the broker at broker.example:8883 says: ")
    assert "fix:" in str(error)


@pytest.mark.parametrize("code", [0x80, 0x88, 0x89, 0x8B, 0x8E, 0x93, 0x97, 0xFF])
def test_passing(code: int) -> None:
    """Everything else, unknown codes included, may pass."""
    assert BrokerUnavailable is type(refusal(code, "its name", OPTIONS))


def test_code_without_advice() -> None:
    """A code without advice is told by its name and number."""
    assert "Server busy (0x89)" in str(refusal(0x89, "Server busy", OPTIONS))


def test_client_id_is_named() -> None:
    """Who has to change a client id is told which."""
    for code in (0x85, 0x8E):
        assert "'greenhouse'" in str(refusal(code, "", OPTIONS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("certificate verify failed: certificate has expired", "renew"),
        ("CERTIFICATE_VERIFY_FAILED: Hostname mismatch, certificate is not valid for 'a'", "MQTT_BROKER"),
        ("CERTIFICATE_VERIFY_FAILED: IP address mismatch, certificate is not valid for 'a'", "MQTT_BROKER"),
        ("CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate", "MQTT_TLS_CA_FILE"),
        ("tlsv13 alert certificate required", "MQTT_TLS_CERT_FILE"),
        ("tlsv1 alert unknown ca", "MQTT_TLS_CERT_FILE"),
        ("sslv3 alert certificate expired", "MQTT_TLS_CERT_FILE"),
        ("tlsv1 alert protocol version", "TLS 1.2"),
        ("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol", "TLS 1.2"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "MQTT_PORT"),
    ],
)
def test_tls(text: str, words: str) -> None:
    """A TLS problem that stays is a refusal that names the setting."""
    error = connection_problem(text, OPTIONS)
    assert BrokerRefused is type(error)
    assert words in str(error)
    assert text in str(error)


@pytest.mark.parametrize("text", ["[Errno 111] Connection refused", "timed out", "UNEXPECTED_EOF_WHILE_READING"])
def test_network(text: str) -> None:
    """What the network does may pass."""
    assert BrokerUnavailable is type(connection_problem(text, OPTIONS))

"""Why a broker refuses or ends a connection, for people: reason codes (MQTT 5 section 2.4) and TLS errors."""

from core.exceptions import BrokerRefused, BrokerUnavailable
from core.mqtt.options import BrokerOptions

__all__ = ["NOT_SHARED", "REFUSED", "connection_problem", "no_enhanced_authentication", "refusal"]

#: Reason codes from here on are refusals.
REFUSED = 0x80

#: The broker has no shared subscriptions.
NOT_SHARED = 0x9E

_FIXES = {
    0x84: "it does not speak this MQTT version; fix: set MQTT_PROTOCOL to 3.1.1 (or 5)",
    0x85: "it does not accept the client id {client_id!r}; fix: change MQTT_CLIENT_ID",
    0x86: "bad user name or password; fix: check MQTT_USERNAME and MQTT_PASSWORD",
    0x87: "not authorised; fix: check MQTT_USERNAME, MQTT_PASSWORD and the broker's access rules",
    0x8A: "this client is banned; fix: ask who runs the broker",
    0x8C: "the authentication method is not supported; fix: check the broker's listener",
    0x8E: "another client connected as {client_id!r}; fix: give each service its own MQTT_CLIENT_ID",
}
_PERMANENT = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})

# OpenSSL's words, in the order in which they are looked for.
_TLS_PROBLEMS = (
    ("certificate has expired", "the broker's certificate has expired; fix: renew it"),
    ("mismatch, certificate", "its certificate is for another host; fix: set MQTT_BROKER to a name that it contains"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted; fix: set MQTT_TLS_CA_FILE to the CA that signed it"),
    ("alert certificate required", "it wants a client certificate; fix: set MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE"),
    ("alert unknown ca", "it does not trust this client's certificate; fix: check MQTT_TLS_CERT_FILE"),
    ("alert bad certificate", "it does not accept this client's certificate; fix: check MQTT_TLS_CERT_FILE"),
    ("alert certificate", "it does not accept this client's certificate; fix: check MQTT_TLS_CERT_FILE"),
    ("alert handshake failure", "it does not agree to an encryption; fix: check MQTT_TLS_CERT_FILE and its listener"),
    ("alert protocol version", "it offers no TLS 1.2 or newer; fix: let its listener speak TLS 1.2 or 1.3"),
    ("UNSUPPORTED_PROTOCOL", "it offers no TLS 1.2 or newer; fix: let its listener speak TLS 1.2 or 1.3"),
    ("WRONG_VERSION_NUMBER", "this port is not encrypted; fix: check MQTT_PORT and MQTT_TLS"),
)


def refusal(code: int, name: str, options: BrokerOptions) -> BrokerUnavailable | BrokerRefused:
    """Turn a reason code into an error that says what to do.

    Args:
        code: The code, 0x80 and above.
        name: Its name in the specification, for codes without advice.
        options: The connection that it is about.

    Returns:
        ``BrokerRefused`` when trying again with the same settings cannot help.
    """
    fix = _FIXES.get(code)
    explanation = fix.format(client_id=options.client_id) if fix else f"{name} (0x{code:02X})"
    kind = BrokerRefused if code in _PERMANENT else BrokerUnavailable
    return kind(f"the broker at {options.host}:{options.port} says: {explanation}")


def connection_problem(text: str, options: BrokerOptions) -> BrokerUnavailable | BrokerRefused:
    """Turn what a socket or OpenSSL says into an error that says what to do.

    Args:
        text: The words of the error.
        options: The connection that it is about.

    Returns:
        ``BrokerRefused`` for a TLS problem that will not go away by itself.
    """
    where = f"{options.host}:{options.port}"
    for words, explanation in _TLS_PROBLEMS:
        if words in text:
            return BrokerRefused(f"no encrypted connection to the broker at {where}: {explanation} ({text})")
    return BrokerUnavailable(f"no connection to the broker at {where}: {text}")


def no_enhanced_authentication(options: BrokerOptions) -> BrokerRefused:
    """The error for a broker that goes on with AUTH instead of CONNACK (MQTT 5 section 4.12)."""
    return BrokerRefused(
        f"the broker at {options.host}:{options.port} asks for enhanced authentication, which this driver does not "
        "speak; fix: use MQTT_USERNAME and MQTT_PASSWORD or a client certificate"
    )

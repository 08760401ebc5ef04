"""Reason codes with which a broker refuses or ends a connection (MQTT 5 section 2.4), for people."""

__all__ = ["SESSION_TAKEN_OVER", "explain", "is_permanent"]

SESSION_TAKEN_OVER = 0x8E

_FIXES = {
    0x84: "it does not speak this MQTT version; fix: set MQTT_PROTOCOL to 3.1.1 (or 5)",
    0x85: "it does not accept the client id {client_id!r}; fix: change MQTT_CLIENT_ID",
    0x86: "bad user name or password; fix: check MQTT_USERNAME and MQTT_PASSWORD",
    0x87: "not authorised; fix: check MQTT_USERNAME, MQTT_PASSWORD and the broker's access rules",
    0x8A: "this client is banned; fix: ask who runs the broker",
    0x8C: "the authentication method is not supported; fix: check the broker's listener",
    SESSION_TAKEN_OVER: "another client connected as {client_id!r}; fix: give each service its own MQTT_CLIENT_ID",
}
_PERMANENT = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})


def is_permanent(code: int) -> bool:
    """Whether trying again with the same settings cannot help."""
    return code in _PERMANENT


def explain(code: int, name: str, client_id: str) -> str:
    """Say what a reason code means and what to do.

    Args:
        code: The code, 0x80 and above.
        name: Its name in the specification, for codes without advice.
        client_id: This client's id.
    """
    fix = _FIXES.get(code)
    return fix.format(client_id=client_id) if fix else f"{name} (0x{code:02X})"

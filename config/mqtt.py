"""Settings of the connection to the broker."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator

from config._group import Group, Lowercase, Seconds, Secret, Text, setting
from core.mqtt.options import BrokerOptions, Protocol, TLSOptions, Transport
from core.topics import MAX_TOPIC_BYTES, name_problem

__all__ = ["MqttSettings"]

EMBEDDED_HOST = "127.0.0.1"
HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
READABLE_FILE = "the path of a readable PEM file"


def _default_tls(validated: dict[str, Any]) -> bool:
    return any(validated.get(field) for field in ("tls_ca_file", "tls_cert_file", "tls_key_file"))


def _default_port(validated: dict[str, Any]) -> int:
    return 8883 if validated.get("tls") else 1883


class MqttSettings(Group):
    """Where the broker is and how this service presents itself there; times are in seconds.

    Without ``broker`` the service starts the embedded one, on ``port`` of the loopback interface.
    """

    broker: Text | None = setting("MQTT_BROKER", None, allowed="a host name or an IP address")
    tls_ca_file: Path | None = setting("MQTT_TLS_CA_FILE", None, allowed=READABLE_FILE)
    tls_cert_file: Path | None = setting("MQTT_TLS_CERT_FILE", None, allowed=READABLE_FILE)
    tls_key_file: Path | None = setting(
        "MQTT_TLS_KEY_FILE",
        None,
        allowed=f"{READABLE_FILE}, beside MQTT_TLS_CERT_FILE",
    )
    tls_key_password: Secret | None = setting(
        "MQTT_TLS_KEY_PASSWORD", None, allowed="the password of MQTT_TLS_KEY_FILE", secret=True
    )
    tls: bool = setting(
        "MQTT_TLS",
        default_factory=_default_tls,
        allowed="true or false; unset: true if there is a MQTT_TLS_*_FILE",
    )
    port: int = setting("MQTT_PORT", default_factory=_default_port, allowed="a port, 1 to 65535", ge=1, le=65_535)
    username: Text | None = setting("MQTT_USERNAME", None, allowed="a user name on one line", secret=True)
    password: Secret | None = setting("MQTT_PASSWORD", None, allowed="the password of MQTT_USERNAME", secret=True)
    client_id: Text = setting(
        "MQTT_CLIENT_ID",
        "mqueduct",
        allowed="a name without wildcards; up to 23 letters and digits suit every broker",
    )
    group_name: Text = setting(
        "MQTT_GROUP_NAME", "mqueduct", allowed="a name without /, + and #, the same for all workers of a service"
    )
    protocol: Protocol = setting("MQTT_PROTOCOL", "5", allowed="5 or 3.1.1")
    keepalive: Annotated[int, Seconds] = setting(
        "MQTT_KEEPALIVE", 15, allowed="whole seconds, 5 to 65535", ge=5, le=65_535
    )
    session_expiry: Annotated[int, Seconds] = setting(
        "MQTT_SESSION_EXPIRY",
        604_800,
        allowed="whole seconds or a duration such as 12h or 7d, 1 to 4294967295 seconds",
        ge=1,
        le=4_294_967_295,
    )
    transport: Annotated[Transport, Lowercase] = setting("MQTT_TRANSPORT", "tcp", allowed="tcp or websockets")
    websocket_path: Text = setting("MQTT_WEBSOCKET_PATH", "/mqtt", allowed="a path that begins with /")
    status_topic: Text | None = setting("MQTT_STATUS_TOPIC", None, allowed="a topic name without wildcards")
    will_delay: Annotated[int, Seconds] = setting(
        "MQTT_WILL_DELAY",
        0,
        allowed="whole seconds or a duration such as 2m, 0 to 4294967295 seconds",
        ge=0,
        le=4_294_967_295,
    )
    connect_timeout: Annotated[float, Seconds] = setting(
        "MQTT_CONNECT_TIMEOUT", 10.0, allowed="seconds, above 0", gt=0, allow_inf_nan=False
    )

    @field_validator("broker")
    @classmethod
    def _check_broker(cls, value: str | None) -> str | None:
        return None if value is None else _checked_host(value)

    @field_validator("tls_ca_file", "tls_cert_file", "tls_key_file")
    @classmethod
    def _check_readable(cls, value: Path | None) -> Path | None:
        if value and not value.is_file():
            raise ValueError(f"there is no file {str(value)!r}")
        if value and not os.access(value, os.R_OK):
            raise ValueError(f"{str(value)!r} cannot be read by this user")
        return value

    @field_validator("tls_key_file")
    @classmethod
    def _check_pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert_file" in info.data and bool(value) != bool(info.data["tls_cert_file"]):
            raise ValueError("MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE go together; one of them is not set")
        return value

    @field_validator("tls_key_password")
    @classmethod
    def _check_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value and info.data.get("tls_key_file", value) is None:
            raise ValueError("MQTT_TLS_KEY_FILE is not set")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and _default_tls(info.data):
            raise ValueError("false, although there is a MQTT_TLS_*_FILE; remove one of the two")
        if value and _is_embedded(info):
            raise ValueError("the embedded broker has no TLS; set MQTT_BROKER")
        return value

    @field_validator("username", "password")
    @classmethod
    def _check_login(cls, value: Any, info: ValidationInfo) -> Any:
        if value and _is_embedded(info):
            raise ValueError("the embedded broker has no users; set MQTT_BROKER")
        if value and info.field_name == "password" and info.data.get("username", value) is None:
            raise ValueError("MQTT_USERNAME is not set")
        return value

    @field_validator("client_id")
    @classmethod
    def _check_client_id(cls, value: str) -> str:
        if re.search("[+#]", value):
            raise ValueError("it contains a wildcard (+ or #)")
        if len(value.encode()) > MAX_TOPIC_BYTES:
            raise ValueError(f"it is longer than {MAX_TOPIC_BYTES} bytes")
        return value

    @field_validator("group_name")
    @classmethod
    def _check_group_name(cls, value: str) -> str:
        if re.search("[/+#\0]", value):
            raise ValueError("it contains /, + or #")
        return value

    @field_validator("protocol")
    @classmethod
    def _embedded_protocol(cls, value: Protocol, info: ValidationInfo) -> Protocol:
        return "3.1.1" if _is_embedded(info) else value

    @field_validator("transport")
    @classmethod
    def _check_transport(cls, value: Transport, info: ValidationInfo) -> Transport:
        if value == "websockets" and _is_embedded(info):
            raise ValueError("the embedded broker has no WebSockets; set MQTT_BROKER")
        return value

    @field_validator("websocket_path")
    @classmethod
    def _check_path(cls, value: str) -> str:
        if not value.startswith("/") or " " in value:
            raise ValueError("it is not a path")
        return value

    @field_validator("status_topic")
    @classmethod
    def _check_status_topic(cls, value: str | None) -> str | None:
        if value and (reason := name_problem(value)):
            raise ValueError(reason)
        return value

    @property
    def embedded(self) -> bool:
        """Whether the service starts its own broker, because none is named."""
        return self.broker is None

    def broker_options(self, window: int) -> BrokerOptions:
        """What core needs to connect.

        Args:
            window: Messages that the broker may send before the first is acknowledged.
        """
        return BrokerOptions(
            host=self.broker or EMBEDDED_HOST,
            port=self.port,
            client_id=self.client_id,
            protocol=self.protocol,
            username=self.username,
            password=_revealed(self.password),
            keepalive=self.keepalive,
            session_expiry=self.session_expiry,
            transport=self.transport,
            websocket_path=self.websocket_path,
            tls=self._tls_options() if self.tls else None,
            status_topic=self.status_topic,
            will_delay=self.will_delay,
            connect_timeout=self.connect_timeout,
            receive_maximum=window,
            group_name=self.group_name,
        )

    def _tls_options(self) -> TLSOptions:
        return TLSOptions(
            ca_file=str(self.tls_ca_file) if self.tls_ca_file else None,
            cert_file=str(self.tls_cert_file) if self.tls_cert_file else None,
            key_file=str(self.tls_key_file) if self.tls_key_file else None,
            key_password=_revealed(self.tls_key_password),
        )


def _is_embedded(info: ValidationInfo) -> bool:
    return info.data.get("broker", "wrong") is None


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _checked_host(value: str) -> str:
    if "://" in value:
        raise ValueError(f"it is a URL; split it: {_split_url(value)}")
    bare = value.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass  # Not an address, so it has to be a host name.
    host, _, port = value.partition(":")
    if HOST_NAME.fullmatch(host) and port.isdecimal():
        raise ValueError(f"it holds a port; split it: MQTT_BROKER={host} MQTT_PORT={port}")
    if not HOST_NAME.fullmatch(value):
        raise ValueError("it is not a host name")
    return value


def _split_url(value: str) -> str:
    # Shows no user name and no password, though the URL may hold them.
    try:
        url = urlsplit(value)
        parts = [f"MQTT_BROKER={url.hostname or ''}", f"MQTT_PORT={url.port}" if url.port else ""]
    except ValueError:
        return "MQTT_BROKER, MQTT_PORT"
    parts += ["MQTT_TLS=true"] if url.scheme in ("mqtts", "ssl", "tls", "wss", "https") else []
    parts += ["MQTT_TRANSPORT=websockets"] if url.scheme in ("ws", "wss") else []
    parts += ["MQTT_USERNAME and MQTT_PASSWORD"] if url.username else []
    return " ".join(filter(None, parts))

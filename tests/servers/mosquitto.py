"""A private Mosquitto broker."""

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers import executables
from tests.servers.certificates import KeyPair
from tests.servers.ports import free_port
from tests.servers.server import Server

Setting = str | int | bool

# For tests: nothing is dropped and everything is logged.
_DEFAULTS: Mapping[str, Setting] = {
    "persistence": True,
    "max_inflight_messages": 1000,
    "max_queued_messages": 0,
    "log_dest": "stderr",
    "log_type": "all",
    "connection_messages": True,
}
_CONNECT = bytes.fromhex("10 0c 0004 4d515454 04 02 000f 0000")  # MQTT 3.1.1, clean session, no client id


class Mosquitto(Server):
    """A broker with one plain MQTT listener and, on request, TLS and WebSockets listeners."""

    needs = ("mosquitto", "mosquitto_passwd")

    def __init__(
        self,
        settings: Mapping[str, Setting] | None = None,
        *,
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        tls: KeyPair | None = None,
        client_ca: Path | None = None,
        websockets: bool = False,
    ) -> None:
        """Describe a broker.

        Args:
            settings: lines of mosquitto.conf that replace or extend the defaults for tests, for example
                `{"autosave_on_changes": True, "autosave_interval": 1}` for a broker that is to survive `kill`.
            users: passwords by user name; without it anybody may connect.
            acl: the content of the ACL file.
            tls: the server's certificate and key; opens a TLS listener on `tls_port`.
            client_ca: the CA of the client certificates that the TLS listener then insists on.
            websockets: opens a WebSockets listener on `websocket_port`, and with `tls` an encrypted one like the
                other TLS listener on `secure_websocket_port`.
        """
        super().__init__()
        self._settings = {**_DEFAULTS, **(settings or {})}
        self._users = users
        self._acl = acl
        self._tls = tls
        self._client_ca = client_ca
        self._websockets = websockets
        self.tls_port = free_port()
        self.websocket_port = free_port()
        self.secure_websocket_port = free_port()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def configuration(self) -> Path:
        """The configuration file: written at the first start, may be changed while the broker is stopped."""
        return self.folder / "mosquitto.conf"

    def _prepare(self) -> None:
        general: dict[str, Setting] = {
            "persistence_location": f"{self.folder}/",
            "allow_anonymous": self._users is None,
        }
        if self._users is not None:
            general["password_file"] = str(self._write_passwords(self._users))
        if self._acl is not None:
            general["acl_file"] = str(self._write("acl", self._acl))
        lines = [*_lines({**general, **self._settings}), f"listener {self.port} 127.0.0.1"]
        if self._tls is not None:
            lines += [f"listener {self.tls_port} 127.0.0.1", *_lines(self._tls_settings(self._tls))]
        if self._websockets:
            lines += [f"listener {self.websocket_port} 127.0.0.1", "protocol websockets"]
        if self._websockets and self._tls is not None:
            lines += [f"listener {self.secure_websocket_port} 127.0.0.1", "protocol websockets"]
            lines += _lines(self._tls_settings(self._tls))
        self._write(self.configuration.name, "\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [executables.find("mosquitto"), "-c", str(self.configuration)]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(_CONNECT)
            return connection.recv(1) == b"\x20"  # CONNACK, also when it refuses us

    def _write_passwords(self, users: Mapping[str, str]) -> Path:
        path = self._write("passwords", "".join(f"{name}:{password}\n" for name, password in users.items()))
        subprocess.run([executables.find("mosquitto_passwd"), "-U", str(path)], check=True)  # hashes in place
        self._own(path)
        return path

    def _tls_settings(self, pair: KeyPair) -> dict[str, Setting]:
        # Copies, since the originals may lie where the broker's user cannot look.
        settings: dict[str, Setting] = {
            "certfile": str(self._write("server.crt", pair.certificate.read_text())),
            "keyfile": str(self._write("server.key", pair.key.read_text())),
        }
        if self._client_ca is not None:
            settings["cafile"] = str(self._write("clients.crt", self._client_ca.read_text()))
            settings["require_certificate"] = True
        return settings


def _lines(settings: Mapping[str, Setting]) -> list[str]:
    return [f"{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in settings.items()]

"""The socket under the aiomqtt driver, in place of paho's, which stays open when a handshake fails."""

import socket
import ssl
from typing import Any

import paho.mqtt.client as paho

__all__ = ["open_socket"]

_HANDSHAKE_SECONDS = 5.0


def open_socket(host: str, port: int, tls: ssl.SSLContext | None, websocket_path: str | None) -> Any:
    """Connect; blocks, so it belongs into a thread.

    Args:
        host: Host name or address.
        port: TCP port.
        tls: For an encrypted connection.
        websocket_path: HTTP path for a WebSocket; ``None`` for none.

    Returns:
        What paho reads from and writes to.
    """
    sock = socket.create_connection((host, port), _HANDSHAKE_SECONDS)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            sock.do_handshake()
        return sock if websocket_path is None else _WebSocket(sock, host, port, tls is not None, websocket_path, None)
    except BaseException:
        sock.close()
        raise


class _WebSocket(paho._WebsocketWrapper):
    """paho's WebSocket, mended: after a partial write it answers 0, whereupon paho forgets the packet."""

    def send(self, data: bytes | bytearray) -> int:
        sent = super().send(data)
        if not sent and data:
            raise BlockingIOError
        return sent

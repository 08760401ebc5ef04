"""Passing over what is too large: paho alone would gather 100 MB before anybody could refuse them."""

import hashlib
from typing import Any, NamedTuple

import paho.mqtt.client as paho

from core.mqtt.mqtt5_text import variable_integer

__all__ = ["Oversize", "Skimmer"]

_PUBLISH = 3
_EXCERPT = 4096
_ONE_READ = 64 * 1024


class Oversize(NamedTuple):
    """What remains of a payload that was not kept.

    Attributes:
        excerpt: Its first 4 KiB.
        size: Bytes of the whole.
        digest: SHA-256 of the whole.
    """

    excerpt: bytes
    size: int
    digest: bytes


class Skimmer:
    """Reads the socket for paho, and takes out of its buffer what it need not keep of a large PUBLISH.

    Args:
        client: Whose reads it takes over.
        max_payload: Bytes of a PUBLISH from which on only the beginning is kept.
    """

    def __init__(self, client: paho.Client, max_payload: int) -> None:
        self._client = client
        self._max_payload = max_payload
        self._read = client._sock_recv
        self._hash: Any = None
        client._sock_recv = self._receive  # type: ignore[method-assign]

    def _receive(self, bufsize: int) -> bytes:
        if bufsize == 1 or not self._is_large():
            return self._read(bufsize)
        self._pass_over()
        return self._read(min(bufsize, _ONE_READ))

    def _is_large(self) -> bool:
        packet = self._client._in_packet
        return packet["command"] >> 4 == _PUBLISH and packet["remaining_length"] > self._max_payload

    def _pass_over(self) -> None:
        octets = self._client._in_packet["packet"]
        start = self._payload_start(octets)
        if start is None or len(octets) <= start + _EXCERPT:
            return
        rest = start + _EXCERPT
        if self._hash is None:
            self._hash = hashlib.sha256(octets[start:rest])
        self._hash.update(octets[rest:])
        del octets[rest:]

    def _payload_start(self, octets: bytearray) -> int | None:
        """Where the payload begins, once all before it is there."""
        if len(octets) < 2:
            return None
        at = 2 + (octets[0] << 8 | octets[1]) + (2 if self._client._in_packet["command"] & 0x06 else 0)
        if self._client._protocol != paho.MQTTv5:
            return at
        found = variable_integer(octets, at, len(octets))
        return None if found is None else sum(found)

    def oversize(self, payload: bytes) -> Oversize | None:
        """What paho has just read, if it was too large to keep.

        Args:
            payload: As paho gives it: the beginning, and the last bytes that were read.
        """
        if not self._is_large():
            return None
        packet = self._client._in_packet
        start = self._payload_start(packet["packet"])
        if start is None:
            return None
        whole = self._hash or hashlib.sha256(payload[:_EXCERPT])
        whole.update(payload[_EXCERPT:])
        self._hash = None
        return Oversize(payload[:_EXCERPT], packet["remaining_length"] - start, whole.digest())

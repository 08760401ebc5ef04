"""Passing over what is too large: paho alone would gather 100 MB before anybody could refuse them."""

from typing import NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from core.mqtt.skim import MOST_PROPERTIES, Skim, has_large_properties

__all__ = ["Oversize", "Skimmer"]

_PUBLISH = 3
_ONE_READ = 64 * 1024


class Oversize(NamedTuple):
    """What is known of a message that was not kept whole.

    Attributes:
        size: Bytes of the whole payload, and of the properties that were not kept.
        digest: SHA-256 of the whole payload.
    """

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
        self._large = min(max_payload, MOST_PROPERTIES)
        self._read = client._sock_recv
        self._handle = client._handle_publish
        self._skim: Skim | None = None
        client._sock_recv = self._receive  # type: ignore[method-assign]
        client._handle_publish = self._handle_publish  # type: ignore[method-assign]

    @property
    def oversize(self) -> Oversize | None:
        """About the message that paho gives out at the moment, if it was too large to keep."""
        return None if self._skim is None else Oversize(self._skim.size, self._skim.digest)

    def _receive(self, bufsize: int) -> bytes:
        if bufsize == 1 or not self._is_too_large():
            return self._read(bufsize)
        self._pass_over()
        return self._read(min(bufsize, _ONE_READ))

    def _is_too_large(self) -> bool:
        packet = self._client._in_packet
        if self._skim is not None:
            return True
        if packet["command"] >> 4 != _PUBLISH or packet["remaining_length"] <= self._large:
            return False
        return packet["remaining_length"] > self._max_payload or self._has_large_properties()

    def _pass_over(self) -> None:
        packet = self._client._in_packet
        if self._skim is None:
            self._skim = Skim(packet["remaining_length"], numbered=self._numbered, five=self._five)
        octets = packet["packet"]
        del octets[: self._skim.take(octets, 0, len(octets))]

    def _handle_publish(self) -> MQTTErrorCode:
        if not self._is_too_large():
            return self._handle()
        self._pass_over()
        assert self._skim is not None
        self._client._in_packet["packet"] = bytearray(self._skim.short)
        try:
            return self._handle()
        finally:
            self._skim = None

    def _has_large_properties(self) -> bool:
        octets = self._client._in_packet["packet"]
        return self._five and has_large_properties(octets, 0, len(octets), numbered=self._numbered)

    @property
    def _five(self) -> bool:
        return self._client._protocol == paho.MQTTv5

    @property
    def _numbered(self) -> bool:
        return bool(self._client._in_packet["command"] & 0x06)

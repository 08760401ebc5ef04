"""An aiomqtt client that leaves acknowledging, pausing and the end of the connection to us.

One object makes one connection: aiomqtt does not wait for the CONNACK of a second one.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from core.exceptions import ProtocolError
from core.mqtt.aiomqtt_diary import Diary
from core.mqtt.aiomqtt_skim import Oversize, Skimmer
from core.mqtt.aiomqtt_socket import open_socket

__all__ = ["ManualAckClient"]

_BROKEN_INPUT = (OSError, ValueError, IndexError, TypeError, struct.error, MQTTException)
_PUBLISHED_AT_ONCE = 20
_GOODBYE_SECONDS = 2.0


class ManualAckClient(aiomqtt.Client):
    """An aiomqtt client whose messages are acknowledged by hand.

    Args:
        deliver: Called on the event loop with every message, and with what is known of it if it was too large to
            keep.
        max_payload: Bytes of a PUBLISH from which on only the beginning is kept.
        tls: For an encrypted connection.
        options: What ``aiomqtt.Client`` takes.
    """

    def __init__(
        self,
        deliver: Callable[[paho.MQTTMessage, Oversize | None], None],
        max_payload: int,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        self._diary = Diary()
        super().__init__(logger=self._diary.logger(), **options)
        self._websocket_path = options["websocket_path"]
        self._deliver = deliver
        self._arrived: list[tuple[paho.MQTTMessage, Oversize | None]] = []
        self._answers: dict[int, asyncio.Future[ReasonCode]] = {}
        self._unanswered = asyncio.Semaphore(_PUBLISHED_AT_ONCE)
        self._paused = False
        self._closing = False
        self._dropped = False
        self._connack: Properties | None = None
        self.session_present = False
        self._client.manual_ack_set(True)
        self._skimmer = Skimmer(self._client, max_payload)
        self._tls = tls
        self._client._create_socket = self._create_socket  # type: ignore[method-assign]

    # --- life ---

    async def open(self) -> None:
        """Connect and wait for the CONNACK; paused from there on.

        Raises:
            aiomqtt.MqttError: The broker cannot be reached, or refuses.
        """
        # A thread of its own: those of the event loop may all be taken by handlers.
        thread = ThreadPoolExecutor(1, "mqtt-connect")
        try:
            await self._loop.run_in_executor(thread, self._client_connect)
            async with asyncio.timeout(self.timeout):
                await asyncio.shield(self._connected)
        except TimeoutError as error:
            raise aiomqtt.MqttError(str(error) or f"no answer in {self.timeout:g} s") from error
        except (OSError, ValueError, paho.WebsocketConnectionError) as error:
            raise aiomqtt.MqttError(str(error)) from error
        finally:
            thread.shutdown(wait=False)

    def _create_socket(self) -> Any:
        return open_socket(self._hostname, self._port, self._tls, self._websocket_path)

    @property
    def disconnected(self) -> asyncio.Future[None]:
        """Done when the connection has ended: with ``None`` if we wanted it, else with the error."""
        return self._disconnected

    async def close(self) -> None:
        """Send what is queued and a DISCONNECT, and see that it arrives; gives up after a while."""
        self._closing = True
        sock = self._client.socket()
        if sock is not None and not self._disconnected.done():
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self._say_goodbye(os.dup(sock.fileno()))
        self.drop()

    async def _say_goodbye(self, descriptor: int) -> None:
        # paho closes its socket as soon as the DISCONNECT is written. If the kernel then holds messages that
        # nobody has read, it answers with a reset, and the broker loses the acknowledgements before it. So the
        # connection is kept open by a second descriptor and read until the broker closes it.
        with socket.socket(fileno=descriptor) as lingering:
            lingering.setblocking(False)
            self._client.disconnect()
            with contextlib.suppress(aiomqtt.MqttError):
                await asyncio.shield(self._disconnected)
            lingering.shutdown(socket.SHUT_WR)
            while await self._loop.sock_recv(lingering, 2**16):
                pass

    def drop(self) -> None:
        """Close the socket at once; harmless when it is closed already."""
        self._dropped = True
        self._client._sock_close()
        for ended in (self._connected, self._disconnected):
            if ended.done() and not ended.cancelled():
                # Taken note of, or asyncio would warn that nobody did.
                ended.exception()

    def _end(self, error: Exception | None) -> None:
        if not self._connected.done():
            self._connected.set_exception(error or aiomqtt.MqttError("closed"))
        elif not self._disconnected.done():
            if error is None:
                self._disconnected.set_result(None)
            else:
                self._disconnected.set_exception(error)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error or aiomqtt.MqttError("closed"))

    # --- sending ---

    def connack_property(self, name: str, default: int) -> int:
        """A property of the broker's CONNACK."""
        return int(getattr(self._connack, name, default))

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Send one acknowledgement."""
        self._client.ack(packet_id, qos)

    async def publish_and_wait(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None
    ) -> ReasonCode:
        """Publish and wait for the broker's answer; with QoS 0 until the kernel has taken the message.

        Raises:
            aiomqtt.MqttError: The connection is lost, or the broker does not answer.
            ValueError: The message is larger than MQTT allows.
        """
        try:
            async with asyncio.timeout(self.timeout), self._unanswered:
                return await self._publish(topic, payload, qos, retain, properties)
        except TimeoutError as error:
            raise aiomqtt.MqttError(f"no answer in {self.timeout:g} s") from error

    async def _publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None
    ) -> ReasonCode:
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttError(paho.error_string(info.rc))
        answer: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._answers[info.mid] = answer
        try:
            return await answer
        finally:
            del self._answers[info.mid]

    # --- reading ---

    def pause(self) -> None:
        """Take the socket from the event loop; TCP then holds the broker back."""
        sock = self._client.socket()
        if not self._paused and sock is not None:
            self._loop.remove_reader(sock.fileno())
        self._paused = True

    def resume(self) -> None:
        """Give the socket back to the event loop."""
        if not self._paused:
            return
        self._paused = False
        self._excuse_silence()
        sock = self._client.socket()
        if sock is not None:
            self._loop.add_reader(sock.fileno(), self._read)
            # TLS may hold decrypted bytes for which the socket will not become readable again.
            self._loop.call_soon(self._read)

    def _excuse_silence(self) -> None:
        # paho drops a connection on which a PINGREQ stays unanswered; while paused nobody reads the answer.
        # See docs/decisions/0001-pausing-the-paho-driver.md.
        self._client._ping_t = 0.0

    def _read(self) -> None:
        try:
            while not self._paused and (sock := self._client.socket()) is not None:
                self._read_packets()
                # Only sockets with buffers of their own can hold more than the event loop knows of.
                if not (hasattr(sock, "pending") and sock.fileno() >= 0 and sock.pending() > 0):
                    break
        except Exception as error:  # noqa: BLE001 - whoever waits for the end of the connection gets it
            self._fail(error)

    def _read_packets(self) -> None:
        try:
            self._client.loop_read()
        except ProtocolError as error:
            raise aiomqtt.MqttError(str(error)) from error
        except _BROKEN_INPUT as error:
            raise aiomqtt.MqttError(f"the broker sent what cannot be read: {error!r}") from error
        # Outside of paho, whose reader an exception would leave in the middle of a packet.
        arrived, self._arrived = self._arrived, []
        for message, oversize in arrived:
            self._deliver(message, oversize)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._end(error)
        self._client._sock_close()

    async def _misc_loop(self) -> None:
        while self._client.loop_misc() == paho.MQTT_ERR_SUCCESS:
            await asyncio.sleep(1)
            if self._paused:
                self._excuse_silence()
            elif (sock := self._client.socket()) is not None:
                self._register(self._loop.add_reader, sock, self._read)

    # --- callbacks of paho ---

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        # Called from the thread that connects.
        self._loop.call_soon_threadsafe(self._attach, sock)

    def _attach(self, sock: Any) -> None:
        if self._dropped:
            self._client._sock_close()
        elif self._is_current(sock):
            self._loop.add_reader(sock.fileno(), self._read)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _is_current(self, sock: Any) -> bool:
        """Whether a socket is open still; if not, its number may be in use by another connection."""
        return self._client.socket() is sock

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._attach_writer, sock)

    def _attach_writer(self, sock: Any) -> None:
        if self._is_current(sock):
            self._register(self._loop.add_writer, sock, self._write)

    def _register(self, add: Callable[..., None], sock: Any, callback: Callable[[], None]) -> None:
        """Have a callback called when a socket is ready to be read or written."""
        try:
            add(sock.fileno(), callback)
        except RuntimeError:
            # uvloop silently gives up a socket that was reset, instead of letting us read the error.
            self._fail(aiomqtt.MqttError("the connection was reset"))

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.session_present = flags.session_present
        self._connack = properties
        self._unanswered = asyncio.Semaphore(min(_PUBLISHED_AT_ONCE, self.connack_property("ReceiveMaximum", 65_535)))
        super()._on_connect(client, userdata, flags, reason_code, properties)
        self.pause()

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(aiomqtt.MqttCodeError(reason_code))
        elif self._closing:
            self._end(None)
        elif reason_code == "Keep alive timeout":
            self._end(aiomqtt.MqttError(f"it does not answer (keepalive {client.keepalive} s)"))
        else:
            self._end(aiomqtt.MqttError(self._diary.last or "it closed the connection"))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._arrived.append((message, self._skimmer.oversize))

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        answer = self._answers.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(reason_code)

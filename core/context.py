"""The state of handling one message by one route."""

from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from typing import Any, Protocol, TypeVar

from core.bridge import ThreadBridge
from core.message import Message

__all__ = ["Client", "Context"]

T = TypeVar("T")

_KEYS = ("message", "topic", "params", "client", "payload")
_PLACES = {"payload": "_payload"}
_UNDECODED = object()


class Client(Protocol):
    """What a handler may do with the broker."""

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Publish a message; returns once the broker has taken it over (QoS 1 and 2).

        Args:
            topic: A topic name without wildcards.
            payload: ``bytes`` and ``str`` as they are; everything else as JSON.
            qos: 0, 1 or 2.
            retain: Whether the broker keeps it for later subscribers.

        Raises:
            PublishError: The topic, the payload or the broker does not allow it.
        """


class Context(MutableMapping[str, Any]):
    """One message on its way through one route.

    Reads like a mapping with the keys ``message``, ``topic``, ``params``, ``payload`` and
    ``client``; middleware may add keys of its own. The payload is decoded when it is first asked for.
    """

    __slots__ = ("_decode", "_extras", "_payload", "bridge", "client", "message", "params", "reached", "topic")

    def __init__(
        self,
        message: Message,
        params: dict[str, Any],
        client: Client | None,
        decode: Callable[[bytes], Any],
    ) -> None:
        #: The message as it came from the wire.
        self.message = message
        #: The topic name.
        self.topic = message.topic
        #: The route's parameters by name, converted.
        self.params = params
        #: The connection to publish on.
        self.client: Client = client  # type: ignore[assignment]  # only tests go without
        self._decode = decode
        self._payload: Any = _UNDECODED
        self._extras: dict[str, Any] = {}
        #: What ``run`` uses; there while a ``def`` action runs.
        self.bridge: ThreadBridge | None = None
        #: Whether the pipeline got as far as the action.
        self.reached = False

    @property
    def payload(self) -> Any:
        """The payload in the type that the route declares.

        Raises:
            UndecodablePayload: It is not in the expected format.
            InvalidPayload: It does not fit the declared type.
        """
        if self._payload is _UNDECODED:
            self._payload = self._decode(self.message.payload)
        return self._payload

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop and wait for it; for ``def`` actions, which run in a thread.

        Args:
            coroutine: For example ``Model.create(...)``.

        Returns:
            What the coroutine returns; raises what it raises.

        Raises:
            RuntimeError: Called on the event loop itself, where ``await`` is the way.
            asyncio.CancelledError: The message's time is up; let it pass.
        """
        if self.bridge is None:
            coroutine.close()
            raise RuntimeError("context.run() is for 'def' actions; fix: await the coroutine")
        return self.bridge.run(coroutine)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key in _KEYS else self._extras[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in _KEYS:
            setattr(self, _PLACES.get(key, key), value)
        else:
            self._extras[key] = value

    def __delitem__(self, key: str) -> None:
        if key == "payload":
            self._payload = _UNDECODED
        else:
            del self._extras[key]

    def __iter__(self) -> Iterator[str]:
        yield from _KEYS
        yield from self._extras

    def __len__(self) -> int:
        return len(_KEYS) + len(self._extras)

    def __contains__(self, key: object) -> bool:
        return key in _KEYS or key in self._extras

    # Without these two, comparing contexts would decode and compare their payloads.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<Context {self.topic!r} {self.params!r}>"

"""A device speaks for itself only."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from core.context import Context
from core.exceptions import Reject
from core.middleware.pipeline import Handler, Middleware

__all__ = ["DeviceIdentity"]

_OF_TOPICS = frozenset("+#/")
_ABSENT = (None, "")


class DeviceIdentity(Middleware):
    """Reject a message that names another device than its topic does.

    A broker's access rules tie a device to its topics; this ties what is in the message to the topic. All that
    names a device in a message must be equal to the topic's, letter by letter.

    Args:
        field: The payload's field with the device's id; ``None`` looks at no payload. A payload of a declared
            type must have this field, or it is never seen.
        user_property: The MQTT 5 user property with it; ``None`` looks at none.
        parameter: The parameter of the route's pattern that it must equal.
        optional: Whether a message may leave out both. Without ``optional`` it is rejected.

    Raises:
        ValueError: Neither ``field`` nor ``user_property`` is given.
    """

    def __init__(
        self,
        field: str | None = "device_id",
        *,
        user_property: str | None = None,
        parameter: str = "device_id",
        optional: bool = False,
    ) -> None:
        if field is None and user_property is None:
            raise ValueError("DeviceIdentity compares nothing; fix: give field= or user_property=")
        self.needs_parameters = (parameter,)
        self._field = field
        self._property = user_property
        self._parameter = parameter
        self._optional = optional

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        """Compare, then go on.

        Raises:
            Reject: The message names another device, none, or one whose id could be mistaken for more of a topic.
        """
        device = str(context.params[self._parameter])
        if not device.isprintable() or not _OF_TOPICS.isdisjoint(device):
            raise Reject(f"the device id {device!r:.100} of the topic contains +, #, / or a character without a sign")
        named = False
        for place, claimed in self._claims(context):
            named = True
            name = _id(claimed)
            if name != device:
                shown = f"{name!r:.100}" if name else f"a {type(claimed).__name__}"
                raise Reject(f"the topic belongs to device {device!r:.100}, but {place} names {shown}")
        if not named and not self._optional:
            raise Reject(f"the message of device {device!r:.100} does not name its device in {self._places()}")
        return await next_handler(context)

    def _claims(self, context: Context) -> Iterator[tuple[str, Any]]:
        """Everything in a message that says which device it is of."""
        if self._property is not None:
            for name, value in context.message.user_properties:
                if name == self._property:
                    yield f"the user property {name!r}", value
        if self._field is not None:
            payload = context.payload
            is_mapping = isinstance(payload, Mapping)
            claimed = payload.get(self._field) if is_mapping else getattr(payload, self._field, None)
            if claimed not in _ABSENT:
                yield f"the payload's {self._field!r}", claimed

    def _places(self) -> str:
        places = []
        if self._field is not None:
            places.append(f"the payload's field {self._field!r}")
        if self._property is not None:
            places.append(f"the user property {self._property!r}")
        return " or ".join(places)


def _id(value: object) -> str:
    """The text of what can be an id; of anything else an empty one."""
    # A bool is an int, and no id.
    return str(value) if isinstance(value, str | int | UUID) and not isinstance(value, bool) else ""

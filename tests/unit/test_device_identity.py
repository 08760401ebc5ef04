"""A device that speaks for itself only."""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from core.exceptions import InvalidPayload, MqueductError, Reject, RoutingError, UndecodablePayload
from core.message import Message
from core.middleware import DeviceIdentity
from core.router import Router
from core.routing.table import RouteTable

UUID = uuid.UUID("0190163d-8694-739b-aea5-966c26f8ad91")


class AsStruct(msgspec.Struct):
    value: float
    device_id: str = ""


@dataclass
class AsDataclass:
    value: float
    device_id: int | None = None


class AsModel(BaseModel):
    value: float
    device_id: str | None = None


class Nameless(msgspec.Struct):
    value: float


async def handled(
    middleware: DeviceIdentity,
    topic: str,
    payload: Any,
    *properties: tuple[str, str],
    pattern: str = "sensors/{device_id}",
    payload_type: Any = None,
) -> bool:
    """Whether a message passes; raises what rejects it."""

    async def action(payload: Any) -> str:
        return "handled"

    router = Router()
    router.on(pattern, action, middleware=[middleware], payload=payload_type)
    [match] = RouteTable(router.routes).match(topic)
    octets = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    context = match.context(Message(topic, octets, user_properties=properties), None)
    return await match.compiled.pipeline(context) == "handled"


# --- the payload ---


@pytest.mark.parametrize("payload_type", [None, AsStruct, AsDataclass, AsModel, dict[str, Any]])
async def test_the_payload_names_the_device_of_the_topic(payload_type: Any) -> None:
    """Whatever type the payload has, the same id passes and another one is rejected."""
    own, other = ("7", 7)[payload_type is AsDataclass], ("8", 8)[payload_type is AsDataclass]
    assert await handled(DeviceIdentity(), "sensors/7", {"value": 1, "device_id": own}, payload_type=payload_type)
    with pytest.raises(Reject, match="the topic belongs to device '7', but the payload's 'device_id' names '8'"):
        await handled(DeviceIdentity(), "sensors/7", {"value": 1, "device_id": other}, payload_type=payload_type)


@pytest.mark.parametrize("payload", [{"value": 1}, {"value": 1, "device_id": None}, {"value": 1, "device_id": ""}])
@pytest.mark.parametrize("payload_type", [None, AsModel, Nameless])
async def test_a_payload_without_a_name(payload: dict[str, Any], payload_type: Any) -> None:
    """Is rejected, unless that is allowed."""
    with pytest.raises(Reject, match="does not name its device in the payload's field 'device_id'"):
        await handled(DeviceIdentity(), "sensors/7", payload, payload_type=payload_type)
    assert await handled(DeviceIdentity(optional=True), "sensors/7", payload, payload_type=payload_type)


@pytest.mark.parametrize("payload", [[], [{"device_id": "7"}], 7, "7", None, True])
async def test_payloads_without_fields(payload: Any) -> None:
    """What has no fields names nobody."""
    with pytest.raises(Reject, match="does not name"):
        await handled(DeviceIdentity(), "sensors/7", payload)


@pytest.mark.parametrize("claimed", [["7"], {"7": 7}, True, 7.0, " 7", "7 ", "\uff17", "07"])
async def test_ids_are_compared_letter_by_letter(claimed: Any) -> None:
    """What merely looks alike is another device."""
    topic = "sensors/True" if claimed is True else "sensors/7"
    with pytest.raises(Reject, match="the topic belongs to device"):
        await handled(DeviceIdentity(), topic, {"device_id": claimed})


async def test_ids_of_other_types() -> None:
    """Parameters with a type are compared by their text."""
    assert await handled(DeviceIdentity(), "sensors/7", {"device_id": 7}, pattern="sensors/{device_id:int}")
    assert await handled(DeviceIdentity(), "sensors/7", {"device_id": "7"}, pattern="sensors/{device_id:int}")
    assert await handled(
        DeviceIdentity(), f"sensors/{UUID}", {"device_id": str(UUID)}, pattern="sensors/{device_id:uuid}"
    )


async def test_other_names() -> None:
    """Field and parameter may be called otherwise."""
    middleware = DeviceIdentity("serial", parameter="machine")
    assert await handled(middleware, "m/7", {"serial": "7", "device_id": "8"}, pattern="m/{machine}")
    with pytest.raises(Reject, match="'serial' names '8'"):
        await handled(middleware, "m/7", {"serial": "8"}, pattern="m/{machine}")


@pytest.mark.parametrize(("payload", "error"), [(b"{", UndecodablePayload), (b'{"value": "x"}', InvalidPayload)])
async def test_bad_payloads(payload: bytes, error: type[MqueductError]) -> None:
    """Have their own reasons."""
    with pytest.raises(error):
        await handled(DeviceIdentity(), "sensors/7", payload, payload_type=AsStruct)


# --- user properties ---


async def test_the_user_property_names_the_device() -> None:
    """MQTT 5 devices may say who they are beside the payload, which may then be anything."""
    middleware = DeviceIdentity(None, user_property="device")
    assert await handled(middleware, "sensors/7", b"\xff", ("other", "8"), ("device", "7"), payload_type=bytes)
    with pytest.raises(Reject, match="the user property 'device' names '8'"):
        await handled(middleware, "sensors/7", b"", ("device", "8"))
    with pytest.raises(Reject, match="does not name its device in the user property 'device'"):
        await handled(middleware, "sensors/7", b"")


async def test_everything_that_names_a_device_must_agree() -> None:
    """A right name does not cover a wrong one."""
    middleware = DeviceIdentity(user_property="device")
    assert await handled(middleware, "sensors/7", {}, ("device", "7"))
    assert await handled(middleware, "sensors/7", {"device_id": "7"})
    for payload, *properties in (
        ({"device_id": "8"}, ("device", "7")),
        ({"device_id": "7"}, ("device", "8")),
        ({}, ("device", "7"), ("device", "8")),
        ({"device_id": "7"}, ("device", "")),
    ):
        with pytest.raises(Reject, match="the topic belongs to"):
            await handled(middleware, "sensors/7", payload, *properties)
    with pytest.raises(Reject, match=r"in the payload's field 'device_id' or the user property 'device'$"):
        await handled(middleware, "sensors/7", {})


# --- ids that are no ids ---


@pytest.mark.parametrize("device", ["a/b", "a+", "#", "a\x1b[2J", "a\nb", "a\u202eb", "a\x7f", "\u200b"])
async def test_ids_that_could_be_mistaken(device: str) -> None:
    """An id becomes part of topics and log lines: wildcards, levels and invisible characters are refused."""
    with pytest.raises(Reject, match=r"the device id .* of the topic contains") as caught:
        await handled(DeviceIdentity(optional=True), f"sensors/{device}", {}, pattern="sensors/{device_id:path}")
    assert str(caught.value).isprintable()


async def test_long_ids_are_cut_in_reasons() -> None:
    """A reason is short, however long an id is."""
    with pytest.raises(Reject) as caught:
        await handled(DeviceIdentity(), f"sensors/{'x' * 1000}", {"device_id": "y" * 1000})
    assert 400 > len(str(caught.value))


# --- at start-up ---


def test_nothing_to_compare() -> None:
    """A middleware that could never reject anything is a mistake."""
    with pytest.raises(ValueError, match="compares nothing"):
        DeviceIdentity(None)


async def action() -> None: ...


@pytest.mark.parametrize("where", ["global", "route"])
def test_a_route_without_the_parameter(where: str) -> None:
    """Is refused at start-up, with the place and the fix."""
    router = Router()
    middleware = [DeviceIdentity()]
    router.on("gateways/{gateway_id}", action, middleware=middleware if where == "route" else [])
    with pytest.raises(RoutingError, match=r"test_device_identity.py:\d+: .*DeviceIdentity reads {device_id}, .*fix: "):
        RouteTable(router.routes, middleware if where == "global" else ())

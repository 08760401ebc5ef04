"""What networks do to the connection with the broker."""

from collections.abc import Callable

import pytest

from core.mqtt.options import Protocol
from tests.faults.combinations import EVERY_PROTOCOL, ON_POSTGRES
from tests.faults.conftest import Begin
from tests.faults.proxy import FaultProxy

MESSAGES = 300


def slow(proxy: FaultProxy) -> None:
    proxy.to_server.latency = proxy.to_client.latency = 0.03
    proxy.to_client.rate = 200_000


def torn(proxy: FaultProxy) -> None:
    proxy.to_client.largest = 1
    proxy.to_server.largest = 1


def gathered(proxy: FaultProxy) -> None:
    proxy.to_client.gather = 0.05
    proxy.to_server.gather = 0.05


def reset_within_a_packet(proxy: FaultProxy) -> None:
    proxy.to_client.reset_after = 10_007


def half_closed(proxy: FaultProxy) -> None:
    proxy.to_client.half_close_after = 10_007


@EVERY_PROTOCOL
@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        (slow, "delayed"),
        (torn, "split"),
        (gathered, "gathered"),
        (reset_within_a_packet, "reset"),
        (half_closed, "half-closed"),
    ],
)
async def test_bad_network(
    begin: Begin, protocol: Protocol, fault: Callable[[FaultProxy], None], evidence: str
) -> None:
    """Late, slow, torn, merged, reset and half-closed streams cost time and nothing else."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            fault(trial.broker_proxy)
            trial.publisher.begin(MESSAGES)
            await trial.conclude()
        assert trial.broker_proxy.happened[evidence] > 0
        if evidence in ("reset", "half-closed"):
            assert trial.broker_proxy.connections == 2
            assert trial.witness.redelivered > 0


@ON_POSTGRES
@pytest.mark.parametrize(
    ("protocol", "deaf"), [("5", "to_server"), ("5", "both"), ("3.1.1", "to_client"), ("3.1.1", "both")]
)
async def test_silence(begin: Begin, protocol: Protocol, deaf: str) -> None:
    """A connection on which bytes vanish one way or both ways, half-open, is given up after the keepalive."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(MESSAGES)
            await trial.stored(20)
            if deaf == "both":
                assert trial.broker_proxy.strand() == 1
            else:
                getattr(trial.broker_proxy, deaf).dropping = True
            await trial.publisher.publish(MESSAGES)
            await trial.service.until_logged("no connection to the broker; trying again")
            trial.broker_proxy.to_server.dropping = trial.broker_proxy.to_client.dropping = False
            await trial.recovered()
            await trial.publisher.publish(100)
            await trial.conclude()
        assert trial.broker_proxy.happened["dropped"] > 0
        assert trial.broker_proxy.connections >= 2


@EVERY_PROTOCOL
async def test_cut_again_and_again(begin: Begin, protocol: Protocol) -> None:
    """Each cut makes the broker send again what was on its way; nothing of it is stored twice."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(1000)
            for cut in range(1, 5):
                await trial.stored(cut * 100)
                await trial.service.until(lambda: trial.broker_proxy.links == 1)
                trial.broker_proxy.reset()
            await trial.recovered()
            await trial.conclude()
            reasons = [event["reason"] for event in trial.service.events("no connection to the broker; trying again")]
        assert trial.broker_proxy.happened["reset"] == 4
        # A reset is noticed at once, not by the silence that follows.
        assert not [reason for reason in reasons if "keepalive" in reason]
        assert trial.witness.redelivered > 0

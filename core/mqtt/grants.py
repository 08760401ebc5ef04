"""What the broker says to subscriptions."""

from collections.abc import Sequence

import structlog

from core.exceptions import BrokerRefused
from core.mqtt.connection import Subscription
from core.mqtt.reasons import NOT_SHARED, REFUSED

__all__ = ["check_granted"]

_NAMED_FILTERS = 10

logger = structlog.get_logger(__name__)


def check_granted(subscriptions: Sequence[Subscription], codes: Sequence[int]) -> None:
    """Make sure that the broker grants subscriptions.

    Args:
        subscriptions: What was asked for.
        codes: Its answers, in the same order (MQTT 5 section 3.9.3).

    Raises:
        BrokerRefused: It grants one of them not at all; the message names the filters.
    """
    if NOT_SHARED in codes:
        raise BrokerRefused("the broker has no shared subscriptions; fix: run one worker, or take another broker")
    refused = [s.filter for s, code in zip(subscriptions, codes, strict=True) if code >= REFUSED]
    if refused:
        names = ", ".join(map(repr, sorted(refused)[:_NAMED_FILTERS]))
        more = f" and {len(refused) - _NAMED_FILTERS} more" if len(refused) > _NAMED_FILTERS else ""
        raise BrokerRefused(f"the broker refuses to subscribe {names}{more}; fix: allow them in its access rules")
    for subscription, code in zip(subscriptions, codes, strict=True):
        if code < subscription.qos:
            logger.warning("the broker grants less than asked", filter=subscription.filter, granted_qos=code)

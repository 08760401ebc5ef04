"""What to subscribe to: a minimal cover of the routes' filters, and which of two copies to handle."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from core.message import Message
from core.mqtt.connection import Subscription
from core.trie import FilterTrie

__all__ = ["Changes", "Cover", "identifier_of"]

_HIGHEST_IDENTIFIER = 268_435_455


class Changes(NamedTuple):
    """What must be said to the broker so that it holds the cover and nothing else."""

    subscribe: list[Subscription]
    unsubscribe: list[str]


class Cover:
    """The smallest set of the wanted filters that matches everything which all of them match.

    A filter inside a broader one is left out, and the broader one takes the highest QoS. Where two
    filters overlap only in part, MQTT 5 brokers deliver a copy for each; identifiers tell them apart.

    Args:
        wanted: QoS by topic filter.
        max_qos: The highest QoS to subscribe with.
    """

    def __init__(self, wanted: Mapping[str, int], max_qos: int = 2) -> None:
        everything: FilterTrie[str] = FilterTrie()
        for topic_filter in wanted:
            everything.insert(topic_filter, topic_filter)
        self.filters: dict[str, int] = {}
        broadest: dict[str, int] = {}
        for topic_filter, qos in wanted.items():
            broader = [other for other in everything.covering(topic_filter) if other != topic_filter]
            for kept in broader or [topic_filter]:
                broadest[kept] = max(broadest.get(kept, 0), qos)
            if not broader:
                self.filters[topic_filter] = 0
        for topic_filter in self.filters:
            self.filters[topic_filter] = min(broadest[topic_filter], max_qos)
        self._trie: FilterTrie[Subscription] = FilterTrie()
        for topic_filter, qos in self.filters.items():
            self._trie.insert(topic_filter, Subscription(topic_filter, qos, identifier_of(topic_filter)))
        #: Whether a broker may deliver several copies of one message.
        self.overlapping = any(self._overlaps(topic_filter) for topic_filter in self.filters)

    def __repr__(self) -> str:
        return f"<Cover {self.filters} overlapping={self.overlapping}>"

    def _overlaps(self, topic_filter: str) -> bool:
        return any(other.filter != topic_filter for other in self._trie.overlapping(topic_filter))

    def changes(self, held: Mapping[str, int], *, session_present: bool, resubscribe: bool, tag: bool) -> Changes:
        """Compare the cover with what the broker holds.

        Args:
            held: The filters that the broker was last told, QoS by filter.
            session_present: Whether the broker kept the session; if not, it holds nothing.
            resubscribe: Whether to repeat what is held: it repairs a broker that forgot, and
                harms nothing where retained messages are not sent again (retain handling 1).
            tag: Whether copies are told apart by identifiers.
        """
        kept = held if session_present else {}
        subscribe = [
            Subscription(topic_filter, qos, identifier_of(topic_filter) if tag and self.overlapping else 0)
            for topic_filter, qos in self.filters.items()
            if resubscribe or kept.get(topic_filter) != qos
        ]
        return Changes(subscribe, [topic_filter for topic_filter in kept if topic_filter not in self.filters])

    def is_copy(self, message: Message) -> bool:
        """Whether a message is a copy to pass over, because another filter delivers it too.

        Decided from the message alone: among the filters that match its topic, the canonical one has
        the highest QoS, then the lowest identifier. A message tagged with an identifier that is not
        ours was queued under older routes and is handled.
        """
        if not self.overlapping or not message.subscription_ids:
            return False
        matching = self._trie.match(self._trie.split(message.topic))
        known = {subscription.identifier for subscription in matching}
        if not known.issuperset(message.subscription_ids):
            return False
        canonical = min(matching, key=lambda subscription: (-subscription.qos, subscription.identifier))
        return canonical.identifier not in message.subscription_ids


def identifier_of(topic_filter: str) -> int:
    """A subscription identifier that stays the same for a filter, whatever else is subscribed."""
    digest = hashlib.blake2b(topic_filter.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _HIGHEST_IDENTIFIER + 1

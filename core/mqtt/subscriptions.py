"""What to subscribe to: a minimal cover of the routes' filters, and which of two copies to handle."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from core.message import Message
from core.mqtt.connection import Subscription
from core.topics import has_wildcard
from core.trie import FilterTrie

__all__ = ["UNCONFIRMED", "Changes", "Cover"]

#: In place of a QoS: the broker was asked for the filter, but its answer has not been seen.
UNCONFIRMED = -1

_HIGHEST_IDENTIFIER = 268_435_455
# Where looking for overlaps could take more than this, every filter is taken to overlap with every other.
_MAX_COMPARISONS = 2_000_000


class Changes(NamedTuple):
    """What must be said to the broker so that it holds the cover and nothing else."""

    subscribe: list[Subscription]
    unsubscribe: list[str]


class Cover:
    """The smallest set of the wanted filters that matches everything which all of them match.

    A filter inside a broader one is left out, and the broader one takes the highest QoS. Where two
    filters overlap only in part, MQTT 5 brokers deliver a copy for each; identifiers tell them apart
    (docs/decisions/0002-telling-copies-apart.md).

    Several sessions may share the subscriptions (MQTT 5 section 4.8.2). The copies of one message then go to
    different sessions; as each decides by the message alone, exactly one of them is handled all the same.

    Args:
        wanted: QoS by topic filter.
        max_qos: The highest QoS to subscribe with.
        group: The group of sessions to share subscriptions with; ``None`` for plain ones.
    """

    def __init__(self, wanted: Mapping[str, int], max_qos: int = 2, group: str | None = None) -> None:
        broadest = {topic_filter: min(qos, max_qos) for topic_filter, qos in _broadest(wanted).items()}
        by_filter = {
            topic_filter: Subscription(
                _shared(topic_filter, group), broadest[topic_filter], _identifier(topic_filter, company)
            )
            for topic_filter, company in _company(broadest).items()
        }
        subscriptions = list(by_filter.values())
        #: QoS by topic filter of the cover, as the broker is told.
        self.filters = {subscription.filter: subscription.qos for subscription in subscriptions}
        # The broker works through them in this order, so a filter's copies never begin before the canonical ones.
        self._subscriptions = sorted(subscriptions, key=_precedence)
        #: Whether a broker may deliver several copies of one message.
        self.overlapping = any(subscription.identifier for subscription in subscriptions)
        self._new: frozenset[str] = frozenset()
        self._trie: FilterTrie[Subscription] = FilterTrie()
        for topic_filter, subscription in by_filter.items():
            self._trie.insert(topic_filter, subscription)

    def __repr__(self) -> str:
        return f"<Cover {self.filters} overlapping={self.overlapping}>"

    def changes(self, held: Mapping[str, int], *, session_present: bool, resubscribe: bool, tag: bool) -> Changes:
        """Compare the cover with what the broker holds.

        Args:
            held: The filters that the broker was last told, QoS or ``UNCONFIRMED`` by filter.
            session_present: Whether the broker kept the session; if not, it holds nothing.
            resubscribe: Whether to repeat what is held: it repairs a broker that forgot, and
                harms nothing where retained messages are not sent again (retain handling 1).
            tag: Whether copies are told apart by identifiers.
        """
        kept = held if session_present else {}
        self._new = frozenset(self.filters.keys() - kept.keys())
        subscribe = [
            subscription if tag else Subscription(subscription.filter, subscription.qos)
            for subscription in self._subscriptions
            if resubscribe or kept.get(subscription.filter) != subscription.qos
        ]
        return Changes(subscribe, [topic_filter for topic_filter in kept if topic_filter not in self.filters])

    def is_copy(self, message: Message) -> bool:
        """Whether a message is a copy to pass over, because another filter delivers it too.

        Decided from the message alone: among the filters that match its topic, the canonical one has
        the highest QoS, then the lowest identifier. A message tagged with an identifier that is not
        ours was queued under older routes and is handled. Retained messages come only for filters
        that are new to the broker, so only those count; when in doubt the message is handled.
        """
        if not self.overlapping or not message.subscription_ids:
            return False
        matching = self._trie.match(self._trie.split(message.topic))
        if not {subscription.identifier for subscription in matching}.issuperset(message.subscription_ids):
            return False
        delivering = [s for s in matching if s.filter in self._new] if message.retain else matching
        if not delivering:
            return False
        return min(delivering, key=_precedence).identifier not in message.subscription_ids


def _precedence(subscription: Subscription) -> tuple[int, int]:
    return -subscription.qos, subscription.identifier


def _shared(topic_filter: str, group: str | None) -> str:
    return topic_filter if group is None else f"$share/{group}/{topic_filter}"


def _broadest(wanted: Mapping[str, int]) -> dict[str, int]:
    """Leave out filters inside broader ones; those take the highest QoS."""
    trie: FilterTrie[str] = FilterTrie()
    for topic_filter in wanted:
        trie.insert(topic_filter, topic_filter)
    broader = {inner: [outer for outer in trie.covering(inner) if outer != inner] for inner in wanted}
    kept = {topic_filter: qos for topic_filter, qos in wanted.items() if not broader[topic_filter]}
    for inner, qos in wanted.items():
        for outer in broader[inner]:
            if outer in kept:
                kept[outer] = max(kept[outer], qos)
    return kept


def _company(cover: Mapping[str, int]) -> dict[str, bytes]:
    """Fingerprint, for each filter of a minimal cover, those that share a topic with it; empty if none does.

    Filters without wildcards have none: whatever matches such a filter covers it.
    """
    wild = [topic_filter for topic_filter in cover if has_wildcard(topic_filter)]
    company = dict.fromkeys(cover, b"")
    if _comparisons(wild) > _MAX_COMPARISONS:
        return company | dict.fromkeys(wild, _fingerprint(wild, cover))
    trie: FilterTrie[str] = FilterTrie()
    for topic_filter in wild:
        trie.insert(topic_filter, topic_filter)
    for topic_filter in wild:
        sharing = list(trie.overlapping(topic_filter))
        if len(sharing) > 1:
            company[topic_filter] = _fingerprint(sharing, cover)
    return company


def _comparisons(wild: Sequence[str]) -> int:
    """An upper bound for the pairs of filters that may have to be compared: those of equal first levels."""
    firsts = Counter(topic_filter.split("/", 1)[0] for topic_filter in wild)
    leading = firsts.pop("+", 0) + firsts.pop("#", 0)
    return leading * len(wild) + sum(count * (count + leading) for count in firsts.values())


def _fingerprint(filters: Iterable[str], cover: Mapping[str, int]) -> bytes:
    lines = sorted(f"{topic_filter} {cover[topic_filter]}" for topic_filter in filters)
    return hashlib.blake2b("\0".join(lines).encode(), digest_size=16).digest()


def _identifier(topic_filter: str, company: bytes) -> int:
    """Name a filter together with those it shares topics with; 0 for one that shares none."""
    if not company:
        return 0
    digest = hashlib.blake2b(topic_filter.encode(), digest_size=8, key=company).digest()
    return int.from_bytes(digest) % _HIGHEST_IDENTIFIER + 1

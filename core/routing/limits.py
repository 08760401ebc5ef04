"""What routes take: topics and JSON within bounds that no honest device comes near."""

import re
from dataclasses import dataclass, field, fields

from core.exceptions import UndecodablePayload

__all__ = ["Limits"]

# For JSON that was decoded already, so that every string has an end.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|([\]}])', re.DOTALL)
_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*+"|([0-9]+)', re.DOTALL)


@dataclass(slots=True)
class Limits:
    """The bounds of a route table.

    Attributes:
        topic_length: Characters of a topic.
        topic_levels: Levels of a topic.
        json_depth: How deeply arrays and objects may be nested in each other.
        json_digits: Digits of a number in a row.
    """

    topic_length: int = 1024
    topic_levels: int = 64
    json_depth: int = 64
    json_digits: int = 400
    harmless: int = field(init=False)
    """Bytes of a payload so short that it cannot be beyond the bounds of JSON."""

    def __post_init__(self) -> None:
        self.harmless = min(2 * self.json_depth, self.json_digits)

    def take_over(self, limits: "Limits") -> None:
        """Become like others, before the first message: decoders hold on to the bounds of their table."""
        for each in fields(self):
            setattr(self, each.name, getattr(limits, each.name))

    def topic_problem(self, topic: str) -> str | None:
        """Say why a topic is not taken."""
        if len(topic) > self.topic_length:
            return f"the topic has {len(topic)} characters; INGEST_MAX_TOPIC_LENGTH is {self.topic_length}"
        if topic.count("/") >= self.topic_levels:
            return f"the topic has {topic.count('/') + 1} levels; INGEST_MAX_TOPIC_LEVELS is {self.topic_levels}"
        return "the topic contains the character NUL" if "\0" in topic else None

    def check_json(self, payload: bytes) -> None:
        """Check JSON that was decoded already.

        Raises:
            UndecodablePayload: It is nested too deeply, or has a number with too many digits.
        """
        # Cheap questions first: what has so few brackets cannot be too deep.
        size = len(payload)
        if size > 2 * self.json_depth and payload.count(b"[") + payload.count(b"{") > self.json_depth:
            depth = _depth(payload)
            if depth > self.json_depth:
                raise UndecodablePayload(
                    f"the payload is nested {depth} levels deep; JSON_MAX_DEPTH is {self.json_depth}"
                )
        if size > self.json_digits and re.search(b"(?<![0-9])[0-9]{%d}" % (self.json_digits + 1), payload) is not None:
            digits = max((len(found[1] or b"") for found in _NUMBERS.finditer(payload)), default=0)
            if digits > self.json_digits:
                raise UndecodablePayload(
                    f"the payload has a number of {digits} digits; JSON_MAX_DIGITS is {self.json_digits}"
                )


def _depth(payload: bytes) -> int:
    depth = deepest = 0
    for token in _TOKENS.finditer(payload):
        if token[1]:
            depth -= 1
        elif token[0][0] != ord('"'):
            depth += 1
            deepest = max(deepest, depth)
    return deepest

"""Settings of what is taken in at all."""

from typing import Annotated

from pydantic import ByteSize

from config._group import Group, Lowercase, setting
from core.ingest.options import Drop
from core.routing.limits import Limits

__all__ = ["LimitSettings"]


class LimitSettings(Group):
    """Bounds that no honest device comes near; what is beyond becomes a dead letter, or is dropped and counted.

    Attributes:
        payload: Bytes of a message.
        topic_length: Characters of a topic.
        topic_levels: Levels of a topic.
        json_depth: How deeply JSON may be nested.
        json_digits: Digits of a number in JSON, in a row.
        qos0_window: Messages of QoS 0 received and not yet settled.
        qos0_drop: Which of them goes when there are more.
    """

    payload: ByteSize = setting(
        "INGEST_MAX_PAYLOAD",
        ByteSize(8 * 2**20),
        allowed="a number of bytes from 4096 on, as in 65536 or 8MiB",
        ge=4096,
    )
    topic_length: int = setting(
        "INGEST_MAX_TOPIC_LENGTH", 1024, allowed="a number of characters, 1 to 65535", ge=1, le=65_535
    )
    topic_levels: int = setting(
        "INGEST_MAX_TOPIC_LEVELS", 64, allowed="a number of levels, 1 to 65536", ge=1, le=65_536
    )
    json_depth: int = setting("JSON_MAX_DEPTH", 64, allowed="a number of levels, 1 to 900", ge=1, le=900)
    json_digits: int = setting("JSON_MAX_DIGITS", 400, allowed="a number of digits, 20 to 4300", ge=20, le=4300)
    qos0_window: int = setting(
        "INGEST_QOS0_WINDOW", 10_000, allowed="a number of messages, 1 to 1000000", ge=1, le=1_000_000
    )
    qos0_drop: Annotated[Drop, Lowercase] = setting("INGEST_QOS0_DROP", "oldest", allowed="oldest or newest")

    @property
    def routing(self) -> Limits:
        """What routes need."""
        return Limits(self.topic_length, self.topic_levels, self.json_depth, self.json_digits)

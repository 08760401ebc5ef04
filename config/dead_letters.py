"""Settings of dead letters: messages that could not be handled."""

from typing import Annotated

from pydantic import ByteSize, field_validator

from config._group import Group, Seconds, Text, setting
from core.ingest.options import DeadLetterOptions
from core.topics import name_problem

__all__ = ["DeadLetterSettings"]


class DeadLetterSettings(Group):
    """What is kept of messages that cannot be handled.

    Attributes:
        unroutable: Whether messages of QoS 1 and 2 that no route matches are kept.
        max_payload: Bytes of a payload that are kept.
        retention: Seconds after which a letter is removed; 0 for never.
        topic: Where new letters are published as well.
        crashes: How often a message may take the process down until it is set aside.
    """

    unroutable: bool = setting("DEAD_LETTER_UNROUTABLE", True, allowed="true or false")
    max_payload: ByteSize = setting(
        "DEAD_LETTER_MAX_PAYLOAD",
        ByteSize(8 * 2**20),
        allowed="a number of bytes from 4096 on, as in 65536 or 8MiB",
        ge=4096,
    )

    retention: Annotated[float, Seconds] = setting(
        "DEAD_LETTER_RETENTION",
        30 * 86_400.0,
        allowed="seconds or a duration such as 30d; 0 keeps them for ever",
        ge=0,
        le=100 * 365 * 86_400,
        allow_inf_nan=False,
    )
    topic: Text | None = setting("DEAD_LETTER_TOPIC", None, allowed="a topic name without wildcards")

    crashes: int = setting("DEAD_LETTER_CRASHES", 3, allowed="a number of crashes, 3 to 100", ge=3, le=100)

    @field_validator("topic")
    @classmethod
    def _check_topic(cls, value: str | None) -> str | None:
        if value and (reason := name_problem(value)):
            raise ValueError(reason)
        return value

    def options(self) -> DeadLetterOptions:
        """What core needs."""
        return DeadLetterOptions(self.unroutable, self.max_payload, self.retention, self.topic, self.crashes)

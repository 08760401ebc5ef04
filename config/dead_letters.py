"""Settings of dead letters: messages that could not be handled."""

from pydantic import ByteSize

from config._group import Group, setting
from core.ingest.options import DeadLetterOptions

__all__ = ["DeadLetterSettings"]


class DeadLetterSettings(Group):
    """What is kept of messages that cannot be handled.

    Attributes:
        unroutable: Whether messages of QoS 1 and 2 that no route matches are kept.
        max_payload: Bytes of a payload that are kept.
    """

    unroutable: bool = setting("DEAD_LETTER_UNROUTABLE", True, allowed="true or false")
    max_payload: ByteSize = setting(
        "DEAD_LETTER_MAX_PAYLOAD",
        ByteSize(8 * 2**20),
        allowed="a number of bytes from 4096 on, as in 65536 or 8MiB",
        ge=4096,
    )

    def options(self) -> DeadLetterOptions:
        """What core needs."""
        return DeadLetterOptions(unroutable=self.unroutable, max_payload=self.max_payload)

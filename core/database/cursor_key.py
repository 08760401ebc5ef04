"""The key that signs the cursors of one database."""

import secrets

import structlog

from core.exceptions import ConfigurationError

__all__ = ["SHORTEST_KEY", "CursorKey"]

SHORTEST_KEY = 16
"""Bytes that a key has at least."""

logger = structlog.get_logger(__name__)


class CursorKey:
    """A secret that all processes of a service share, or else one that only this process knows.

    Args:
        secret: Of ``SHORTEST_KEY`` bytes or more; ``None`` makes one up.

    Raises:
        ConfigurationError: It is too short to be a secret.
    """

    #: The execution option of an engine that holds its key.
    OPTION = "mqueduct_cursor_key"

    def __init__(self, secret: str | bytes | None) -> None:
        key = secret.encode() if isinstance(secret, str) else secret
        if key is not None and len(key) < SHORTEST_KEY:
            raise ConfigurationError(
                f"the key that signs cursors needs {SHORTEST_KEY} bytes; fix: make one with "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        self._shared = key is not None
        self._key = secrets.token_bytes(32) if key is None else key

    def __bytes__(self) -> bytes:
        if not self._shared:
            self._shared = True
            logger.warning(
                "cursors are signed with a key of this process: other processes refuse them, and so does this one "
                "after a restart",
                fix="set CURSOR_KEY to a secret that all of them share",
            )
        return self._key

"""Keeps secrets out of every text that people may read: logs, tracebacks, dead letters, messages on the terminal.

Which texts are secret is a fact about the process, for a traceback of any library may hold them. So
``hide`` and ``redact`` share one ``Redaction``; the settings hide theirs when they are read.
"""

import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["MARK", "SHORTEST", "Redaction", "hide", "redact", "redact_values", "redacted_traceback"]

MARK = "***"
"""Stands where a secret stood."""

SHORTEST = 4
"""Characters of the shortest secret that is looked for: gaps in place of each "a" would only tell what it is."""

# User and password in front of a host; a password that nobody has encoded may hold almost anything. The bounds keep
# a stranger's text from costing more than its length.
_CREDENTIALS = re.compile(r"""(?<=://)([^\s:/?#@"'<>]{0,128}):[^\s"'<>]{0,256}@""")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")

_QUERY_SECRET = re.compile(r"[?&;](?:\w*(?:passw|passphrase|secret|token)\w*|pwd)=([^&;#\s]+)", re.IGNORECASE)
_DEEPEST = 20

# Four quotations make sixteen of one. Without an end, or with giving back, some texts would be searched for ages.
_BACKSLASHES = r"\\{0,16}+"
_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\v": "v", "\0": "0", "\a": "a"}


class Redaction:
    """Texts that must not be shown, however they are quoted or encoded."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._hidden)} texts>"

    def hide(self, secret: str) -> None:
        """Have a text replaced from now on.

        Args:
            secret: A password or the like; of a URL, its password and what looks like one in its query. One of
                fewer than ``SHORTEST`` characters is left alone.
        """
        parts = _secrets_of_url(secret) if _URL.match(secret) else [secret]
        found = {part.strip() for part in parts if len(part.strip()) >= SHORTEST} - self._hidden
        if found:
            self._hidden |= found
            # The longest first: one secret may begin like another.
            ordered = sorted(self._hidden, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_written, ordered)))

    def redact(self, text: str) -> str:
        """Replace every hidden text, and the password of any URL.

        Args:
            text: What is to be shown, of any length.

        Returns:
            The same text with ``***`` where secrets stood.
        """
        if self._pattern is not None:
            text = self._pattern.sub(MARK, text)
        return _CREDENTIALS.sub(rf"\1:{MARK}@", text) if "://" in text else text


_process = Redaction()


def hide(secret: str) -> None:
    """Have a secret replaced in all that this process shows; see ``Redaction.hide``."""
    _process.hide(secret)


def redact(text: str) -> str:
    """Replace the secrets of this process in a text, and the password of any URL, by ``***``."""
    return _process.redact(text)


def redact_values(value: Any, depth: int = 0) -> Any:
    """Redact before a value is rendered: quoted twice, a secret would have a form that nobody looks for.

    Args:
        value: Anything; containers are looked into.
        depth: How many containers it is in; there is an end to that.

    Returns:
        Texts and numbers as such, dictionaries and lists of them, and all other objects as their ``repr``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if redact(str(value)) == str(value) else MARK
    if isinstance(value, str):
        return redact(value)
    if depth == _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_values(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_values(item, depth + 1) for item in value]
    return redact(repr(value))


def redacted_traceback(error: BaseException) -> str:
    """An error with its traceback and its causes, as Python prints it, without secrets and local variables."""
    return redact("".join(traceback.format_exception(error)))


def _secrets_of_url(url: str) -> Iterator[str]:
    rest = url.partition("://")[2]
    # Libraries disagree on where a password ends that holds an @ or a ? which nobody has encoded.
    ends = {rest.find("@"), rest.rfind("@"), rest.partition("?")[0].rfind("@")} - {-1}
    found = [rest[:end].partition(":")[2] for end in ends] + _QUERY_SECRET.findall(rest)
    for secret in found:
        yield secret
        yield unquote(secret)


def _written(secret: str) -> str:
    """A pattern of all the ways in which a text may be written."""
    return "".join(_written_run(run[0], len(run)) for run in re.findall(r"\\+|[^\\]", secret, re.DOTALL))


def _written_run(character: str, count: int) -> str:
    """A pattern for a character, or for several backslashes.

    It may stand as it is, percent-encoded, or escaped, as in a quoted text of Python or JSON; such a text may be quoted
    again, which doubles its backslashes.
    """
    if character == "\\":
        return rf"(?:\\{{{count},{16 * count}}}+|(?i:%5c){{{count}}})"
    if character.isascii() and character.isalnum():
        return character
    octets = character.encode(errors="surrogatepass")
    units = character.encode("utf-16-be", errors="surrogatepass").hex()
    escapes = [
        _LETTERS.get(character, ""),
        "".join(rf"{_BACKSLASHES}x{octet:02x}" for octet in octets),
        f"x{ord(character):02x}",
        _BACKSLASHES.join(f"u{units[start : start + 4]}" for start in range(0, len(units), 4)),
        f"U{ord(character):08x}",
    ]
    percent = "".join(f"%{octet:02x}" for octet in octets)
    escaped = _BACKSLASHES + f"(?:{re.escape(character)}|(?i:{'|'.join(filter(None, escapes))}))"
    return f"(?:{escaped}|(?i:{percent}){r'|[+]' if character == ' ' else ''})"

"""Statements without the values in them, by which equal ones are told from others."""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from sqlglot import Dialect, Token, TokenError, TokenType

__all__ = ["Shown", "fingerprint", "shown"]

_DIALECTS = {"postgresql": "postgres", "mariadb": "mysql"}

_LONGEST = 4000

# As the drivers have them; replaced first, for the tokenizer takes $1,$2 for a string.
_PLACEHOLDER = re.compile(r"\$\d+|%s|%\(\w+\)s")

_VALUES = frozenset(
    {
        TokenType.NUMBER,
        TokenType.STRING,
        TokenType.NATIONAL_STRING,
        TokenType.RAW_STRING,
        TokenType.HEREDOC_STRING,
        TokenType.UNICODE_STRING,
        TokenType.BIT_STRING,
        TokenType.BYTE_STRING,
        TokenType.HEX_STRING,
        TokenType.PLACEHOLDER,
    }
)

# ?, ?, ? and, with casts, ?::INTEGER, ?::INTEGER
_LIST = re.compile(r"(\?(?:::\w+(?:\[\])?)*)(?:, \1(?!:))+")
# (?, 1), (?, 1)
_ROWS = re.compile(r"(\([^()]*\))(?:, \1)+")


class Shown(NamedTuple):
    """A statement as it may be shown.

    Attributes:
        text: Without comments; each value, and each list of them of any length, is a question mark.
        fingerprint: Sixteen characters, equal for equal texts.
    """

    text: str
    fingerprint: str


@lru_cache(maxsize=500)
def shown(statement: str, dialect: str) -> Shown:
    """Take all values out of a statement.

    Args:
        statement: SQL with any placeholders.
        dialect: As SQLAlchemy names it; it says what a string looks like.
    """
    statement = _PLACEHOLDER.sub("?", statement)
    try:
        tokens = Dialect.get_or_raise(_DIALECTS.get(dialect, dialect)).tokenize(statement)
    except TokenError:
        # Nothing of it can be shown, since nobody knows where its values are.
        return Shown("(not readable)", fingerprint(statement))
    text = "".join(_words(statement, tokens))
    text = _ROWS.sub(r"\1", _LIST.sub(r"\1", text))
    return Shown(text if len(text) <= _LONGEST else text[:_LONGEST] + "...", fingerprint(text))


def _words(statement: str, tokens: list[Token]) -> Iterator[str]:
    """The words of a statement, with one space where there was any space or comment."""
    end = 0
    for token in tokens:
        if token.start > end or (end and statement[end - 1] == ","):
            yield " "
        yield "?" if token.token_type in _VALUES else statement[token.start : token.end + 1]
        end = token.end + 1


def fingerprint(text: str) -> str:
    """Sixteen characters that stand for a text, in which upper and lower case are the same."""
    return hashlib.sha256(text.lower().encode(errors="surrogatepass")).hexdigest()[:16]

"""Searching texts by words, best matches first."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, TextClause, func, text
from sqlalchemy import false as sql_false
from sqlalchemy.dialects import postgresql  # noqa: F401 - gives `func` the types of text search
from sqlalchemy.dialects.mysql import match
from sqlalchemy.ext.asyncio import AsyncSession

from core.exceptions import InvalidQuery, NotSupportedError
from core.query.entities import attribute_of, entity_of, primary_key_of, select_of
from core.query.execution import dialect_name

__all__ = ["full_text", "text_document"]

_LONGEST = 1000
_LANGUAGE = re.compile(r"[a-z_]{1,63}")
_TERM = re.compile(r'(-?)"([^"]*)"?|(-?)(\S+)')
_WORD = re.compile(r"[^\W_]+")


def full_text(
    source: Any, columns: Sequence[str], query: str, *, language: str = "english", session: AsyncSession | None = None
) -> Select[Any]:
    """Select the rows whose texts contain some words, best matches first; PostgreSQL and MariaDB.

    The query is written as for a search engine: all words must be there, ``"a phrase"`` stands together,
    ``-word`` must not be there, ``this or that``. Nothing that a user types breaks it.

    Args:
        source: A model or a select of one.
        columns: Attributes of text. PostgreSQL finds them by an index on ``text_document`` of them, in this order;
            MariaDB needs a FULLTEXT index on exactly these columns.
        query: What the user typed.
        language: Of the texts, as PostgreSQL names it, for the forms of words; MariaDB knows none.
        session: Where the select will run, when not on the installed database.

    Returns:
        The select with its conditions; ordered by rank, then by primary key.

    Raises:
        NotSupportedError: The database is SQLite.
        InvalidQuery: A name is no column of text, or the query is too long.
    """
    dialect = dialect_name(session)
    if dialect == "sqlite":
        raise NotSupportedError(
            "SQLite has no full-text search here; fix: use PostgreSQL or MariaDB, or "
            "search(..., {'name__icontains': ...})"
        )
    statement = select_of(source)
    entity = entity_of(statement)
    attributes = [attribute_of(entity, name) for name in columns]
    if not attributes or not all(isinstance(one.type, String) for one in attributes):
        raise InvalidQuery("full_text searches columns of text; fix: name at least one, and only such")
    clauses, configuration = _clauses(query), _configuration(language)
    if not any(term for clause in clauses for term in clause if not term.excluded):
        return statement.where(sql_false())
    rank: ColumnElement[Any]
    if dialect == "postgresql":
        document = text_document(attributes, language=language)
        wanted = func.websearch_to_tsquery(configuration, query)
        found, rank = document.bool_op("@@")(wanted), func.ts_rank(document, wanted)
    else:
        found = rank = match(*(one.expression for one in attributes), against=_boolean(clauses), in_boolean_mode=True)
    keys = [key.asc() for key in primary_key_of(entity)]
    return statement.where(found).order_by(None).order_by(rank.desc(), *keys)


def text_document(columns: Sequence[Any], *, language: str = "english") -> ColumnElement[Any]:
    """The words of some columns together, as PostgreSQL searches and indexes them.

    ``Index("ix_notes_words", text_document([Note.title, Note.body]), postgresql_using="gin")`` makes ``full_text``
    fast; add ``.ddl_if(dialect="postgresql")`` where the model lives on other databases too.

    Args:
        columns: Columns of text.
        language: As PostgreSQL names it.

    Raises:
        InvalidQuery: The language is no name.
    """
    space, nothing = text("' '"), text("''")
    words: ColumnElement[Any] = func.coalesce(columns[0], nothing)
    for column in columns[1:]:
        words = words.concat(space).concat(func.coalesce(column, nothing))
    return func.to_tsvector(_configuration(language), words)


class _Term(NamedTuple):
    """One word, or several that stand together."""

    words: tuple[str, ...]
    excluded: bool


def _clauses(query: object) -> list[list[_Term]]:
    """What a user typed: the alternatives, each a list of terms.

    Raises:
        InvalidQuery: It is no text, is too long, or has characters that no database stores.
    """
    if not isinstance(query, str) or len(query) > _LONGEST or "\0" in query or not _encodes(query):
        raise InvalidQuery(f"a search needs a text of at most {_LONGEST} characters, without NUL")
    clauses: list[list[_Term]] = [[]]
    for found in _TERM.finditer(query):
        minus, phrase, other_minus, word = found.groups()
        if word is not None and word.lower() == "or" and not other_minus:
            clauses.append([])
            continue
        words = tuple(_WORD.findall(phrase if word is None else word))
        if words:
            clauses[-1].append(_Term(words, bool(minus or other_minus)))
    return [clause for clause in clauses if clause]


def _boolean(clauses: Sequence[Sequence[_Term]]) -> str:
    """The same for MariaDB's boolean mode; made of nothing but words and our own signs."""
    written = [" ".join(_signed(term) for term in clause) for clause in clauses]
    return written[0] if len(written) == 1 else " ".join(f"({clause})" for clause in written)


def _signed(term: _Term) -> str:
    words = term.words[0] if len(term.words) == 1 else f'"{" ".join(term.words)}"'
    return f"{'-' if term.excluded else '+'}{words}"


def _configuration(language: str) -> TextClause:
    if not _LANGUAGE.fullmatch(language):
        raise InvalidQuery(f"{language!r:.60} is no language; fix: write 'english', 'german', 'simple', ...")
    # Written into the statement, as in the index: with a parameter in its place the index would not be used.
    return text(f"'{language}'\\:\\:regconfig")


def _encodes(query: str) -> bool:
    try:
        query.encode()
    except UnicodeEncodeError:
        return False
    return True

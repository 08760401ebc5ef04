"""Searching by words on PostgreSQL and MariaDB, and the refusal of SQLite."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from benchmarks.database_plans import sent
from core.database.database import Database
from core.exceptions import InvalidQuery, NotSupportedError, SchemaError
from core.query import fetch, full_text, paginate
from tests.integration.query.models import Item, Note

COLUMNS = ["title", "body"]

with_servers = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)


@pytest.fixture
async def notes(with_notes: Database) -> Database:
    await Note.insert(
        [
            {"title": "pump broken", "body": "The pump in hall seven leaks oil; call the pump company."},
            {"title": "Valve", "body": "The valve beside the PUMP is fine."},
            {"title": "oil order", "body": None},
            {"title": "hall seven", "body": "cleaned, no oil on the floor, seven hall lamps replaced"},
        ]
    )
    return with_notes


async def found(query: str) -> list[int]:
    return [note.id for note in await fetch(full_text(Note, COLUMNS, query))]


@with_servers
async def test_best_matches_come_first(notes: Database) -> None:
    """By how often and where the words are; with one statement, and pages like any select."""
    with sent(notes) as statements:
        assert [1, 2] == await found("pump")
    assert 1 == len(statements)
    page = await paginate(full_text(select(Note).where(Note.id < 4), COLUMNS, "oil"), 2, 1)
    assert (2, 2) == (page.total, page.pages)


@with_servers
async def test_queries_are_written_as_for_a_search_engine(notes: Database) -> None:
    """All words, phrases, exclusions and alternatives; upper and lower case are one; in both columns."""
    for query, expected in (
        ("pump valve", {2}),
        ("Pump OIL", {1}),
        ('"hall seven"', {1, 4}),
        ('"seven hall"', {4}),
        ("oil -pump", {3, 4}),
        ('oil -"hall seven"', {3}),
        ("valve or order", {2, 3}),
        ("valve OR order oil", {2, 3}),
        ("broken company", {1}),
        ("nothing", set()),
        ("", set()),
        ("-pump", set()),
        ("or", set()),
        ("!!! ???", set()),
    ):
        assert (query, expected) == (query, set(await found(query)))


queries = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="ab \"'+-*()<>~@!&|:\\%", max_size=40),
    st.text(alphabet="or \"-\u00e4'", max_size=20),
)


@with_servers
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(query=queries)
async def test_nothing_that_is_typed_breaks_it(notes: Database, query: str) -> None:
    """Operators of the databases, quotes that are never closed, letters of all scripts."""
    try:
        statement = full_text(Note, COLUMNS, query)
    except InvalidQuery:
        assert "\0" in query
        return
    assert len(await fetch(statement)) <= 4


@with_servers
async def test_what_cannot_be_searched_is_refused(database: Database) -> None:
    """Columns that hold no text, too long a query, a language that is none."""
    for arguments, options, problem in (
        ((Item, ["rank"], "x"), {}, "columns of text"),
        ((Item, [], "x"), {}, "columns of text"),
        ((Item, ["name"], "x"), {}, "no column 'name'"),
        ((Note, COLUMNS, "x" * 1001), {}, "at most 1000 characters"),
        ((Note, COLUMNS, "a\0"), {}, "without NUL"),
        ((Note, COLUMNS, "\ud800"), {}, "at most 1000"),
        ((Note, COLUMNS, 17), {}, "needs a text"),
        ((Note, COLUMNS, "x"), {"language": "english'; --"}, "is no language"),
    ):
        with pytest.raises(InvalidQuery, match=problem):
            full_text(*arguments, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_mariadb_says_which_index_is_missing(notes: Database) -> None:
    """It is the model that lacks it, so that no message is to blame."""
    with pytest.raises(SchemaError, match=r'fix: add Index\(None, .* mysql_prefix="FULLTEXT"\)'):
        await fetch(full_text(Note, ["title"], "pump"))


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_sqlite_says_what_to_do(database: Database) -> None:
    """It names the databases that can, and what SQLite has instead."""
    with pytest.raises(NotSupportedError, match=r"use PostgreSQL or MariaDB, or search"):
        full_text(Note, COLUMNS, "pump")

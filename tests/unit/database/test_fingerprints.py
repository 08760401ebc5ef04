"""Statements as the log of slow queries shows them."""

import pytest

from core.database.fingerprints import shown


@pytest.mark.parametrize(
    ("dialect", "statement", "text"),
    [
        ("sqlite", "SELECT a.id FROM t AS a WHERE a.x = ?", "SELECT a.id FROM t AS a WHERE a.x = ?"),
        ("sqlite", "SELECT 'it''s', 3.14, -7, 1e5, X'4D'", "SELECT ?, -?"),
        ("sqlite", "SELECT  1\n\tFROM t -- a secret\n/* another */ WHERE b", "SELECT ? FROM t WHERE b"),
        ("postgresql", "SELECT E'x\\'y', $$dollar 'quoted'$$, U&'\\0041' FROM \"My 7\"", 'SELECT ? FROM "My 7"'),
        ("postgresql", "SELECT '{\"a\": 1}'::jsonb, a->>'k' FROM t", "SELECT ?::jsonb, a->>? FROM t"),
        ("postgresql", "SELECT a FROM t WHERE b = $1::VARCHAR", "SELECT a FROM t WHERE b = ?::VARCHAR"),
        ("mysql", "SELECT `7 a`, \"secret\", 'it\\'s', 0x41 FROM t", "SELECT `7 a`, ? FROM t"),
        ("mariadb", "SELECT a FROM t WHERE b = %s AND c = %(c)s", "SELECT a FROM t WHERE b = ? AND c = ?"),
    ],
)
def test_values_and_comments_are_gone(dialect: str, statement: str, text: str) -> None:
    """What a user may have written is a question mark; names stay, also those with digits."""
    assert text == shown(statement, dialect).text


@pytest.mark.parametrize(
    ("dialect", "one", "many"),
    [
        ("postgresql", "a IN ($1::INTEGER)", "a IN ($1::INTEGER, $2::INTEGER,\n $3::INTEGER)"),
        ("sqlite", "a IN ('x')", "a IN (1, ?, 'y')"),
        ("mysql", "a = %s", "a = 'x'"),
        ("sqlite", "a  =  ?", "a = ? /* here */"),
        ("sqlite", "a IS NULL", "A is null"),
    ],
)
def test_statements_that_differ_in_values_only(dialect: str, one: str, many: str) -> None:
    """Lists of any length, placeholders and literals, case and spaces are all the same."""
    select = "SELECT b FROM t WHERE "
    assert shown(select + one, dialect).fingerprint == shown(select + many, dialect).fingerprint


def test_rows_of_any_number() -> None:
    """An insert of a thousand rows is one of a single row."""
    rows = ",".join(f"(${n},$2::TEXT,{n})" for n in range(1, 1000))
    insert = "INSERT INTO t (a, b, c) VALUES "
    one = shown(insert + "($1, $2::TEXT, 0)", "postgresql")
    assert "INSERT INTO t (a, b, c) VALUES (?, ?::TEXT, ?)" == one.text
    assert one == shown(insert + rows, "postgresql")


@pytest.mark.parametrize("other", ["SELECT a FROM u", "SELECT b FROM t", "SELECT a FROM t WHERE a = 1", "DROP TABLE t"])
def test_other_statements(other: str) -> None:
    """They have other fingerprints."""
    assert shown("SELECT a FROM t", "sqlite").fingerprint != shown(other, "sqlite").fingerprint


def test_what_nobody_can_read() -> None:
    """Of a statement that is no SQL nothing is shown, since nobody knows where its values are."""
    text, fingerprint = shown("SELECT 'secret", "postgresql")
    assert ("(not readable)", 16) == (text, len(fingerprint))


def test_long_statements() -> None:
    """What comes after thousands of characters is left out; the fingerprint counts it."""
    long = "SELECT " + ", ".join(f"column{n}" for n in range(2000))
    assert 4003 == len(shown(long, "sqlite").text)
    assert shown(long, "sqlite").fingerprint != shown(f"{long} FROM t", "sqlite").fingerprint

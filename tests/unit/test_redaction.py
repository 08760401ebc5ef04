"""Texts without secrets."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL

from core import redaction
from core.redaction import MARK, SHORTEST, Redaction, hide, redact, redact_values, redacted_traceback

SECRET = "p@ss/wörd \"'%\\\n1"
EMOJI = SECRET + "\U0001f600"
FORMS = {
    "as it is": SECRET,
    "repr": repr(SECRET),
    "bytes": repr(SECRET.encode()),
    "JSON": json.dumps(SECRET),
    "JSON in UTF-8": json.dumps(SECRET, ensure_ascii=False),
    "escaped": SECRET.encode("unicode_escape").decode(),
    "percent-encoded": quote(SECRET, safe=""),
    "percent-encoded but for slashes": quote(SECRET),
    "percent-encoded in lower case": "p%40ss%2fw%c3%b6rd%20%22%27%25%5c%0a1",
    "form": quote_plus(SECRET),
    "quoted twice": json.dumps(repr([f"{SECRET}'", f'{SECRET}"'])),
    "quoted thrice": repr(json.dumps(repr([f"{SECRET}'", f'{SECRET}"']))),
    "SQLAlchemy": URL.create("mysql", "app", SECRET, "db").render_as_string(hide_password=False),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form):
    """A secret is found as it is, quoted and encoded."""
    hide(SECRET)
    shown = redact(f"before {FORMS[form]} after")

    assert shown.startswith("before ")
    assert MARK in shown
    assert [] == [part for part in ("ss", "wö", "%C3", "%c3", "\\u00f6", "\\xf6", "\\xc3") if part in shown]


def test_the_rest_is_untouched():
    """What is no secret stays."""
    hide("hunter2")

    assert "login of app with ***, twice: ***" == redact("login of app with hunter2, twice: hunter2")
    assert "see https://example.org:8883/a?b=c" == redact("see https://example.org:8883/a?b=c")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://app:hun%40ter@db/plant",
        "mysql://app:hun@ter@db/plant",
        "mysql+aiomysql://app:hun@ter@db:3306/plant?x=1",
        "mysql://db/plant?user=app&password=hun%40ter",
        "mysql://db/plant?sslpassword=hun@ter",
    ],
)
def test_passwords_of_urls(url):
    """Of a URL the password is hidden, in its user part and in its query, encoded or not; its host is not."""
    hide(url)

    assert "hun" not in redact(f"{url} hun%40ter hun@ter")
    assert "app db plant" == redact("app db plant")


def test_passwords_that_look_like_a_query():
    """A password with a question mark that nobody has encoded is a password still."""
    hide("mysql://app:hun?ter@db/plant")

    assert "***" == redact("hun?ter")


def test_passwords_of_unknown_urls():
    """The password of any URL is left out, though nobody has called it a secret."""
    assert "from amqp://app:***@host/x to mqtt://host:1883" == redact(
        "from amqp://app:pa:ss@host/x to mqtt://host:1883"
    )
    assert '{"url": "redis://:***@host"}' == redact('{"url": "redis://:secret@host"}')


def test_short_secrets():
    """A word of a few letters would leave gaps in every text."""
    hide("abc")
    hide("  abcd\n")

    assert 4 == SHORTEST
    assert "abc ***" == redact("abc abcd")


def test_secrets_that_begin_alike():
    """The longer one is found first, so that no end of it is left over."""
    for secret in ("hunter", "hunter2", "hunter22"):
        hide(secret)

    assert "***, ***, ***" == redact("hunter22, hunter, hunter2")


def test_values():
    """Values of any kind are redacted before somebody quotes them."""
    hide("hunter2")
    hide("123456")

    class Account:
        def __repr__(self):
            return "Account('hunter2')"

    assert {
        "a": ["***", 1, 1.5, None, True, "***"],
        "***": {"b": ["b'***'"]},
        "c": "Account('***')",
        "d": "ValueError('***')",
    } == redact_values(
        {
            "a": ["hunter2", 1, 1.5, None, True, 123456],
            "hunter2": {"b": (b"hunter2",)},
            "c": Account(),
            "d": ValueError("hunter2"),
        }
    )


def test_endless_values():
    """A value that contains itself has an end."""
    endless = []
    endless.append(endless)

    assert "[...]" in str(redact_values(endless)).replace("'", "")


def test_traceback():
    """Messages of all causes are redacted, and there are no local variables."""
    hide("hunter2")
    password = "hunt" + "er2"
    try:
        try:
            raise KeyError(password)
        except KeyError as error:
            raise ValueError(f"no {password}") from error
    except ValueError as error:
        text = redacted_traceback(error)

    assert "KeyError: '***'" in text
    assert text.endswith("ValueError: no ***\n")
    assert "hunter2" not in text


def test_repr():
    """Not even the object that knows the secrets shows them."""
    hide("hunter2")

    assert "<Redaction of 1 texts>" == repr(redaction._process)


@given(st.text(min_size=SHORTEST).filter(lambda text: len(text.strip()) >= SHORTEST), st.text(max_size=20))
def test_any_text(secret, text):
    """Whatever a secret consists of, it does not come through."""
    one = Redaction()
    one.hide(secret)

    shown = one.redact(text + secret + text)
    assert MARK in shown
    assert secret.strip() not in shown.replace(MARK, "\0")


@given(st.text(min_size=SHORTEST, max_size=30).filter(lambda text: len(text.strip()) >= SHORTEST), st.data())
def test_any_quotation(secret, data):
    """Quoting and encoding, in any order, do not bring it through."""
    one = Redaction()
    one.hide(secret)
    text = secret.strip()
    for quoted in data.draw(st.lists(st.sampled_from([repr, ascii, json.dumps]), max_size=3)):
        text = quoted(text)

    assert "" == one.redact(text).replace(MARK, "").strip("\"'\\")


@pytest.mark.parametrize("text", ["://a:", "\\", "\\x", "%", "p%4"])
def test_long_texts(text):
    """A stranger's text costs no more than its length: these end."""
    hide(SECRET)
    hide("\\" * 12 + "x")
    redact(text * 200_000)

"""The log: what is written, and how."""

import io
import json
import logging
import warnings

import pytest
import sqlalchemy
import structlog

from config.logging import LoggingSettings, configure_logging
from core.redaction import hide

TOUCHED = ("", "amqtt", "transitions", "sqlalchemy.engine.Engine")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def restore():
    """Undo what configure_logging does to the process."""
    loggers = [logging.getLogger(name) for name in TOUCHED]
    logging.captureWarnings(False)
    former = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, former, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
    structlog.reset_defaults()


def configured(stream=None, **fields):
    stream = stream or io.StringIO()
    configure_logging(LoggingSettings(**fields), stream)
    return stream


def records(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failure(log):
    password = "s3" + "cret"
    try:
        raise ValueError("no such\x1b[2Jvalue")
    except ValueError:
        log.exception("failed")
    return password


def test_json_record():
    """Elsewhere than in a terminal a record is a JSON object: UTC time, level, logger, event, the rest."""
    stream = configured()
    structlog.get_logger("core.ingest").info("stored", topic="a/b", rows=2)
    (record,) = records(stream)

    assert ["timestamp", "level", "logger", "event", "topic", "rows"] == list(record)
    assert record.pop("timestamp").endswith("Z")
    assert {"level": "info", "logger": "core.ingest", "event": "stored", "topic": "a/b", "rows": 2} == record


def test_json_exception():
    """An exception is one field of text with the traceback."""
    stream = configured()
    failure(structlog.get_logger("x"))
    (record,) = records(stream)

    assert record["exception"].startswith("Traceback")


def test_standard_library():
    """The standard library's records have the same form."""
    stream = configured()
    logging.getLogger("mqtt").warning("lost %s", "connection")
    (record,) = records(stream)

    assert ("warning", "mqtt", "lost connection") == (record["level"], record["logger"], record["event"])


def test_standard_library_exception():
    """The standard library's exceptions have the same form."""
    stream = configured()
    failure(logging.getLogger("x"))
    (record,) = records(stream)

    assert record["exception"].startswith("Traceback")


def test_context_variables():
    """What is bound to the context is part of each record."""
    stream = configured()
    with structlog.contextvars.bound_contextvars(worker=1):
        structlog.get_logger("x").info("stored")
        logging.getLogger("x").info("stored")

    assert [1, 1] == [record["worker"] for record in records(stream)]


def test_level():
    """What is below the level is not written."""
    stream = configured(level="WARNING")
    for log in (structlog.get_logger("x"), logging.getLogger("x")):
        log.info("hidden")
        log.warning("shown")

    assert ["shown", "shown"] == [record["event"] for record in records(stream)]


@pytest.mark.parametrize("name", ["amqtt.broker", "transitions.core"])
def test_talkative_libraries(name):
    """Libraries that log each packet are heard from WARNING on."""
    stream = configured(level="DEBUG")
    logging.getLogger(name).info("hidden")
    logging.getLogger(name).warning("shown")

    assert ["shown"] == [record["event"] for record in records(stream)]


def test_talkative_libraries_obey_a_higher_level():
    """A level above WARNING holds for these libraries too."""
    stream = configured(level="ERROR")
    logging.getLogger("amqtt.broker").warning("hidden")

    assert [] == records(stream)


def test_again():
    """Another call replaces the first: nothing is written twice or to the former stream."""
    former, stream = configured(), configured(level="DEBUG")
    structlog.get_logger("x").debug("once")
    logging.getLogger("x").debug("once")

    assert ([], ["once", "once"]) == (records(former), [record["event"] for record in records(stream)])


def test_logger_made_before():
    """A logger that a module made at import, and used, follows a later call."""
    configured()
    log = structlog.get_logger("x")
    log.info("first")
    stream = configured(level="DEBUG")
    log.debug("second")

    assert ["second"] == [record["event"] for record in records(stream)]


def test_standard_error(capsys):
    """Without a stream the log goes to standard error."""
    configure_logging(LoggingSettings(format="json"))
    structlog.get_logger("x").info("stored")
    captured = capsys.readouterr()

    assert ("", "stored") == (captured.out, json.loads(captured.err)["event"])


def test_warnings():
    """Python's warnings are records too, so that no line is anything but JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        stream = configured()
        warnings.warn("coroutine was never awaited", RuntimeWarning, stacklevel=1)

    assert ["py.warnings"] == [record["logger"] for record in records(stream)]


def test_sqlalchemy_echo(capsys):
    """SQLAlchemy's echo comes through the log, and only there."""
    stream = configured()
    engine = sqlalchemy.create_engine("sqlite://", echo=True)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
    engine.dispose()

    assert "SELECT 1" in [record["event"] for record in records(stream)]
    assert "" == capsys.readouterr().out


def test_terminal(monkeypatch):
    """In a terminal a record is a readable, coloured line."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = configured(Terminal())
    structlog.get_logger("x").info("stored", rows=2)

    assert "\x1b[" in stream.getvalue()
    assert "stored" in stream.getvalue()


def test_no_colour(monkeypatch):
    """NO_COLOR leaves the colours out."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = configured(Terminal())
    structlog.get_logger("x").info("stored", rows=2)

    assert "\x1b" not in stream.getvalue()
    assert "rows=2" in stream.getvalue()


def test_console_without_terminal():
    """The console form may be asked for anywhere, and is plain there."""
    stream = configured(format="console")
    structlog.get_logger("x").info("stored", rows=2)

    assert "\x1b" not in stream.getvalue()
    assert "rows=2" in stream.getvalue()


def test_json_in_terminal():
    """JSON may be asked for in a terminal."""
    stream = configured(Terminal(), format="json")
    structlog.get_logger("x").info("stored")

    assert ["stored"] == [record["event"] for record in records(stream)]


def test_control_characters():
    """A stranger's control characters reach no terminal, neither in values nor in events."""
    stream = configured(format="console")
    structlog.get_logger("x").info("from\x1b[2J", topic="a/\x1b[2J\nb/ü")
    lines = stream.getvalue().splitlines()

    assert 1 == len(lines)
    assert "\x1b" not in lines[0]
    assert "a/\\x1b[2J\\nb/ü" in lines[0]


def test_console_traceback():
    """A traceback shows its lines, but neither local variables nor control characters."""
    stream = configured(format="console")
    password = failure(structlog.get_logger("x"))

    assert "Traceback" in stream.getvalue()
    assert password not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_forged_records():
    """A line break in what a stranger sent begins no line that could be taken for another record."""
    stream = configured(format="console")
    try:
        raise ValueError("no\n2026-11-21T00:00:00Z [info] all is well\r\u2028[info] really")
    except ValueError:
        structlog.get_logger("x").exception("failed\n2026 [info]", topic="a\n2026 [info]", rows=["b\n2026 [info]"])
    first, *rest = stream.getvalue().splitlines()

    assert 3 == first.count("\\n2026 [info]")
    assert [] == [line for line in rest if not line.startswith((" ", "Traceback"))]


@pytest.mark.parametrize(("name", "value"), [("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml")])
def test_wrong_values(problems, name, value):
    """A value outside of what is allowed is a problem of its variable."""
    assert [name] == [line.split()[0] for line in problems({name: value})]


def test_case():
    """Upper and lower case are the same."""
    settings = LoggingSettings(level="debug", format="JSON")

    assert ("DEBUG", "json") == (settings.level, settings.format)


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets(form):
    """No secret is written: not in events, fields and exceptions, whoever logs them and however they are quoted."""
    secret = 'zq"xj\\ü/1'
    hide(secret)
    stream = configured(Terminal(), level="DEBUG", format=form)
    structlog.get_logger("x").info(f"log in with {secret}", login={"password": [secret]}, error=ValueError(secret))
    logging.getLogger("y").debug("log in with %r", secret, stack_info=True)
    try:
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("y").exception("failed")
        structlog.get_logger("x").exception("failed")
    lines = stream.getvalue()

    assert "xj" not in lines
    assert 6 <= lines.count("***")


def test_lost_records(capsys):
    """A record that cannot be formatted is reported without its arguments, which may be secret."""
    stream = configured()
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "x.py", 7, "%d", ("can" + "ary",), None)
    logging.getLogger().handlers[-1].handle(record)  # pytest's own handler would raise
    captured = capsys.readouterr()

    assert "x.py:7" in stream.getvalue()
    assert "TypeError" in stream.getvalue()
    assert "canary" not in stream.getvalue() + captured.err

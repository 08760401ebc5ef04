"""Settings of the flow of messages."""

import pytest

import config


@pytest.mark.parametrize(
    ("written", "number"),
    [("1", 1), ("67108864", 67_108_864), ("64MiB", 67_108_864), ("512 KiB", 524_288), ("1MB", 1_000_000)],
)
def test_window_bytes(written, number):
    """A number of bytes may have a unit."""
    assert number == config.load(None, {"INGEST_WINDOW_BYTES": written}).ingest.window_bytes


@pytest.mark.parametrize(("written", "seconds"), [("0.5", 0.5), ("2m", 120.0)])
def test_handler_timeout(written, seconds):
    """A timeout is a number of seconds or has a unit."""
    assert seconds == config.load(None, {"HANDLER_TIMEOUT": written}).ingest.handler_timeout


def test_clock_skew():
    """Five minutes, or what is set."""
    assert (300.0, 60.0) == tuple(
        config.load(None, each).ingest.max_clock_skew for each in ({}, {"MAX_CLOCK_SKEW": "1m"})
    )


def test_no_drain():
    """A service may stop without waiting."""
    assert 0.0 == config.load(None, {"DRAIN_TIMEOUT": "0"}).ingest.drain_timeout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INGEST_WINDOW", "0"),
        ("INGEST_WINDOW", "65536"),
        ("INGEST_WINDOW", "1.5"),
        ("INGEST_WINDOW_BYTES", "0"),
        ("INGEST_WINDOW_BYTES", "-1"),
        ("INGEST_WINDOW_BYTES", "64 apples"),
        ("HANDLER_TIMEOUT", "0"),
        ("HANDLER_TIMEOUT", "inf"),
        ("HANDLER_TIMEOUT", "1.2.3"),
        ("DRAIN_TIMEOUT", "-1"),
        ("MAX_CLOCK_SKEW", "-1"),
    ],
)
def test_wrong_values(problems, name, value):
    """A value outside of what is allowed is a problem of its variable."""
    assert [name] == [line.split()[0] for line in problems({name: value})]

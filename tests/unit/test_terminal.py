"""What reaches a terminal."""

import subprocess
import sys

import pytest

from core.redaction import hide
from core.terminal import printable, readable

UNCAUGHT = """
import sys, threading
from core.redaction import hide
from core.terminal import redact_uncaught

hide("s3cret")
redact_uncaught()

class Fragile:
    def __del__(self):
        raise ValueError("unraisable s3cret")

def fail():
    raise KeyError("threaded s3cret\\x1b[2J")

Fragile()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
try:
    raise ValueError("cause s3cret")
except ValueError as error:
    raise RuntimeError("end s3cret") from error
"""


def test_printable():
    """Control characters, and marks that turn the direction of writing, are spelled out; letters of any script stay."""
    assert "ä/\u65e5 \\x1b[2J\\n\\x00\\u202e\\x9b" == printable("ä/\u65e5 \x1b[2J\n\0\u202e\x9b")
    assert "a\nb\\r" == printable("a\nb\r", keep="\n")


def test_readable():
    """A message of several lines stays one, without secrets."""
    hide("s3cret")

    assert "one ***\n\ttwo\\x1b" == readable("one s3cret\n\ttwo\x1b")


def test_uncaught_errors():
    """What Python itself prints at its end, for a thread or for a finalizer, holds no secret."""
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False)

    assert 1 == done.returncode
    assert "s3cret" not in done.stderr
    assert "\x1b" not in done.stderr
    assert [
        "ValueError: unraisable ***",
        "KeyError: 'threaded ***\\x1b[2J'",
        "ValueError: cause ***",
        "RuntimeError: end ***",
    ] == [line for line in done.stderr.splitlines() if line.partition(":")[0].endswith("Error")]


@pytest.mark.parametrize("text", ["", "plain", "two\nlines"])
def test_harmless_text(text):
    """Nothing else is changed."""
    assert text == readable(text)

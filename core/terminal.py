"""What people read in a terminal holds no secret, and no control character of a stranger's."""

import sys
import threading
import traceback

from core.redaction import redact

__all__ = ["printable", "readable", "redact_uncaught"]


def printable(text: str, keep: str = "") -> str:
    """Write control characters, and others that cannot be printed, as escape sequences.

    Args:
        text: What a stranger may have sent, a topic for example.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def readable(text: str) -> str:
    """A text of any number of lines for the terminal: redacted and printable."""
    return printable(redact(text), keep="\n\t")


def redact_uncaught() -> None:
    """Let Python print errors that nobody catches, of threads and finalizers too, without secrets."""
    sys.excepthook = lambda _, error, __: _print_error("", error)
    threading.excepthook = lambda arguments: _print_error("in a thread: ", arguments.exc_value)
    sys.unraisablehook = lambda unraisable: _print_error(
        f"{unraisable.err_msg or 'ignored'} in {unraisable.object!r}: ", unraisable.exc_value
    )


def _print_error(introduction: str, error: BaseException | None) -> None:
    if error is not None:
        print(readable(introduction + "".join(traceback.format_exception(error))), end="", file=sys.stderr)

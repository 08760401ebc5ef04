"""Settings of the log, and its set-up: readable in a terminal, one JSON object per line otherwise."""

import logging
import os
import sys
from contextlib import suppress
from typing import Annotated, Literal, TextIO

import structlog
from pydantic import BeforeValidator
from structlog.typing import EventDict, Processor, WrappedLogger

from config._group import Group, Lowercase, setting
from core.redaction import redact, redact_values
from core.terminal import printable

__all__ = ["LoggingSettings", "configure_logging"]

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Uppercase = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)

TALKATIVE = ("alembic", "amqtt", "transitions")
"""Libraries that log every packet, state change or step at INFO."""

LEADING_KEYS = ("timestamp", "level", "logger", "event")
MULTILINE_KEYS = ("exception", "stack")


class LoggingSettings(Group):
    """What is logged, and how it is written."""

    level: Annotated[Level, Uppercase] = setting("LOG_LEVEL", "INFO", allowed="DEBUG, INFO, WARNING, ERROR or CRITICAL")
    format: Annotated[Literal["auto", "console", "json"], Lowercase] = setting(
        "LOG_FORMAT", "auto", allowed="auto, console or json"
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Told apart by its class from the handlers that others added to the root logger."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Report a record that cannot be written; logging itself would print its arguments, secrets among them."""
        with suppress(OSError, ValueError):  # a stream that is closed
            self.stream.write(
                f"log record of {record.pathname}:{record.lineno} lost: {redact(repr(sys.exception()))}\n"
            )


def configure_logging(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records through one formatter; may be called again.

    Args:
        settings: Level and format.
        stream: Where to write; standard error if not given.
    """
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level]
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A cached logger would keep the level of the first call.
        cache_logger_on_first_use=False,
    )
    colors = stream.isatty() and not os.environ.get("NO_COLOR")
    renderers: list[Processor] = (
        [_escape, structlog.dev.ConsoleRenderer(colors=colors)]
        if console
        else [_in_order, structlog.processors.JSONRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=common,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # As text, also for the console: its own tracebacks show local variables, passwords among them.
            structlog.processors.format_exc_info,
            _redact,
            *renderers,
        ],
    )
    handler = _Handler(stream)
    handler.setFormatter(formatter)
    _install(handler, level)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for former in [former for former in root.handlers if isinstance(former, _Handler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # Unless this logger has a handler, SQLAlchemy's echo gives it one of its own, and records show twice.
    engine = logging.getLogger("sqlalchemy.engine.Engine")
    if not engine.handlers:
        engine.addHandler(logging.NullHandler())
    logging.captureWarnings(True)


def _redact(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    return {key: redact_values(value) for key, value in event_dict.items()}


def _in_order(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    leading = {key: event_dict[key] for key in LEADING_KEYS if key in event_dict}
    return {**leading, **event_dict}


def _escape(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    # Topics and payloads come from strangers: their control characters must not reach the terminal.
    return {key: _escaped(key, value) if isinstance(value, str) else value for key, value in event_dict.items()}


def _escaped(key: str, text: str) -> str:
    if key in MULTILINE_KEYS:
        # Indented, or a message with a line break could end in what looks like another record.
        return printable(text, keep="\n\t").replace("\n", "\n  ")
    return printable(text)

"""What paho logs."""

import logging

__all__ = ["Diary"]


class Diary(logging.Handler):
    """Keeps the last error that paho logs: it names causes, TLS alerts for one, only there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def logger(self) -> logging.Logger:
        """A logger of its own, or paho would report to stderr what is reported as an exception too."""
        logger = logging.Logger("mqtt", logging.ERROR)
        logger.addHandler(self)
        return logger

    def emit(self, record: logging.LogRecord) -> None:
        """Take an error down."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        errors = [str(argument) for argument in arguments if isinstance(argument, Exception)]
        self.last = errors[-1] if errors else record.getMessage()

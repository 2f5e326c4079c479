"""The server's own log: one JSON object a line, on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_log = structlog.get_logger("recsys.serving")


def log_to_stderr() -> None:
    """Send this process's log to standard error; standard output is for what was asked for."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@contextmanager
def only_logged(event: str) -> Iterator[None]:
    """Log what the block raises, and no more: for threads whose end would be everybody's.

    Args:
        event: Of the line; there is none where the log cannot be written either.

    Yields:
        Nothing.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - what this is for
        log_error(event, error)


def log_error(event: str, error: Exception, **more: str) -> None:
    """Log an error where that is possible, without its text, which may quote a caller.

    Args:
        event: Of the line.
        error: What happened.
        more: What else the line says.
    """
    with contextlib.suppress(Exception):  # a full disk, nobody who reads standard error
        _log.error(event, found=type(error).__name__, **more)

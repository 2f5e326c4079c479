"""Where the server's own log goes: one JSON object a line, on standard error."""

from __future__ import annotations

import sys

import structlog


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

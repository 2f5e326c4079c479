"""Calls as lines: a request id on everything that is logged, one JSON object per call, one trace.

A request id comes from the metadata `x-request-id` where it is a plain token, and is made up
otherwise. It is all that a line has of a caller.
"""

from __future__ import annotations

import re
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final, TextIO

import structlog

from recsys.serving.listening import Call, CallListener

_HEADER: Final = "x-request-id"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: A trace is printed no more often than this, in seconds.
_TRACE_EVERY_S: Final = 1.0

_log = structlog.get_logger("recsys.serving")


class LogLines(CallListener):
    """Gives what is logged during a call the call's request id.

    Args:
        every_call: Write a line for each call, too.
    """

    def __init__(self, *, every_call: bool) -> None:
        super().__init__()
        self._every_call = every_call

    def began(self, call: Call) -> None:
        """Bind the request id to the thread of the call."""
        structlog.contextvars.bind_contextvars(request_id=request_id_of(call))

    def ended(self, call: Call, code: str, seconds: float) -> None:
        """Write the line, and let go of the request id."""
        if self._every_call:
            _log.info(
                "call",
                method=call.method,
                code=code,
                ms=round(seconds * 1000, 3),
                candidates=call.n_candidates,
                stages_ms={t.stage: round(t.seconds * 1000, 3) for t in call.stages},
            )
        structlog.contextvars.unbind_contextvars("request_id")

    def call_passed(
        self, method: str, metadata: Sequence[tuple[str, str | bytes]], code: str, seconds: float
    ) -> None:
        """Write the line of a call during which nothing else could be written."""
        if self._every_call:
            super().call_passed(method, metadata, code, seconds)

    def call_refused(self, method: str, code: str) -> None:
        """Write the line of a call of which nothing was read."""
        if self._every_call:
            _log.info("call", method=method, code=code)


def request_id_of(call: Call) -> str:
    """Name a call.

    Returns:
        What its caller said, where it is a plain token; else something random.
    """
    for name, value in call.metadata:
        if name == _HEADER and isinstance(value, str) and _PLAIN.fullmatch(value):
            return value
    return secrets.token_hex(8)


class TraceLines(CallListener):
    """Prints the stages of a call, of one a second at most.

    Args:
        out: Where to; None: standard error.
        every_s: How often at most.
    """

    def __init__(self, out: TextIO | None = None, *, every_s: float = _TRACE_EVERY_S) -> None:
        super().__init__()
        self._out = out or sys.stderr
        self._every_s = every_s
        self._printed_at = -every_s
        self._lock = threading.Lock()

    def ended(self, call: Call, code: str, seconds: float) -> None:
        """Print it."""
        if not call.stages or not self._is_due():
            return
        lines = [f"{call.method} {code} {seconds * 1000:.2f} ms, {call.n_candidates} candidates"]
        told = 0.0
        for stage, _, took in call.stages:
            told += took
            lines.append(f"  {stage:<12} {took * 1000:8.3f} ms")
        lines.append(f"  {'the rest':<12} {max(0.0, seconds - told) * 1000:8.3f} ms")
        self._out.write("\n".join(lines) + "\n")
        self._out.flush()

    def _is_due(self) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._printed_at < self._every_s:
                return False
            self._printed_at = now
            return True

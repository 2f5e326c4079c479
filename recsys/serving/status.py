"""The one table from errors to gRPC statuses, for every RPC."""

from __future__ import annotations

import contextlib
import secrets
import traceback
from typing import Final

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from recsys import errors

#: The nearest class in an error's ancestry counts.
CODES: Final[dict[type[errors.RecsysError], grpc.StatusCode]] = {
    errors.RecsysError: grpc.StatusCode.INTERNAL,
    errors.RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.EventError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    errors.ScopeError: grpc.StatusCode.PERMISSION_DENIED,
    errors.OverloadError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UnknownModelError: grpc.StatusCode.NOT_FOUND,
    errors.BundleError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PluginError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CheckpointError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EncoderError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConfigError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WorkspaceError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TrainingError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BatchError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PageError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ProcessesError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LogError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.SpoolDamagedError: grpc.StatusCode.DATA_LOSS,
    errors.ImportStoppedError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RankingError: grpc.StatusCode.INTERNAL,
    errors.ServerError: grpc.StatusCode.INTERNAL,
}

#: A status travels in trailers, for which peers have room for 8 KiB; texts may quote what was sent.
_LONGEST_TEXT: Final = 300

_log = structlog.get_logger("recsys.serving")


def status_of(error: BaseException) -> Status:
    """Say what a caller hears of an error.

    Args:
        error: Any; the text of one that nobody expected stays here, under a reference.

    Returns:
        Its status, with a `BadRequest` for each field at fault.
    """
    code = code_of(error)
    if code is grpc.StatusCode.INTERNAL:
        return Status(code=code.value[0], message=_record(error))
    status = Status(code=code.value[0], message=_clipped(str(error)))
    found = violations_of(error)
    if found:
        detail = Any()
        detail.Pack(_bad_request(found))
        status.details.append(detail)
    return status


def code_of(error: BaseException) -> grpc.StatusCode:
    """Find an error's status code.

    Returns:
        `INTERNAL` for what is no error of this project.
    """
    for ancestor in type(error).__mro__:
        if ancestor in CODES:
            return CODES[ancestor]
    return grpc.StatusCode.INTERNAL


def violations_of(error: BaseException) -> list[tuple[str, str]]:
    """List the fields at fault.

    Returns:
        (field, description) pairs; empty when the error is not about fields.
    """
    found: list[tuple[str, str]] = []
    if isinstance(error, errors.RequestError):
        found = error.violations
    elif isinstance(error, errors.EventError):
        found = [(error.field, error.reason)]
    return [(_clipped(field), _clipped(description)) for field, description in found]


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ..."


def _bad_request(violations: list[tuple[str, str]]) -> BadRequest:
    return BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field=field, description=description)
            for field, description in violations
        ]
    )


def _record(error: BaseException) -> str:
    """Log where an error came from; not its text, which may quote what a caller sent.

    Returns:
        What the caller is told: a reference to the log.
    """
    reference = secrets.token_hex(8)
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    # A log that cannot be written must not turn into the text that the caller gets.
    with contextlib.suppress(Exception):
        _log.error("internal error", reference=reference, error=type(error).__name__, where=where)
    return f"internal error; the server's log has it as {reference}"

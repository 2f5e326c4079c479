"""One table covers every error; what nobody expected keeps its text to itself."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from structlog.testing import capture_logs

import recsys.serving.server  # noqa: F401 - defines every error that a server can meet
from recsys.errors import EventError, LogError, RecsysError, RequestError, UnknownModelError
from recsys.serving.status import CODES, code_of, status_of


def all_subclasses(cls):
    return {cls}.union(*(all_subclasses(sub) for sub in cls.__subclasses__()))


def fail(kind):
    text = "user 4711 likes secrets"
    raise kind(text)


def test_every_error_of_the_project_has_a_line_in_the_table():
    mine = {cls for cls in all_subclasses(RecsysError) if cls.__module__.startswith("recsys")}
    assert mine == set(CODES)


def test_an_error_that_is_derived_elsewhere_has_the_code_of_its_nearest_ancestor():
    class DiskError(LogError):
        pass

    assert code_of(DiskError.__new__(DiskError)) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_field_violations_become_details():
    status = status_of(RequestError([("top_k", "is -1"), ("user_id", "is too long")]))
    detail = BadRequest()
    assert status.details[0].Unpack(detail)
    found = [(v.field, v.description) for v in detail.field_violations]
    assert found == [("top_k", "is -1"), ("user_id", "is too long")]


def test_an_event_error_names_its_field():
    detail = BadRequest()
    assert status_of(EventError("is odd", field="value")).details[0].Unpack(detail)
    assert detail.field_violations[0].field == "value"


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, RecsysError, MemoryError])
def test_an_unexpected_error_is_told_by_reference_and_logged_without_its_text(kind):
    with pytest.raises(kind) as raised:
        fail(kind)
    with capture_logs() as logs:
        status = status_of(raised.value)
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert logs[0]["reference"] in status.message
    assert logs[0]["error"] == kind.__name__
    assert "test_status.py" in logs[0]["where"][-1]
    assert "4711" not in status.message + str(logs)


def test_a_status_stays_small_whatever_was_sent():
    long_name = "\N{SNOWMAN}" * 100_000
    for error in (
        RequestError([(f"context.{long_name}", long_name)]),
        UnknownModelError(long_name, []),
        EventError(long_name, field=long_name),
    ):
        assert status_of(error).ByteSize() < 4096

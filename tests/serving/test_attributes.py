"""How many attributes there may be, and how long they may be."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct

from recsys.errors import EventError
from recsys.serving.attributes import attributes_of


def struct_of_one(value):
    struct = Struct()
    struct.update({"a": value})
    return struct


@pytest.mark.parametrize("value", ["x" * 65_536, ["x" * 65_536], [0.5] * 10_000])
def test_what_just_fits_is_read(value):
    assert attributes_of(struct_of_one(value), "context") == {"a": value}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("x" * 65_537, "65537 characters"),
        (["x", "x" * 65_537], "65537 characters"),
        ([0.5] * 10_001, "10001 values"),
    ],
)
def test_what_is_too_long_is_refused_by_name(value, found):
    with pytest.raises(EventError, match=found) as refused:
        attributes_of(struct_of_one(value), "context")
    assert refused.value.field == "context.a"


def test_too_many_attributes_are_refused():
    struct = Struct()
    struct.update({str(n): 1.0 for n in range(256)})
    assert len(attributes_of(struct, "context")) == 256
    struct.update({"one more": 1.0})
    with pytest.raises(EventError, match="257 attributes"):
        attributes_of(struct, "context")


def test_a_name_that_is_too_long_is_refused():
    struct = Struct()
    struct.update({"n" * 257: 1.0})
    with pytest.raises(EventError, match="a name of 257 characters"):
        attributes_of(struct, "context")

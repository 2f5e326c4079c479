"""Free-form attributes between `google.protobuf.Struct` and the domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from recsys.errors import EventError
from recsys.schema import Attributes, AttributeValue

_SCALARS: Final = frozenset({"string_value", "number_value", "bool_value"})


def attributes_of(struct: Struct, field: str) -> Attributes:
    """Read attributes.

    Args:
        struct: As it came.
        field: Its name, for errors.

    Returns:
        Values by name, of the types that a log can hold.

    Raises:
        EventError: Names the first attribute whose value has no such type, or is not finite.
    """
    return {
        name: _value_of(value, f"{field}.{name}" if name else field)
        for name, value in struct.fields.items()
    }


def struct_of(attributes: Mapping[str, AttributeValue]) -> Struct:
    """Write attributes.

    Returns:
        The message.
    """
    struct = Struct()
    struct.update(attributes)
    return struct


def _value_of(value: Value, field: str) -> AttributeValue:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return _list_of(value.list_value, field)
    if kind not in _SCALARS:
        expected = "text, number, boolean or a list of texts or numbers"
        raise EventError(field=field, reason=f"is null or nested; expected {expected}")
    found: AttributeValue = getattr(value, kind)
    if kind == "number_value" and not math.isfinite(value.number_value):
        raise EventError(field=field, reason="is not finite; expected a finite number")
    return found


def _list_of(found: ListValue, field: str) -> list[str] | list[float]:
    kinds = {value.WhichOneof("kind") for value in found.values}
    if kinds <= {"string_value"}:
        return [value.string_value for value in found.values]
    if kinds != {"number_value"}:
        expected = "texts only or numbers only"
        raise EventError(field=field, reason=f"is a mixed list; expected {expected}")
    numbers = [value.number_value for value in found.values]
    if not all(map(math.isfinite, numbers)):
        raise EventError(field=field, reason="is not finite; expected finite numbers")
    return numbers

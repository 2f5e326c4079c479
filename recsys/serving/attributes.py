"""Free-form attributes between `google.protobuf.Struct` and the domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from recsys.errors import EventError
from recsys.schema import MAX_ID_LENGTH, MAX_LIST_LENGTH, Attributes, AttributeValue

#: Of one item, user, interaction or context.
MAX_ATTRIBUTES: Final = 256
#: Characters of one value; an article fits, a book does not.
MAX_TEXT_LENGTH: Final = 65_536

_SCALARS: Final = frozenset({"string_value", "number_value", "bool_value"})


def attributes_of(struct: Struct, field: str) -> Attributes:
    """Read attributes.

    Args:
        struct: As it came.
        field: Its name, for errors.

    Returns:
        Values by name, of the types that a log can hold.

    Raises:
        EventError: They are too many or too long; or names the first attribute whose value has no
            such type, or is not finite.
    """
    if len(struct.fields) > MAX_ATTRIBUTES:
        found = f"has {len(struct.fields)} attributes"
        raise EventError(field=field, reason=f"{found}; expected at most {MAX_ATTRIBUTES}")
    longest = max(map(len, struct.fields), default=0)
    if longest > MAX_ID_LENGTH:
        found = f"has a name of {longest} characters"
        raise EventError(field=field, reason=f"{found}; expected at most {MAX_ID_LENGTH}")
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
    if isinstance(found, str):
        _check_text(found, field)
    if kind == "number_value" and not math.isfinite(value.number_value):
        raise EventError(field=field, reason="is not finite; expected a finite number")
    return found


def _list_of(found: ListValue, field: str) -> list[str] | list[float]:
    if len(found.values) > MAX_LIST_LENGTH:
        length = f"has {len(found.values)} values"
        raise EventError(field=field, reason=f"{length}; expected at most {MAX_LIST_LENGTH}")
    kinds = {value.WhichOneof("kind") for value in found.values}
    if kinds <= {"string_value"}:
        texts = [value.string_value for value in found.values]
        for text in texts:
            _check_text(text, field)
        return texts
    if kinds != {"number_value"}:
        expected = "texts only or numbers only"
        raise EventError(field=field, reason=f"is a mixed list; expected {expected}")
    numbers = [value.number_value for value in found.values]
    if not all(map(math.isfinite, numbers)):
        raise EventError(field=field, reason="is not finite; expected finite numbers")
    return numbers


def _check_text(text: str, field: str) -> None:
    if len(text) > MAX_TEXT_LENGTH:
        found = f"has {len(text)} characters"
        raise EventError(field=field, reason=f"{found}; expected at most {MAX_TEXT_LENGTH}")

"""What the cells of a table of texts mean: numbers, switches, lists, instants, or texts.

A CSV file has no types. What a column holds is told from its first rows, and a later cell that is
none of it is refused: half a column of numbers and half of texts would be two attributes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.codec import microseconds_of
from recsys.schema import AttributeValue

#: What programs write where there is nothing.
NOTHING: Final = frozenset({"", "NULL", "null", "\\N", "NaN", "nan", "NaT", "NA", "None"})
#: Between the texts of a list.
_BETWEEN: Final = "|"
_SWITCHES: Final = {"true": True, "false": False}
#: Longer whole numbers are not kept by a float: codes, phone numbers.
_MOST_DIGITS: Final = 15
#: Fewer are no seconds of an instant but a day written as 20240131, or a spreadsheet's: 1973.
_LEAST_SECONDS: Final = 100_000_000
#: The largest number of seconds, milliseconds and microseconds that is taken for one.
_UNITS: Final = (
    (100_000_000_000, 1_000_000, 1),
    (100_000_000_000_000, 1_000, 1),
    (100_000_000_000_000_000, 1, 1),
    (math.inf, 1, 1_000),
)
#: A comma before what cannot be thousands shows that a column has commas for points.
_COMMA: Final = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),(\d{1,2}|\d{4,})")
_WITH_COMMA: Final = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+(,\d+)?|\d+,\d+)")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]\d+)?", re.ASCII)
#: What ends so is an id or a code, by words: not what was paid.
_CODE: Final = re.compile(r"(?i:(^|[^a-z])(id|zip|phone|sku|isbn|ean|gtin)|code)$|[a-z](Id|ID)$")
#: Share of the cells of a column of lists that have more than one part, at least.
_LIST_SHARE: Final = 0.1
_INSTANT: Final = (
    "expected RFC 3339, such as 2026-01-31 or 2026-01-31T12:00:00Z, or a number of seconds since "
    "1970 or parts of them; --time-format for others"
)


def is_nothing(cell: object) -> bool:
    """Say whether a cell is empty.

    Args:
        cell: What a file has in it.

    Returns:
        True for null, what is no number, and what programs write for them.
    """
    if cell is None or isinstance(cell, float):
        return cell is None or math.isnan(cell)
    return isinstance(cell, str) and cell.strip() in NOTHING


def instant_of(cell: object, time_format: str = "") -> int:
    """Read an instant.

    Args:
        cell: A text of RFC 3339 or a part of it (without a time zone it is UTC), an instant, a
            day, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970; which
            of these is told by how large it is.
        time_format: Of texts that are no RFC 3339, in the letters of `strptime`; it is tried first.

    Returns:
        Microseconds since the Unix epoch.

    Raises:
        EventError: It is none.
    """
    if isinstance(cell, datetime):
        return _microseconds(cell)
    if isinstance(cell, date):
        return _microseconds(datetime(cell.year, cell.month, cell.day, tzinfo=UTC))
    text = str(cell).strip()
    if time_format and (found := _of_format(text, time_format)) is not None:
        return found
    try:
        number = float(text)
    except ValueError:
        return _of_text(text)
    if not _LEAST_SECONDS <= number < math.inf:
        raise EventError(field="occurred_at", reason=f"is no instant; {_INSTANT}")
    _, times, parts = next(unit for unit in _UNITS if number < unit[0])
    return round(number * times / parts)


def _of_format(text: str, time_format: str) -> int | None:
    try:
        return _microseconds(datetime.strptime(text, time_format))  # noqa: DTZ007 - may have a zone
    except ValueError:
        return None


def _of_text(text: str) -> int:
    try:
        return _microseconds(datetime.fromisoformat(text.removesuffix(" UTC")))
    except ValueError as error:
        raise EventError(field="occurred_at", reason=f"is no instant; {_INSTANT}") from error


def _microseconds(instant: datetime) -> int:
    return microseconds_of(instant if instant.tzinfo else instant.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Column:
    """How the cells of a column are read.

    Args:
        kind: `number`, `number with a comma` (1.234,5), `switch`, `list`, `text`, or `code`: a
            text whatever it looks like.
    """

    kind: str

    def value(self, name: str, cell: Any) -> AttributeValue:  # noqa: ANN401 - whatever a file has
        """Read a cell that is not empty.

        Args:
            name: Of the column, for messages.
            cell: What a file has in it.

        Returns:
            Its value.

        Raises:
            EventError: It is not of the column's kind.
        """
        if not isinstance(cell, str):
            if self.kind == "code" and isinstance(cell, int | float) and cell == int(cell):
                return str(int(cell))
            return _typed(name, cell)
        try:
            return _READ[self.kind](cell)
        except (ValueError, KeyError) as error:
            reason = f"is no {self.kind}, which the first cells of the column are"
            raise EventError(field=name, reason=reason) from error


def column_of(name: str, cells: Iterable[object]) -> Column:
    """Tell what a column holds.

    Args:
        name: Of the column; what is called an id or a code is text, whatever it looks like.
        cells: The first ones.

    Returns:
        How to read it.
    """
    texts = [cell.strip() for cell in cells if isinstance(cell, str) and not is_nothing(cell)]
    if _CODE.search(name):
        return Column("code")
    if texts and all(text.lower() in _SWITCHES for text in texts):
        return Column("switch")
    if texts and all(map(_is_number, texts)):
        return Column("number")
    if any(_COMMA.fullmatch(text) for text in texts) and all(map(_is_comma_number, texts)):
        return Column("number with a comma")
    return Column("list" if _are_lists(texts) else "text")


def _are_lists(texts: list[str]) -> bool:
    # A title may have a bar too, hardly ever without spaces, and not many of them have.
    n_lists = sum(_BETWEEN in text for text in texts)
    return n_lists >= _LIST_SHARE * len(texts) > 0 and not any(" | " in text for text in texts)


def _is_number(text: str) -> bool:
    if not _NUMBER.fullmatch(text):
        return False
    digits = text.lstrip("+-").partition(".")[0]
    # Leading zeros, or more digits than a number keeps: a code.
    is_code = len(digits) > _MOST_DIGITS or (len(digits) > 1 and digits.startswith("0"))
    return not is_code and math.isfinite(float(text))


def _is_comma_number(text: str) -> bool:
    return bool(_WITH_COMMA.fullmatch(text)) or (_is_number(text) and "." not in text)


def _with_comma(text: str) -> float:
    plain = text.strip()
    if not _is_comma_number(plain):
        raise ValueError(text)
    return _finite(plain.replace(".", "").replace(",", "."))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _list(text: str) -> list[str]:
    return [part for found in text.split(_BETWEEN) if (part := found.strip())]


_READ: Final[dict[str, Callable[[str], AttributeValue]]] = {
    "number": _finite,
    "number with a comma": _with_comma,
    "switch": lambda text: _SWITCHES[text.strip().lower()],
    "list": _list,
    "text": str.strip,
    "code": str.strip,
}


def _typed(name: str, cell: Any) -> AttributeValue:  # noqa: ANN401 - whatever a file has
    """Turn a value of a Parquet column into one of an attribute.

    Returns:
        The value.

    Raises:
        EventError: It is of no type that attributes have.
    """
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, int | float | Decimal):
        return float(cell)
    if isinstance(cell, date):  # and instants
        return cell.isoformat()
    if isinstance(cell, list):
        parts = [part for part in cell if not is_nothing(part)]
        if all(isinstance(part, str) for part in parts):
            return parts
        if all(isinstance(part, int | float | Decimal) for part in parts):
            return [float(part) for part in parts]
    raise EventError(field=name, reason=f"is a value of type {type(cell).__name__}")

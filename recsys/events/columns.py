"""Whose columns mean what in a table of somebody else's: told by their names, or by the caller."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from recsys.errors import LogError

TableKind: TypeAlias = Literal["interactions", "items", "users"]

_USERS: Final = "user customer visitor member account client reader viewer shopper u"
_ITEMS: Final = (
    "item product article movie film book song track video news story document doc recipe game "
    "business listing hotel job course sku asin isbn i"
)
#: By field, what columns are called that hold it, letters and digits only.
_CALLED: Final[dict[str, tuple[str, ...]]] = {
    "user_id": tuple(f"{noun}{end}" for end in ("id", "") for noun in _USERS.split()),
    "item_id": tuple(f"{noun}{end}" for end in ("id", "") for noun in _ITEMS.split()),
    "occurred_at": (
        *("occurredat", "timestamp", "eventtime", "eventtimestamp", "datetime", "time", "date"),
        *("ts", "createdat", "unixtime", "reviewtime", "tdat", "invoicedate", "orderdate"),
    ),
    "type": ("type", "eventtype", "event", "action", "behavior", "behaviour", "feedbacktype"),
    "value": ("value", "rating", "score", "stars", "overall"),
    "session_id": ("sessionid", "session", "visitid"),
    "impression_id": ("impressionid",),
    "event_id": ("eventid",),
}
#: Of items and users an instant is only what is called so: a date of theirs may be any.
_KNOWN_FROM: Final = ("occurredat", "timestamp", "createdat", "publishedat", "publishedtime")
_FIELDS: Final[dict[TableKind, tuple[str, ...]]] = {
    "interactions": tuple(_CALLED),
    "items": ("item_id", "occurred_at", "event_id"),
    "users": ("user_id", "occurred_at", "event_id"),
}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What a caller says of tables.

    Args:
        columns: Names of columns by field, where they are not told by themselves.
        type: Of interactions, where no column says it.
        header: Names of the columns of files without a header, in their order.
        item_fields: Columns of interactions that say something of the item.
        time_format: Of instants that are texts but no RFC 3339, as for `strptime`.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    type: str = ""
    header: Sequence[str] = ()
    item_fields: Sequence[str] = ()
    time_format: str = ""


NOTHING_SAID: Final = TableOptions()


@dataclass(frozen=True, slots=True)
class TableColumns:
    """What the columns of one table mean.

    Args:
        kind: What its rows are.
        fields: Column by field of the event.
        others: Columns that are attributes.
        of_item: Those of them that say something of the item; of interactions only.
        type: Of interactions without a column for it.
    """

    kind: TableKind
    fields: dict[str, str]
    others: tuple[str, ...]
    of_item: tuple[str, ...] = ()
    type: str = ""

    @property
    def taken(self) -> str:
        """Say what was taken for what."""
        found = ", ".join(
            column if column == name else f"{column} as {name}"
            for name, column in self.fields.items()
        )
        what: str = self.kind if not self.type else f"{self.kind} of type {self.type!r}"
        for title, names in (("of the item", self.of_item), ("attributes", self._attributes)):
            found += f"; {title}: {', '.join(names)}" if names else ""
        return f"{what}: {found}"

    @property
    def _attributes(self) -> tuple[str, ...]:
        return tuple(name for name in self.others if name not in self.of_item)


def columns_of(path: Path, names: Sequence[str], options: TableOptions) -> TableColumns | None:
    """Tell what the columns of a table mean.

    Args:
        path: The file, for messages.
        names: Its columns.
        options: What the caller says.

    Returns:
        The meaning; None where the names say nothing of users and items.

    Raises:
        LogError: The caller names a column that is not there, or interactions have no instant.
    """
    found = _named(path, names, options)
    kind: TableKind
    if "user_id" in found and "item_id" in found:
        kind = "interactions"
    elif "session_id" in found and "item_id" in found and "occurred_at" in found:
        kind = "interactions"  # visits of people without a name
    elif "item_id" in found or "user_id" in found:
        kind = "items" if "item_id" in found else "users"
    else:
        return None
    fields = {name: found[name] for name in _FIELDS[kind] if name in found}
    if kind != "interactions":
        said = options.columns.get("occurred_at", fields.get("occurred_at", ""))
        if "occurred_at" not in options.columns and _plain(said) not in _KNOWN_FROM:
            fields.pop("occurred_at", None)
    elif "occurred_at" not in fields:
        raise LogError(
            path,
            f"columns {', '.join(names)}, none of which is known to be an instant",
            "one called occurred_at, timestamp, time, date, ..., or --column occurred_at=NAME",
        )
    others = tuple(name for name in names if name not in fields.values())
    interacts = kind == "interactions"
    return TableColumns(
        kind=kind,
        fields=fields,
        others=others,
        of_item=tuple(n for n in options.item_fields if n in others) if interacts else (),
        type=_type(fields, options) if interacts and "type" not in fields else "",
    )


def _named(path: Path, names: Sequence[str], options: TableOptions) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, called in _CALLED.items():
        by_name = {_plain(column): column for column in reversed(names)}
        said = options.columns.get(name)
        column = said or next((by_name[one] for one in called if one in by_name), "")
        # Several files may be imported at once, of which one has the column.
        if column in names and column not in found.values():
            found[name] = column
    unknown = sorted(set(options.columns) - set(_CALLED))
    if unknown:
        expected = f"one of {', '.join(_CALLED)}"
        raise LogError(path, f"--column {unknown[0]}=...", expected)
    return found


def _type(fields: Mapping[str, str], options: TableOptions) -> str:
    if options.type:
        return options.type
    value = fields.get("value", "")
    return "rating" if _plain(value) in {"rating", "stars", "overall"} else "interaction"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

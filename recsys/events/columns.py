"""Whose columns mean what in a table of somebody else's: told by their names, or by the caller."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from recsys.errors import LogError

TableKind: TypeAlias = Literal["interactions", "exposures", "items", "users"]

#: What programs call the numbers of their rows.
_UNNAMED: Final = re.compile(r"$|__index_level_\d+__$|Unnamed: \d+$")
#: Nouns that say by themselves whose ids a column has, and those that do with `id` behind.
_USERS: Final = "user customer visitor u"
_USER_IDS: Final = f"{_USERS} member account client reader viewer shopper"
_ITEMS: Final = "item product movie article book song track sku asin isbn i"
_ITEM_IDS: Final = f"{_ITEMS} film video news story document recipe game listing hotel job course"
#: By field, what columns are called that hold it, letters and digits only; the likeliest first.
_CALLED: Final[dict[str, tuple[str, ...]]] = {
    "user_id": (*(f"{noun}id" for noun in _USER_IDS.split()), *_USERS.split()),
    "item_id": (*(f"{noun}id" for noun in _ITEM_IDS.split()), *_ITEMS.split()),
    "occurred_at": (
        *("occurredat", "timestamp", "eventtime", "eventtimestamp", "datetime", "time", "date"),
        *("ts", "createdat", "unixtime", "reviewtime", "tdat", "invoicedate", "orderdate"),
    ),
    "type": ("type", "eventtype", "event", "action", "behavior", "behaviour", "feedbacktype"),
    "value": ("value", "rating", "score", "stars", "overall"),
    "session_id": ("sessionid", "session", "visitid"),
    "impression_id": ("impressionid",),
    "event_id": ("eventid",),
    "position": ("position", "rank", "slot"),
}
#: Of items and users only these are instants from which on they are known: a date may be any.
_KNOWN_FROM: Final = ("occurredat", "timestamp", "createdat", "publishedat", "publishedtime")
_FIELDS: Final[dict[TableKind, tuple[str, ...]]] = {
    "interactions": tuple(name for name in _CALLED if name != "position"),
    "exposures": (
        *("user_id", "item_id", "occurred_at", "session_id", "impression_id", "position"),
    ),
    "items": ("item_id", "occurred_at", "event_id"),
    "users": ("user_id", "occurred_at", "event_id"),
}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What a caller says of tables.

    Args:
        columns: Names of columns by field, where they are not told by themselves; an empty name:
            there is none.
        type: Of interactions; a column for it is an attribute then.
        header: Names of the columns of files without a header, in their order.
        item_fields: Columns of interactions that say something of the item.
        left_out: Columns that are not imported.
        time_format: Of instants that are texts but no RFC 3339, as for `strptime`.
        done: Columns by type of interaction that say whether it was done with an item that was
            shown: rows are such items then.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    type: str = ""
    header: Sequence[str] = ()
    item_fields: Sequence[str] = ()
    left_out: Sequence[str] = ()
    time_format: str = ""
    done: Mapping[str, str] = field(default_factory=dict)


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
        left_out: Columns that are not imported.
        done: As of `TableOptions`; of exposures only.
    """

    kind: TableKind
    fields: dict[str, str]
    others: tuple[str, ...]
    of_item: tuple[str, ...] = ()
    type: str = ""
    left_out: tuple[str, ...] = ()
    done: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_dated(self) -> bool:
        """Whether an instant is said of every row."""
        return "occurred_at" in self.fields

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns that are attributes of what the rows are; of exposures: of the request."""
        own = {*self.of_item, *self.done.values()}
        return tuple(name for name in self.others if name not in own)

    @property
    def taken(self) -> str:
        """What was taken for what, in words."""
        named = [*self.fields.items(), *self.done.items()]
        found = ", ".join(
            column if column == name else f"{column} as {name}" for name, column in named
        )
        what: str = self.kind if not self.type else f"{self.kind} of type {self.type!r}"
        lists = {
            "of the item": self.of_item,
            "attributes": self.attributes,
            "left out": self.left_out,
        }
        rest = [f"{title}: {', '.join(names)}" for title, names in lists.items() if names]
        return "; ".join([f"{what}: {found}", *rest])


def columns_of(
    path: Path, names: Sequence[str], options: TableOptions, unreadable: Sequence[str] = ()
) -> TableColumns | None:
    """Tell what the columns of a table mean.

    Args:
        path: The file, for messages.
        names: Its columns; those without a name are none.
        options: What the caller says.
        unreadable: Columns whose values are none of attributes.

    Returns:
        The meaning; None where the names say nothing of users and items.

    Raises:
        LogError: A name stands twice, a field is unknown, or interactions have no instant.
    """
    left_out = [name for name in names if name in {*options.left_out, *unreadable}]
    usable = [name for name in names if name not in left_out and not _UNNAMED.match(name)]
    kind, found = _fields(usable, options)
    if kind is None:
        return None
    fields = {name: found[name] for name in _FIELDS[kind] if name in found}
    placeless = _placeless(kind, fields, found)
    usable = [name for name in usable if name not in placeless]
    _check(path, kind, usable, fields)
    is_done = kind in {"interactions", "exposures"}
    others = tuple(name for name in usable if name not in fields.values())
    done = options.done.items() if kind == "exposures" else ()
    return TableColumns(
        kind=kind,
        fields=fields,
        others=others,
        of_item=tuple(name for name in others if is_done and name in options.item_fields),
        type=_type(fields, options) if kind == "interactions" and "type" not in fields else "",
        left_out=(*left_out, *placeless),
        done={name: column for name, column in done if column in usable},
    )


def _placeless(
    kind: TableKind, fields: dict[str, str], found: Mapping[str, str]
) -> tuple[str, ...]:
    """Take out what has no place in tables of a kind: undated versions have ids of their own.

    Returns:
        Columns that are not imported, as they would be no attributes either.
    """
    if kind == "exposures":
        return tuple(column for name, column in found.items() if name not in fields)
    is_dated = "occurred_at" in fields
    return () if is_dated or "event_id" not in fields else (fields.pop("event_id"),)


def _check(path: Path, kind: TableKind, names: Sequence[str], fields: Mapping[str, str]) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise LogError(path, f"{twice[0]!r} is the name of two columns", "a name for each")
    if kind in {"interactions", "exposures"} and "occurred_at" not in fields:
        raise LogError(
            path,
            f"columns {', '.join(names)}, none of which is known to be an instant",
            "one called occurred_at, timestamp, time, date, ..., or --column occurred_at=NAME",
        )


def _fields(names: Sequence[str], options: TableOptions) -> tuple[TableKind | None, dict[str, str]]:
    # Several files may be imported at once, of which one has what is said.
    said = {name: column for name, column in options.columns.items() if column in names}
    used = {*said.values(), *options.done.values()}
    called = {name: column for name, column in _CALLED.items() if name not in options.columns}
    if options.type:
        called.pop("type", None)
    found = said | _called(names, called, used)
    kind: TableKind | None = None
    if "item_id" in found and any(column in names for column in options.done.values()):
        kind = "exposures"
    elif "item_id" in found and ("user_id" in found or {"session_id", "occurred_at"} <= set(found)):
        kind = "interactions"  # of people without a name too, where they name their visit
    elif "item_id" in found or "user_id" in found:
        kind = "items" if "item_id" in found else "users"
        found.pop("occurred_at", None)
        if "occurred_at" in called:
            called = {"occurred_at": _KNOWN_FROM}
            found |= _called(names, called, set(found.values()))
        found |= {name: column for name, column in said.items() if name == "occurred_at"}
    return kind, found


def _called(
    names: Sequence[str], called: Mapping[str, Sequence[str]], used: set[str]
) -> dict[str, str]:
    """Find columns by what they are called; a column is one field at most.

    Returns:
        Columns by field.
    """
    by_name = {_plain(column): column for column in reversed(names) if column not in used}
    found: dict[str, str] = {}
    for name, likely in called.items():
        for one in likely:
            column = by_name.get(one, "")
            if column and column not in found.values():
                found[name] = column
                break
    return found


def _type(fields: Mapping[str, str], options: TableOptions) -> str:
    if options.type:
        return options.type
    value = fields.get("value", "")
    return "rating" if _plain(value) in {"rating", "stars", "overall"} else "interaction"


def check_options(path: Path, options: TableOptions, tables: Sequence[TableColumns]) -> None:
    """Refuse what is said of columns that no table has: it would be passed over in silence.

    Args:
        path: Of the import, for messages.
        options: What the caller says.
        tables: Those of one import.

    Raises:
        LogError: There is such a column, or such a field.
    """
    unknown = sorted(set(options.columns) - set(_CALLED))
    if unknown:
        raise LogError(path, f"--column {unknown[0]}=...", f"one of {', '.join(_CALLED)}")
    others = {name for table in tables for name in table.others}
    known = others | {column for table in tables for column in table.fields.values()}
    named = known | {name for table in tables for name in table.left_out}
    said = [(f"--column {n}={c}", c, known) for n, c in options.columns.items() if c]
    said += [(f"--item-field {column}", column, others) for column in options.item_fields]
    said += [(f"--leave-out {column}", column, named) for column in options.left_out]
    said += [(f"--done {kind}={column}", column, others) for kind, column in options.done.items()]
    for option, column, allowed in said:
        if column not in allowed:
            none = "none that is not taken" if named else "none, as no file is a table"
            columns = ", ".join(sorted(allowed)) or none
            raise LogError(path, option, f"one of the columns that there are: {columns}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

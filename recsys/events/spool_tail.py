"""The end of a spool whose beginning is known already: of what is older only ids are read.

A server that starts has nearly all of the spool in its state. To make events and columns of those
records as well costs ten times what looking at them does.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from recsys.errors import EventError, SpoolDamagedError
from recsys.events.codec import decode_line
from recsys.events.durable_end import durable_end
from recsys.events.frames import KINDS, Kind
from recsys.events.spool import checked_json, complete_lines, read_record, spool_files
from recsys.schema import VisibleEvent

#: When an event became visible, its line, its file and where the line begins.
_Place: TypeAlias = tuple[int, bytes, Path, int]


_ABSENT: Final = msgspec.Raw()


class _Head(msgspec.Struct, gc=False):
    """What must be known of a record to pass it over; what is in it is skipped."""

    event_id: str
    visible_at: int
    item: msgspec.Raw = _ABSENT
    user: msgspec.Raw = _ABSENT
    impression: msgspec.Raw = _ABSENT

    @property
    def kind(self) -> Kind:
        """The table of the event."""
        if self.item:
            return "items"
        if self.user:
            return "users"
        return "impressions" if self.impression else "interactions"


_decode_head = msgspec.json.Decoder(_Head).decode


@dataclass(slots=True)
class SpoolTail:
    """What a spool holds from an instant on, and what is needed of everything before.

    Args:
        recent: Events that became visible at or after the instant, in order of `visible_at` as far
            as every file is in that order.
        older: Event ids of all others, by table.
        latest: The last of the others, in order of `visible_at`.
    """

    recent: list[VisibleEvent] = field(default_factory=list)
    older: dict[Kind, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    latest: list[VisibleEvent] = field(default_factory=list)


def read_spool_tail(folder: Path, since_us: int, n_latest: int) -> SpoolTail:
    """Read the end of a spool.

    Args:
        folder: The spool; it may not exist.
        since_us: Where the end begins, microseconds.
        n_latest: How many of the older events of each table are wanted as events.

    Returns:
        The end.

    Raises:
        SpoolDamagedError: A complete line is not what was written.
    """
    tail, recent = SpoolTail(), []
    latest: dict[Kind, list[_Place]] = {kind: [] for kind in KINDS}
    for path in spool_files(folder):
        found = _read_file(path, since_us, n_latest)
        recent.append(found.recent)
        for kind in KINDS:
            tail.older[kind] += found.older[kind]
            latest[kind] += found.latest[kind]
    tail.recent = list(heapq.merge(*recent, key=lambda visible: visible.visible_at))
    kept = [heapq.nlargest(n_latest, places) for places in latest.values()]
    for _, line, path, position in sorted(chain.from_iterable(kept)):
        tail.latest.append(read_record(line, path, position))
    return tail


class _File:
    """The records of a file, sorted by what is needed of them."""

    def __init__(self, n_latest: int) -> None:
        self.recent: list[VisibleEvent] = []
        self.older: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
        self.latest: dict[Kind, deque[_Place]] = {kind: deque(maxlen=n_latest) for kind in KINDS}


def _read_file(path: Path, since_us: int, n_latest: int) -> _File:
    found = _File(n_latest)
    # A file that is gone meanwhile was folded by a merge.
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        end, _ = durable_end(file.fileno())
        for position, line in complete_lines(file, end):
            head = _head_of(line, path, position)
            if head.visible_at >= since_us:
                found.recent.append(read_record(line, path, position))
                continue
            kind = head.kind
            found.older[kind].append(head.event_id)
            found.latest[kind].append((head.visible_at, line, path, position))
    return found


def _head_of(line: bytes, path: Path, position: int) -> _Head:
    json = checked_json(line, path, position)
    try:
        return decode_line(_decode_head, json)
    except EventError as error:
        raise SpoolDamagedError(path, position, str(error)) from error

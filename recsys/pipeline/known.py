"""Which events are in the state already, at eight bytes an event."""

from __future__ import annotations

import numpy as np
import polars as pl
import xxhash

from recsys.events.frames import KINDS, Kind, kind_of
from recsys.events.snapshot import LogSnapshot
from recsys.schema import VisibleEvent


class KnownEvents:
    """A set of (kind, event id), as 64-bit hashes.

    With a hundred million events a new one is taken for a known one with odds of 1 in 10 ** 11.

    Args:
        snapshot: The log that the state was made of.
    """

    def __init__(self, snapshot: LogSnapshot) -> None:
        self._hashes: dict[Kind, np.ndarray] = {}
        self._new: set[tuple[Kind, int]] = set()
        self.last_visible_at = 0
        self.n_events = 0
        for kind in KINDS:
            frame: pl.DataFrame = getattr(snapshot, kind)
            ids = frame["event_id"].to_list()
            self._hashes[kind] = np.sort(
                np.fromiter((_hash(i) for i in ids), dtype=np.uint64, count=len(ids))
            )
            self.n_events += len(ids)
            if ids:
                self.last_visible_at = max(self.last_visible_at, int(frame["visible_at"][-1]))

    def has(self, kind: Kind, event_id: str) -> bool:
        """Say whether an event is known.

        Returns:
            True when it is.
        """
        value = _hash(event_id)
        if (kind, value) in self._new:
            return True
        hashes = self._hashes[kind]
        position = int(np.searchsorted(hashes, np.uint64(value)))
        return position < len(hashes) and int(hashes[position]) == value

    def add(self, visible: VisibleEvent) -> bool:
        """Remember an event.

        Returns:
            False when it was known already.
        """
        kind = kind_of(visible.event)
        if self.has(kind, visible.event.event_id):
            return False
        self._new.add((kind, _hash(visible.event.event_id)))
        self.n_events += 1
        self.last_visible_at = max(self.last_visible_at, visible.visible_at)
        return True


def _hash(event_id: str) -> int:
    return xxhash.xxh3_64_intdigest(event_id.encode())

"""Which version of an item or user was the latest at any instant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.entities import Entities


class VersionTimeline:
    """Which version of an entity was the latest at an instant.

    Versions are sorted by (owner, visible_at); a running maximum of (occurred_at, arrival) within
    an owner makes a late version that describes an earlier time lose. A query is one binary search.
    """

    def __init__(self, entities: Entities) -> None:
        owners, visible, occurred = entities.version_table()
        self._times, time_ranks = np.unique(visible, return_inverse=True)
        self._span = len(self._times) + 1
        order = np.argsort(owners, kind="stable")
        self._keys = owners[order].astype(np.int64) * self._span + time_ranks[order]
        n_versions = len(owners)
        by_time = np.lexsort((np.arange(n_versions), occurred))
        ranks = np.empty(n_versions, dtype=np.int64)
        ranks[by_time] = np.arange(n_versions)
        leaders = np.maximum.accumulate(owners[order].astype(np.int64) * n_versions + ranks[order])
        self._latest = by_time[leaders % n_versions].astype(np.int32) if n_versions else ranks
        self._owners = owners[order]

    def as_of(
        self, owners: NDArray[np.int32], instants: NDArray[np.int64], side: str = "left"
    ) -> NDArray[np.int32]:
        """Find the latest version of each owner before an instant.

        Args:
            owners: int32 (n,): entity rows; negative ones have no version.
            instants: int64 (n,): microseconds.
            side: "left": visible strictly before the instant; "right": or at it.

        Returns:
            int32 (n,): version rows, -1 where there is none.
        """
        if not len(self._keys):
            return np.full(len(owners), -1, dtype=np.int32)
        right = side == "right"
        ranks = np.searchsorted(self._times, instants, side="right" if right else "left")
        position = np.searchsorted(self._keys, owners.astype(np.int64) * self._span + ranks) - 1
        found = np.maximum(position, 0)
        mine = (position >= 0) & (self._owners[found] == owners)
        return np.where(mine, self._latest[found], np.int32(-1)).astype(np.int32)

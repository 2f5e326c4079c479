"""What a log holds, in a few numbers: how many events, when, and a name for them all."""

from __future__ import annotations

import numpy as np
import xxhash

from recsys.events.frames import KINDS, Kind
from recsys.events.snapshot import LogSnapshot


class LogDigest:
    """Takes a log in, piece by piece; it does not matter where the log was cut.

    Attributes:
        n_events: By kind.
        first_at: When the first event became visible, microseconds; 0 for an empty log.
        last_at: When the last one did.
    """

    def __init__(self) -> None:
        self.n_events: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.first_at, self.last_at = 0, 0
        self._ids = {kind: xxhash.xxh3_64() for kind in KINDS}
        self._instants = {kind: xxhash.xxh3_64() for kind in KINDS}
        self._n_erased = 0

    def add(self, piece: LogSnapshot) -> None:
        """Take a piece in, later than all before."""
        is_first = not sum(self.n_events.values())
        begins = []
        for kind in KINDS:
            frame = getattr(piece, kind)
            if frame.is_empty():
                continue
            visible = frame["visible_at"]
            begins.append(int(visible[0]))
            self.last_at = max(self.last_at, int(visible[-1]))
            self.n_events[kind] += frame.height
            self._ids[kind].update("\n".join([*frame["event_id"].to_list(), ""]).encode())
            self._instants[kind].update(np.ascontiguousarray(visible.to_numpy()).tobytes())
        if is_first and begins:
            self.first_at = min(begins)
        self._n_erased = piece.erasures

    @property
    def key(self) -> str:
        """A hash of the ids of all events and of when they became visible.

        An event with a known id is a known event.
        """
        # An erasure leaves the ids of events and changes whose they are.
        digest = xxhash.xxh3_64(f"{self._n_erased}\n".encode())
        for kind in KINDS:
            digest.update(f"{kind} {self.n_events[kind]}\n".encode())
            digest.update(self._ids[kind].digest() + self._instants[kind].digest())
        return digest.hexdigest()

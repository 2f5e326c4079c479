"""What a server remembers of a log besides its aggregates, taken down while the log is encoded."""

from __future__ import annotations

from recsys.events.frames import KINDS
from recsys.events.snapshot import N_LATEST, LogSnapshot, snapshot_of
from recsys.features.actions import EncodedLog
from recsys.pipeline.known import KnownEvents


class LogNotes:
    """A watcher of `encode_log`.

    Attributes:
        known: Ids of all events.
        latest: The last few hundred events of each table.
        n_erased: How many users were taken out of the log.
    """

    def __init__(self) -> None:
        self.known = KnownEvents()
        self.latest = snapshot_of(())
        self.n_erased = 0

    def __call__(self, piece: LogSnapshot, log: EncodedLog) -> None:
        """Take a piece in."""
        del log
        self.known.note(piece)
        self.n_erased = piece.erasures
        tables = {
            kind: getattr(self.latest, kind).vstack(getattr(piece, kind)).tail(N_LATEST).rechunk()
            for kind in KINDS
        }
        self.latest = LogSnapshot(**tables)

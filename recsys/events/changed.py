"""A log without some of its events, and as it was at an earlier instant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot, LogSource


@dataclass(frozen=True, slots=True)
class ChangedLog:
    """A log whose pieces are changed as they come, so that no more than one is in memory.

    Args:
        source: The log.
        change: Gives a piece of the same span of time, or of less.
    """

    source: LogSource
    change: Callable[[LogSnapshot], LogSnapshot]

    @property
    def scratch(self) -> Path | None:
        """The folder of the log."""
        return self.source.scratch

    def pieces(self) -> Iterator[LogSnapshot]:
        """Go through the log.

        Yields:
            Its pieces, changed; some may be empty.
        """
        for piece in self.source.pieces():
            yield self.change(piece)


@dataclass(frozen=True, slots=True)
class LogBefore:
    """A log without what became visible at or after an instant; it is read no further.

    Args:
        source: The log.
        instant: Microseconds.
    """

    source: LogSource
    instant: int

    @property
    def scratch(self) -> Path | None:
        """The folder of the log."""
        return self.source.scratch

    def pieces(self) -> Iterator[LogSnapshot]:
        """Go through the log up to the instant.

        Yields:
            Its pieces; the last one may be empty.
        """
        for piece in self.source.pieces():
            frames = {kind: getattr(piece, kind) for kind in KINDS}
            kept = {k: f.filter(f["visible_at"] < self.instant) for k, f in frames.items()}
            yield replace(piece, **kept)
            # Every piece is later than the one before.
            if any(kept[kind].height < frame.height for kind, frame in frames.items()):
                return

"""A log as it would be without some of its events, for instance as it was at an earlier instant."""

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


def log_before(source: LogSource, instant: int) -> ChangedLog:
    """Leave out what became visible at or after an instant.

    Args:
        source: The log.
        instant: Microseconds.

    Returns:
        The log as it was.
    """

    def before(piece: LogSnapshot) -> LogSnapshot:
        frames = {kind: getattr(piece, kind) for kind in KINDS}
        return replace(
            piece, **{kind: f.filter(f["visible_at"] < instant) for kind, f in frames.items()}
        )

    return ChangedLog(source, before)

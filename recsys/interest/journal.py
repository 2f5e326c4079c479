"""The log of a fit: a line per epoch, what a tracker makes of it, and progress for people."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from recsys.errors import told
from recsys.features.models import FitView
from recsys.interest.sharing import rank
from recsys.interest.trackers import open_tracker

#: Read by `recsys.training.summary`.
HISTORY: Final = "history.jsonl"

_log = structlog.get_logger("recsys.interest")


class Journal:
    """Writes what happens during one fit; one that was cut off is added to.

    Of several processes only the first one writes.

    Args:
        view: Its folder receives the log, its progress callback hears of examples.
        tracker: Which tracker also hears of epochs.
    """

    def __init__(self, view: FitView, tracker: str) -> None:
        self.folder: Path = view.folder / "text_interest" / f"first_{len(view.batch)}"
        self._writes = rank() == 0
        if self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._tracker = open_tracker(tracker if self._writes else "none", self.folder)
        self._progress = view.progress
        self._began_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tracker.close()

    def report(self, label: str, epoch: int, loss: float, held_out: float) -> None:
        """Note one epoch."""
        if not self._writes:
            return
        known = None if math.isnan(loss) else loss
        line = {
            "part": label,
            "epoch": epoch,
            "loss": known,
            "held_out": held_out,
            "seconds": time.monotonic() - self._began_at,
        }
        self._write(json.dumps(line) + "\n")
        if known is not None:
            self._tracker.note(f"{label}/loss", known, epoch)
        self._tracker.note(f"{label}/held_out_loss", held_out, epoch)

    def _write(self, line: str) -> None:
        try:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            # A full disk is no reason to lose hours of learning; one warning says so.
            self._writes = False
            path = str(self.folder / HISTORY)
            _log.warning("the history of a fit could not be written", path=path, reason=told(error))

    def rate(self, label: str, step: int, rate: float) -> None:
        """Note the learning rate of a step."""
        self._tracker.note(f"{label}/learning_rate", rate, step)

    def advance(self, label: str, done: int, total: int) -> None:
        """Tell people how many examples were seen of how many."""
        self._progress(f"text interest, {label}", done, total)

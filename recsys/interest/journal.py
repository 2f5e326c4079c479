"""The training log: losses as TensorBoard scalars, and progress for people."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from recsys.features.models import FitView


class Journal:
    """Writes what happens during one fit.

    Args:
        view: Its folder receives the log, its progress callback hears of epochs.
        epochs: How many there will be.
    """

    def __init__(self, view: FitView, epochs: int) -> None:
        self.folder = view.folder / "text_interest" / f"first_{len(view.batch)}"
        self._writer = SummaryWriter(str(self.folder))
        self._progress = view.progress
        self._epochs = epochs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def report(self, label: str, epoch: int, loss: float, held_out: float) -> None:
        """Note one epoch."""
        if not math.isnan(loss):
            self._writer.add_scalar(f"{label}/loss", loss, epoch)
        self._writer.add_scalar(f"{label}/held_out_loss", held_out, epoch)
        self._progress(f"text interest, {label}", epoch, self._epochs)

"""The time-ordered split: oldest requests train, the next validate, the newest test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.config import SplitConfig
from recsys.errors import TrainingError
from recsys.training.labels import LabelledSlates

MIN_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Where the slices end, by number of the request.

    Args:
        train_end: First request of the validation slice.
        validation_end: First request of the test slice.
        n_requests: All.
    """

    train_end: int
    validation_end: int
    n_requests: int

    def windows(self, n_windows: int) -> list[int]:
        """Cut the train slice into equal windows.

        Returns:
            Their ends, ascending; the last is `train_end`.
        """
        return [round(self.train_end * (k + 1) / n_windows) for k in range(n_windows)]


def split_by_time(labelled: LabelledSlates, config: SplitConfig) -> TimeSplit:
    """Split requests that are in time order.

    Returns:
        The split.

    Raises:
        TrainingError: There are too few requests that have both labels, or none in a slice.
    """
    n_requests = len(labelled.slates)
    informative = labelled.informative()
    n_informative = int(np.count_nonzero(informative))
    if n_informative < MIN_REQUESTS:
        found = f"{n_informative} of {n_requests} lists have items acted on and items not"
        raise TrainingError("split", found, str(MIN_REQUESTS))
    train_end = round(n_requests * config.train)
    validation_end = round(n_requests * (config.train + config.validation))
    slices = {
        "train": informative[:train_end],
        "validation": informative[train_end:validation_end],
        "test": informative[validation_end:],
    }
    for name, told_apart in slices.items():
        # The test slice only has to begin somewhere; whether it can be measured is asked later.
        if not (len(told_apart) if name == "test" else told_apart.any()):
            found = f"none of {len(told_apart)} lists has items acted on and items not"
            what, expected = f"{name} slice", "some; give the slice a larger share"
            raise TrainingError(what, found, expected)
    return TimeSplit(train_end, validation_end, n_requests)

"""Test requests, in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from recsys.bundle.contents import SplitTimes
from recsys.config import Config
from recsys.errors import TrainingError
from recsys.evaluation.catalogue import Catalogue, find_baskets
from recsys.evaluation.translating import baskets_of, lists_of
from recsys.features.actions import EncodedLog
from recsys.features.naming import first_named
from recsys.training.dataset import Dataset
from recsys.training.labels import LabelledSlates


class TestRequests(Protocol):
    """Requests that came after all that a bundle learned from."""

    n_unreachable: int

    def __len__(self) -> int:
        """Count the requests."""
        ...

    def chunks(self, n_rows: int) -> Iterator[LabelledSlates]:
        """Lay requests out, about so many candidates at a time, oldest first."""
        ...


class Shown:
    """Requests whose candidates are what users were shown.

    Args:
        test: The labelled lists.
    """

    n_unreachable = 0

    def __init__(self, test: LabelledSlates) -> None:
        self._test = test

    def __len__(self) -> int:
        """Count the requests.

        Returns:
            All lists.
        """
        return len(self._test.slates)

    def chunks(self, n_rows: int) -> Iterator[LabelledSlates]:
        """Lay requests out, a few at a time.

        Args:
            n_rows: Candidates of a chunk at most, unless one request has more.

        Yields:
            Consecutive requests.
        """
        offsets, start = self._test.slates.offsets, 0
        while start < len(self):
            stop = int(np.searchsorted(offsets, offsets[start] + n_rows, side="right")) - 1
            stop = min(max(stop, start + 1), len(self))
            yield self._test.part(start, stop)
            start = stop


def first_test_list(split: SplitTimes, dataset: Dataset) -> int:
    """Find the first list that a bundle did not learn from.

    Returns:
        Its number.
    """
    as_of = dataset.labelled.slates.as_of
    return int(np.searchsorted(as_of, split.validation_end_at)) + split.n_ties


def requests_after(
    split: SplitTimes, dataset: Dataset, config: Config, known: EncodedLog | None = None
) -> TestRequests:
    """Take the requests after a bundle's validation slice.

    Args:
        split: Of the bundle.
        dataset: The log with its labels.
        config: Labels, and how many requests are ranked against a whole catalogue.
        known: The log as features see it, where that is another one; its rows name users and items.

    Returns:
        What was shown, or the whole catalogue where the log has no impressions.

    Raises:
        TrainingError: No list has both labels, or nothing was done.
    """
    if dataset.labelled.sampled:
        after = split.validation_end_at + (1 if split.n_ties else 0)
        baskets = find_baskets(dataset.log, config.labels, after)
        if not len(baskets):
            raise TrainingError("test", "no interaction after the validation slice", "one")
        if known is not None:
            baskets = baskets_of(baskets, dataset.log, known)
        since = first_named(known or dataset.log, "items")
        return Catalogue(baskets, since, config.evaluation.requests)
    test = dataset.labelled.part(first_test_list(split, dataset), len(dataset.labelled.slates))
    if not test.informative().any():
        found = "no list with both labels after the validation slice"
        raise TrainingError("test", found, "one")
    return Shown(test if known is None else lists_of(test, dataset.log, known))

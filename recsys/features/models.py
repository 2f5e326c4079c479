"""The contract of feature models: features that must be fitted before they can be computed.

A feature model is fitted on an earlier stretch of time than the rows it scores for the ranker. It
sees items as *version rows*: integer rows of the catalogue, one per version of an item, so that a
score is made of what was known of the item at that time. Who only needs to know which item it is
reads *item rows*, which an item has from the first event that names it, described or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys.features.vocabulary import Aggregate
from recsys.schema import Attributes


class ItemSource(Protocol):
    """The catalogue as feature models see it; grows at the end as item events arrive."""

    @property
    def ids(self) -> Sequence[str]:
        """Ids by item row; empty where one was forgotten."""
        ...

    def __len__(self) -> int:
        """Count the version rows."""
        ...

    def attributes(self, version_row: int) -> Attributes:
        """Read what is known of an item in one of its versions."""
        ...

    def item_id(self, version_row: int) -> str:
        """Say which item a version row belongs to."""
        ...


@dataclass(frozen=True, slots=True)
class Histories:
    """What users did last, one row per request, newest first, padded at the end.

    Args:
        items: int32 (n_requests, n): item rows; -1: padding.
        versions: int32 (n_requests, n): version row of the item as of the request; -1: padding, or
            an item about which nothing is known.
        types: int16 (n_requests, n): index into the event type names; -1: padding.
        ages_s: float32 (n_requests, n): seconds from the event to the request; NaN: padding.
        values: float32 (n_requests, n): values of the events; NaN: none, or padding.
    """

    items: NDArray[np.int32]
    versions: NDArray[np.int32]
    types: NDArray[np.int16]
    ages_s: NDArray[np.float32]
    values: NDArray[np.float32]

    def take(self, requests: NDArray[np.int64]) -> Histories:
        """Choose requests.

        Returns:
            Their histories, in the given order.
        """
        return Histories(*(getattr(self, column.name)[requests] for column in fields(self)))


@dataclass(frozen=True, slots=True)
class ScoringBatch:
    """Requests with their candidates, ready to be scored by a feature model.

    Args:
        items: int32 (n_candidates,): item rows of all candidates, request after request; negative:
            an id that no event has named.
        versions: int32 (n_candidates,): their version rows; -1: an item about which nothing is
            known.
        offsets: int64 (n_requests + 1,): candidates of request i are `offsets[i]:offsets[i + 1]`.
        histories: By name of a `last_items` aggregate.
        context: Request attributes, one dictionary per request; empty when there are none at all.
    """

    items: NDArray[np.int32]
    versions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    histories: Mapping[str, Histories]
    context: Sequence[Attributes] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True)
class FitView:
    """Everything a feature model may see while it is fitted; nothing in it is later than its span.

    Args:
        batch: Impressions in time order, oldest first.
        grades: float32 (n_candidates,): graded relevance, 0: shown and nothing done.
        items: The catalogue.
        event_types: Names by type index (`Histories.types`).
        type_grades: float32 (n_event_types,): grade of each event type; 0 for impressions.
        folder: Where the run writes its training log.
        seed: Of every random choice.
        progress: Called with (label, done, total) as work goes on.
    """

    batch: ScoringBatch
    grades: NDArray[np.float32]
    items: ItemSource
    event_types: tuple[str, ...]
    type_grades: NDArray[np.float32]
    folder: Path
    seed: int
    progress: Callable[[str, int, int], None]


class FittedFeatureModel(Protocol):
    """A feature model that can score; it only ever changes by adding vectors of new items."""

    columns: tuple[str, ...]

    def score(self, batch: ScoringBatch) -> NDArray[np.float32]:
        """Score every candidate: (n_candidates, n_columns); NaN where nothing can be said."""
        ...

    def refresh(self) -> None:
        """Take in version rows that the catalogue has gained since the last call."""
        ...

    def save(self, folder: Path) -> None:
        """Write all artefacts into an empty folder: safetensors and JSON, never pickles."""
        ...


class FeatureModel(Protocol):
    """A recipe for a feature model; stateless.

    A model that reads items as text says so by an attribute `of_text = True`: rankings without text
    are compared with it, and a request that has no time for models is ranked without it.
    """

    name: str
    columns: tuple[str, ...]

    def aggregates(self) -> tuple[Aggregate, ...]:
        """List the `last_items` aggregates that it reads."""
        ...

    def fit(self, view: FitView, previous: FittedFeatureModel | None = None) -> FittedFeatureModel:
        """Fit on a span of time, going on from a model that was fitted on an earlier one."""
        ...

    def unfitted(self, items: ItemSource) -> FittedFeatureModel | None:
        """Offer what can be scored before any fitting (None: nothing), for the oldest rows."""
        ...

    def load(self, folder: Path, items: ItemSource) -> FittedFeatureModel:
        """Read what `save` wrote; hashes were checked by the bundle before this call."""
        ...


def reads_text(model: FeatureModel) -> bool:
    """Say whether a model reads items as text.

    Returns:
        Its attribute `of_text`; False without one.
    """
    return bool(getattr(model, "of_text", False))


@runtime_checkable
class ItemVectors(Protocol):
    """A fitted model that knows items as vectors; candidate sources look for one."""

    def item_vectors(self) -> NDArray[np.float32]:
        """Give all item vectors: (n_versions, embedding_size), unit length, zero where unknown.

        Vectors that it gives later are the same ones with more rows behind them.
        """
        ...


def vector_model_of(models: Mapping[str, FittedFeatureModel]) -> ItemVectors | None:
    """Find the first model that knows items as vectors.

    Args:
        models: Fitted feature models by name.

    Returns:
        None: there is no such model.
    """
    return next((model for model in models.values() if isinstance(model, ItemVectors)), None)


def item_vectors_of(models: Mapping[str, FittedFeatureModel]) -> NDArray[np.float32] | None:
    """Find the vectors of the first model that knows items as vectors.

    Args:
        models: Fitted feature models by name.

    Returns:
        As `ItemVectors.item_vectors`; None: there is no such model, or no item that it could know.
    """
    model = vector_model_of(models)
    if model is None:
        return None
    vectors = model.item_vectors()
    return vectors if len(vectors) else None

"""The plugin contract: what a plugin may implement.

A plugin is a module (or object) with functions marked `@hookimpl`. A function may take fewer
arguments than its hook offers. All hooks are called once, when a workspace is opened; none is on
the request path. A hook exists because a first-party plugin uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import pluggy
import polars as pl
from numpy.typing import NDArray

from recsys.config import Config
from recsys.events.formats import EventImporter
from recsys.features.models import FeatureModel, FittedFeatureModel, Histories, ItemSource
from recsys.features.profile import Kind, LogProfile
from recsys.features.vocabulary import Aggregate, Feature, calls_python

PROJECT = "recsys"

_F = TypeVar("_F", bound=Callable[..., Any])
_spec = pluggy.HookspecMarker(PROJECT)
_impl = pluggy.HookimplMarker(PROJECT)


def hookimpl(function: _F) -> _F:
    """Mark a function of a plugin as the implementation of the hook with its name.

    Returns:
        The function itself.
    """
    return _impl(function)


def _hookspec(function: _F) -> _F:
    return _spec(function)


class ItemReader(Protocol):
    """What a candidate source may ask of items, by name of an aggregate that it reads.

    A catalogue may hold a million items: ask for the best of them, or for those of the user,
    rather than for the values of all.
    """

    def best(self, name: str, n: int) -> NDArray[np.int32]:
        """Find the n items with the largest values.

        Returns:
            int32 (<= n,): item rows, largest first; never such with a missing value.
        """
        ...

    def of_user(self, name: str) -> NDArray[np.int32]:
        """Find the items for which an aggregate by `user*item` knows something of the user.

        Returns:
            int32 (n,): item rows, ascending.
        """
        ...

    def values(self, name: str, rows: NDArray[np.int32] | None = None) -> NDArray[np.float64]:
        """Read values.

        Args:
            name: Of the aggregate.
            rows: int32 (n,): item rows; None: all items.

        Returns:
            float64 (n,): NaN: missing.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceView:
    """What a candidate source sees of a request.

    Args:
        histories: Of the requesting user, one row each, by name of a `last_items` aggregate.
        items: Reads scalar aggregates.
        item_rows: int32 (n_versions,): item row of each version row.
        models: Fitted feature models by name.
    """

    histories: dict[str, Histories]
    items: ItemReader
    item_rows: NDArray[np.int32]
    models: dict[str, FittedFeatureModel]


class CandidateSource(Protocol):
    """Finds items worth ranking for a user.

    One that has a method `prepare(models)` is called by it before a bundle answers anybody, to do
    what its first question would otherwise wait for.
    """

    name: str

    def aggregates(self) -> tuple[Aggregate, ...]:
        """List the aggregates that it reads."""
        ...

    def propose(self, view: SourceView, n: int) -> NDArray[np.int32]:
        """Propose up to n items: item rows, best first; empty where it has nothing to say."""
        ...


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Removes candidates from recommendations.

    It is never applied to `Rank`, whose caller chose the list.

    Args:
        name: For people.
        keep: Boolean expression over the candidate frame; missing keeps.
        aggregates: What the expression reads.
        context: Request attributes that it reads though no event of the log need carry them, by
            name: what callers ask for, such as a category.
        items: The same of item attributes: what an event may say of an item one day, such as that
            it is sold out. Until one does, the filter is not asked.
    """

    name: str
    keep: pl.Expr
    aggregates: tuple[Aggregate, ...] = ()
    context: Mapping[str, Kind] = field(default_factory=dict)
    items: Mapping[str, Kind] = field(default_factory=dict)

    @cached_property
    def calls_python(self) -> bool:
        """Whether asking it runs Python code, which may not come back."""
        return calls_python(self.keep)


@dataclass(frozen=True, slots=True)
class ListView:
    """What a re-ranking rule sees of a list: candidates in their order so far, best first.

    Args:
        scores: float64 (n_candidates,): of the ranker; descending before the first rule.
        versions: int32 (n_candidates,): version rows; -1: an item about which nothing is known.
        n_places: Places of the answer, at most `n_candidates`.
        items: The catalogue.
        models: Fitted feature models by name.
    """

    scores: NDArray[np.float64]
    versions: NDArray[np.int32]
    n_places: int
    items: ItemSource
    models: Mapping[str, FittedFeatureModel]


class Rule(Protocol):
    """Orders a ranked list anew: for what a list should be, which no candidate is by itself."""

    name: str

    def reorder(self, view: ListView) -> NDArray[np.int64]:
        """Choose the first places.

        Args:
            view: The list.

        Returns:
            int64 (<= n_candidates,): positions in the list, each once, best first; those that are
            not named follow in their order so far.
        """
        ...


@_hookspec
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> Sequence[Aggregate]:
    """Say which aggregates the plugin's features read.

    Args:
        profile: The log that they will be computed on.
        settings: The plugin's own table `[settings.NAME]` of the configuration.

    Returns:
        Aggregates; a name that another plugin uses too must mean the same.
    """
    return ()


@_hookspec
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> Sequence[Feature]:
    """Offer columns to the ranker.

    Args:
        profile: The log that they will be computed on.
        settings: The plugin's own table of the configuration.

    Returns:
        Features; their names are unique over all plugins.
    """
    return ()


@_hookspec
def recsys_feature_models(
    config: Config, profile: LogProfile, settings: dict[str, Any]
) -> Sequence[FeatureModel]:
    """Offer features that must be fitted before they can be computed.

    Args:
        config: The whole configuration.
        profile: The log that they will be fitted on.
        settings: The plugin's own table of the configuration.

    Returns:
        Feature models.
    """
    return ()


@_hookspec
def recsys_candidate_sources(
    profile: LogProfile, settings: dict[str, Any]
) -> Sequence[CandidateSource]:
    """Offer sources of candidates for recommendations.

    Args:
        profile: The log.
        settings: The plugin's own table of the configuration.

    Returns:
        Candidate sources.
    """
    return ()


@_hookspec
def recsys_filters(profile: LogProfile, settings: dict[str, Any]) -> Sequence[Filter]:
    """Offer filters on recommended candidates.

    Args:
        profile: The log.
        settings: The plugin's own table of the configuration.

    Returns:
        Filters.
    """
    return ()


@_hookspec
def recsys_rules(profile: LogProfile, settings: dict[str, Any]) -> Sequence[Rule]:
    """Offer rules that order ranked lists anew; they follow one another in loading order.

    Args:
        profile: The log.
        settings: The plugin's own table of the configuration.

    Returns:
        Rules.
    """
    return ()


@_hookspec
def recsys_event_importers(settings: dict[str, Any]) -> Sequence[EventImporter]:
    """Offer formats that `recsys events import` reads.

    Args:
        settings: The plugin's own table of the configuration.

    Returns:
        Importers; their names are unique over all plugins.
    """
    return ()

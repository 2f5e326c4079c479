"""What a contract is checked on: one plugin alone, asked about one log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.events.snapshot import LogSource
from recsys.features.candidates import chosen_candidates
from recsys.features.plan import FeaturePlan
from recsys.features.slates import Slates, one_slate
from recsys.features.vocabulary import Aggregate
from recsys.hookspecs import CandidateSource, Filter, Rule
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins
from recsys.training.dataset import Dataset, make_dataset


@dataclass(frozen=True, slots=True)
class Subject:
    """A plugin on a log.

    Args:
        plugin: The plugin.
        config: Its settings, and how the log is labelled.
        source: The log.
        dataset: The same, encoded, and its requests.
        plan: What the plugin offers on it, without feature models, which only training can fit.
        aggregates: What its features read.
        filter_plan: The same, with the attributes that its filters ask for.
        sources: Its candidate sources.
        filters: Its filters.
        rules: Its rules.
    """

    plugin: LoadedPlugin
    config: Config
    source: LogSource
    dataset: Dataset
    plan: FeaturePlan
    filter_plan: FeaturePlan
    aggregates: tuple[Aggregate, ...]
    sources: tuple[CandidateSource, ...]
    filters: tuple[Filter, ...]
    rules: tuple[Rule, ...]

    @property
    def slates(self) -> Slates:
        """All past requests, oldest first."""
        return self.dataset.labelled.slates

    @property
    def listwise(self) -> NDArray[np.bool_]:
        """Which features may depend on the other candidates: bool (n_features,)."""
        return np.array([feature.listwise for feature in self.plan.features], dtype=np.bool_)

    @property
    def after_log(self) -> int:
        """The first instant that sees everything, also what was last said of items and users."""
        log = self.dataset.log
        _, of_items, _ = log.items.version_table()
        _, of_users, _ = log.users.version_table()
        seen = (log.actions.visible, of_items, of_users, self.slates.as_of)
        return max(int(instants.max(initial=0)) for instants in seen) + 1

    def sample(self, rng: np.random.Generator, n: int) -> list[int]:
        """Choose requests.

        Returns:
            Their numbers, ascending.
        """
        n_chosen = min(n, len(self.slates))
        chosen = rng.choice(len(self.slates), n_chosen, replace=False)
        return sorted(int(number) for number in chosen)

    def newest_request(self, items: NDArray[np.int32], user: int) -> Slates:
        """Make a request after the log's last event, with attributes of past requests.

        Returns:
            The request.
        """
        slates = self.slates
        context = slates.context[-1] if slates.context else None
        said = np.arange(len(items)) % len(slates.items)
        return one_slate(
            user,
            self.after_log,
            items,
            context,
            candidates=chosen_candidates(slates.candidates, said),
        )


def make_subject(plugin: LoadedPlugin, source: LogSource, config: Config) -> Subject:
    """Ask a plugin, and nobody else, about a log.

    Args:
        plugin: The plugin.
        source: The log; it has interactions.
        config: Its settings, and how the log is labelled.

    Returns:
        The subject.

    Raises:
        PluginError: What the plugin offers is not acceptable.
        TrainingError: The log has no interactions.
    """
    dataset = make_dataset(source, config)
    offered = ask_plugins([plugin], config, dataset.profile)
    plan = offered.plan.without_models()
    return Subject(
        plugin=plugin,
        config=config,
        source=source,
        dataset=dataset,
        plan=plan,
        filter_plan=offered.filter_plan,
        aggregates=_read_by(plan),
        sources=offered.sources,
        filters=offered.filters,
        rules=offered.rules,
    )


def _read_by(plan: FeaturePlan) -> tuple[Aggregate, ...]:
    names = {name for feature in plan.features for name in feature.expr.meta.root_names()}
    return tuple(aggregate for name, aggregate in plan.aggregates.items() if name in names)


def names_of(plan: FeaturePlan, chosen: NDArray[np.bool_]) -> str:
    """List features by name for people.

    Args:
        plan: Whose features.
        chosen: bool (n_features,).

    Returns:
        At most three names.
    """
    names: Sequence[str] = [n for n, there in zip(plan.names, chosen, strict=True) if there]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

"""Asks loaded plugins what they offer on a log, one implementation at a time.

Pluggy's own call stops at the first implementation that raises and does not say whose it was;
calling them one by one lets the error name plugin, hook and cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pluggy

from recsys import hookspecs
from recsys.config import Config, did_you_mean
from recsys.errors import ConfigError, PluginError
from recsys.events.formats import EventImporter
from recsys.features.models import FeatureModel
from recsys.features.plan import FeaturePlan, Offer, make_plan
from recsys.features.profile import DTYPES, Kind, LogProfile
from recsys.features.vocabulary import Aggregate, Feature
from recsys.hookspecs import CandidateSource, Filter, Rule
from recsys.plugins.loader import LoadedPlugin, load_plugins
from recsys.plugins.probing import probe_features, probe_filters
from recsys.plugins.watchdog import run_within


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Everything that the plugins of a workspace offer on a log.

    Args:
        plugins: Name to version, in loading order.
        plan: Features, aggregates and feature models.
        filter_plan: The same, with the attributes that filters ask for.
        sources: Candidate sources.
        filters: Filters on recommendations.
        rules: Rules that order ranked lists anew.
        offers: Per plugin, for people.
        others: By plugin: its sources, filters and rules, by kind and name, for people too.
    """

    plugins: dict[str, str]
    plan: FeaturePlan
    filter_plan: FeaturePlan
    sources: tuple[CandidateSource, ...]
    filters: tuple[Filter, ...]
    rules: tuple[Rule, ...]
    offers: tuple[Offer, ...]
    others: dict[str, tuple[str, ...]]


def load_capabilities(workspace: Path, config: Config, profile: LogProfile) -> Capabilities:
    """Load the plugins of a workspace and put their offers together.

    Returns:
        All capabilities.

    Raises:
        PluginError: A plugin fails to load, fails in a hook, or clashes with another.
        ConfigError: A table `[settings.NAME]` is of no plugin.
    """
    plugins = load_plugins(
        workspace / config.plugins.folder, config.plugins.disabled, config.plugins.budget_s
    )
    _check_settings(config, [*(plugin.name for plugin in plugins), *config.plugins.disabled])
    return ask_plugins(plugins, config, profile)


def _check_settings(config: Config, names: Sequence[str]) -> None:
    problems = [
        f"settings.{name}: no such plugin{did_you_mean(('settings', name), names)}"
        for name in sorted(config.settings.keys() - set(names))
    ]
    if problems:
        raise ConfigError("configuration", problems)


def ask_plugins(
    plugins: Sequence[LoadedPlugin], config: Config, profile: LogProfile
) -> Capabilities:
    """Ask plugins what they offer.

    Returns:
        All capabilities.

    Raises:
        PluginError: A hook raised, did not end in time or returned something else than its
            contract says, a feature is not a number per candidate, or plugins clash.
    """
    offers: list[Offer] = []
    sources: list[CandidateSource] = []
    filters: list[tuple[str, Filter]] = []
    rules: list[Rule] = []
    extra: list[tuple[str, Aggregate]] = []
    others: dict[str, tuple[str, ...]] = {}
    for plugin in plugins:
        ask = _Asker(plugin, config, profile)
        offers.append(
            Offer(
                plugin.name,
                tuple(ask("recsys_aggregates", Aggregate)),
                tuple(ask("recsys_features", Feature)),
                tuple(ask("recsys_feature_models", FeatureModel)),
            )
        )
        mine = ask("recsys_candidate_sources", CandidateSource)
        sources += mine
        for part in (*mine, *offers[-1].models):
            extra += [(plugin.name, a) for a in ask.aggregates_of(part)]
        keeping = ask("recsys_filters", Filter)
        for keeper in keeping:
            filters.append((plugin.name, keeper))
            extra += [(plugin.name, a) for a in keeper.aggregates]
        ordering = ask("recsys_rules", Rule)
        rules += ordering
        others[plugin.name] = (
            *(f"source {source.name}" for source in mine),
            *(f"filter {keeper.name}" for keeper in keeping),
            *(f"rule {rule.name}" for rule in ordering),
        )
    plan = make_plan(profile, offers, extra)
    asked_for = {scope: _asked_for(profile, filters, scope) for scope in ("context", "items")}
    filter_plan = replace(plan, profile=profile.with_attributes(**asked_for))
    probe_features(plan, config.plugins.budget_s)
    probe_filters(filter_plan, filters, config.plugins.budget_s)
    return Capabilities(
        plugins={plugin.name: plugin.version for plugin in plugins},
        plan=plan,
        filter_plan=filter_plan,
        sources=tuple(sources),
        filters=tuple(keeper for _, keeper in filters),
        rules=tuple(rules),
        offers=tuple(offers),
        others=others,
    )


def _asked_for(
    profile: LogProfile, filters: Sequence[tuple[str, Filter]], scope: Literal["context", "items"]
) -> dict[str, Kind]:
    """Put together which attributes filters ask for.

    Returns:
        Kinds by name.

    Raises:
        PluginError: One is of no known kind, or of another one in the log or for another filter.
    """
    found: dict[str, Kind] = {}
    for plugin, keeper in filters:
        for name, kind in getattr(keeper, scope).items():
            logged = getattr(profile, scope).get(name)
            known = logged.kind if logged else found.setdefault(name, kind)
            column = f"{'item' if scope == 'items' else scope}.{name}"
            what = f"filter {keeper.name} reads {column} as {kind!r}"
            if kind not in DTYPES:
                cause = f"{what}; expected one of {', '.join(DTYPES)}"
                raise PluginError(plugin, "recsys_filters", cause)
            if known != kind:
                whose = "events of the log carry it" if logged else "another filter reads it"
                raise PluginError(plugin, "recsys_filters", f"{what}; {whose} as {known!r}")
    return found


def _listed(function: Callable[..., Iterable[Any]], arguments: list[Any]) -> list[Any]:
    return list(function(*arguments))


def load_importers(workspace: Path, config: Config) -> tuple[EventImporter, ...]:
    """Load the plugins of a workspace and ask for formats of event files.

    Returns:
        All importers.

    Raises:
        PluginError: A plugin fails to load or in the hook, or two importers have one name.
    """
    folder, budget_s = workspace / config.plugins.folder, config.plugins.budget_s
    found = ask_for_importers(load_plugins(folder, config.plugins.disabled, budget_s), config)
    return tuple(importer for importers in found.values() for importer in importers)


def ask_for_importers(
    plugins: Sequence[LoadedPlugin], config: Config
) -> dict[str, tuple[EventImporter, ...]]:
    """Ask plugins for formats of event files.

    Returns:
        Importers by plugin.

    Raises:
        PluginError: A plugin fails in the hook, or two importers have one name.
    """
    owners: dict[str, str] = {}
    found: dict[str, tuple[EventImporter, ...]] = {}
    hook = "recsys_event_importers"
    for plugin in plugins:
        found[plugin.name] = tuple(_Asker(plugin, config, LogProfile())(hook, EventImporter))
        for importer in found[plugin.name]:
            if importer.name in owners:
                cause = f"format {importer.name} is offered by {owners[importer.name]} too"
                raise PluginError(plugin.name, hook, cause)
            owners[importer.name] = plugin.name
    return found


class _Asker:
    """Calls the hooks of one plugin."""

    def __init__(self, plugin: LoadedPlugin, config: Config, profile: LogProfile) -> None:
        self._plugin = plugin
        self._budget_s = config.plugins.budget_s
        self._arguments = {
            "config": config,
            "profile": profile,
            "settings": config.settings.get(plugin.name, {}),
        }
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(plugin.module, name=plugin.name)
        self._hook = manager.hook

    def __call__(self, hook: str, kind: type) -> list[Any]:
        found: list[Any] = []
        for implementation in getattr(self._hook, hook).get_hookimpls():
            arguments = [self._arguments[name] for name in implementation.argnames]
            call = partial(_listed, implementation.function, arguments)
            parts = run_within(self._budget_s, self._plugin.name, hook, call)
            for part in parts:
                self._check_kind(hook, part, kind)
            found += parts
        return found

    def aggregates_of(self, part: CandidateSource | FeatureModel) -> tuple[Aggregate, ...]:
        """Ask a source or a model which aggregates it reads.

        Returns:
            The aggregates.
        """
        call = partial(_listed, part.aggregates, [])
        hook = f"aggregates of {part.name}"
        return tuple(run_within(self._budget_s, self._plugin.name, hook, call))

    def _check_kind(self, hook: str, part: object, kind: type) -> None:
        names = [name for name in ("name",) if not isinstance(getattr(part, name, None), str)]
        is_record = kind in {Aggregate, Feature, Filter}
        if (is_record and not isinstance(part, kind)) or names:
            cause = f"returned a {type(part).__name__}; expected {kind.__name__} with a name"
            raise PluginError(self._plugin.name, hook, cause)

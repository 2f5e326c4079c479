"""Computes a plugin's features on a hand-written log, for tests that know the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.offline import OfflineReader
from recsys.features.profile import profile_log
from recsys.features.slates import one_slate
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins
from recsys.schema import Attributes, VisibleEvent


def feature_values(  # noqa: PLR0913 - what a request is made of
    plugin: Any,  # noqa: ANN401 - a plugin is any object with hooks
    events: Sequence[VisibleEvent],
    user_id: str,
    item_ids: Sequence[str],
    *,
    as_of: int,
    context: Attributes | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, list[float | None]]:
    """Compute all features of a plugin for one request.

    Args:
        plugin: A module, or any object with hooks.
        events: The log.
        user_id: Who asks; empty: nobody in particular.
        item_ids: Candidates.
        as_of: Instant of the request in microseconds; only events visible before it count.
        context: Request attributes.
        settings: The plugin's table of the configuration.

    Returns:
        One value per candidate by name of the feature, None where it is missing; features that
        need a fitted model are left out.
    """
    name = getattr(plugin, "__name__", type(plugin).__name__).rpartition(".")[2]
    profile, log = profile_log(snapshot_of(events))
    config = Config(settings={name: dict(settings or {})})
    loaded = LoadedPlugin(name, "test", "", plugin)
    plan = ask_plugins([loaded], config, profile).plan.without_models()
    slates = one_slate(log.users.row(user_id), as_of, log.items.rows(list(item_ids)), context)
    matrix = plan.matrix(slates, OfflineReader(log), {})
    return {
        feature: [None if np.isnan(value) else float(value) for value in column]
        for feature, column in zip(plan.names, matrix.T, strict=True)
    }

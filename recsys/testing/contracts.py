"""The contract of a plugin's features, for authors to run in their own tests.

from recsys.testing.contracts import check_plugin
import my_plugin

def test_contract():
    check_plugin(my_plugin)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.evaluation.skew import compare_executions
from recsys.events.snapshot import snapshot_of
from recsys.features.plan import FeaturePlan
from recsys.features.profile import profile_log
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins
from recsys.schema import VisibleEvent
from recsys.testing.worlds import topic_world
from recsys.training.dataset import Dataset, make_dataset


class ContractBrokenError(AssertionError):
    """A plugin broke its contract; the message says which part and how."""


def check_plugin(
    module: Any,  # noqa: ANN401 - a plugin is any object with hooks
    events: Sequence[VisibleEvent] | None = None,
    settings: dict[str, Any] | None = None,
) -> FeaturePlan:
    """Check a plugin on a log: both executions equal, blind to the future and to other candidates.

    Args:
        module: The plugin.
        events: The log; None: a made-up one of clicks on items with titles, tags and a length.
        settings: The plugin's table of the configuration.

    Returns:
        The plan made of the plugin alone, for further checks.

    Raises:
        ContractBrokenError: A part of the contract is broken.
    """
    name = getattr(module, "__name__", type(module).__name__).rpartition(".")[2]
    world = list(events) if events is not None else topic_world(n_users=10, n_lists=3).events
    config = Config(settings={name: settings or {}})
    dataset = make_dataset(snapshot_of(world), config)
    profile = profile_log(dataset.snapshot, dataset.log)
    plan = ask_plugins([LoadedPlugin(name, "test", "", module)], config, profile).plan
    rng = np.random.default_rng(0)
    skew = compare_executions(dataset, plan, rng, 50)
    if skew.n_mismatches:
        wrong = {name: n for name, n in skew.mismatches.items() if n}
        message = f"offline and online differ: {wrong}"
        raise ContractBrokenError(message)
    _check_future_blindness(plan, dataset, world, config)
    _check_isolation(plan, dataset)
    return plan


def _check_future_blindness(
    plan: FeaturePlan, dataset: Dataset, events: Sequence[VisibleEvent], config: Config
) -> None:
    """Take away all events at or after the middle of the log: requests before it must not notice.

    Raises:
        ContractBrokenError: They do.
    """
    middle = int(np.median(dataset.labelled.slates.as_of))
    earlier = make_dataset(snapshot_of([v for v in events if v.visible_at <= middle]), config)
    n_common = int(np.searchsorted(earlier.labelled.slates.as_of, middle))
    whole = _matrix(plan, dataset, n_common)
    cut = _matrix(plan, earlier, n_common)
    if not np.array_equal(whole, cut, equal_nan=True):
        message = "events at or after the request change its features"
        raise ContractBrokenError(message)


def _check_isolation(plan: FeaturePlan, dataset: Dataset) -> None:
    """Rank one candidate alone: features that are not list-wise must stay as they were.

    Raises:
        ContractBrokenError: They do not.
    """
    slates = dataset.labelled.slates
    request = slates.part(len(slates) - 1, len(slates))
    together = plan.matrix(request, dataset.reader, {})[0]
    alone = plan.matrix(request.alone(0), dataset.reader, {})[0]
    listwise = np.array([feature.listwise for feature in plan.features])
    if not np.array_equal(together[~listwise], alone[~listwise], equal_nan=True):
        message = "a feature depends on the other candidates and is not declared listwise"
        raise ContractBrokenError(message)


def _matrix(plan: FeaturePlan, dataset: Dataset, n_requests: int) -> NDArray[np.float32]:
    return plan.matrix(dataset.labelled.slates.part(0, n_requests), dataset.reader, {})

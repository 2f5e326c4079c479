"""The contract of a plugin, for authors to inherit in their own tests.

from recsys.testing.contracts import PluginContract
import my_plugin

class TestContract(PluginContract):
    plugin = my_plugin
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from recsys.config import Config
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.plan import FeaturePlan
from recsys.plugins.loader import LoadedPlugin
from recsys.schema import VisibleEvent
from recsys.testing.examine import Examiner, Finding
from recsys.testing.limits import Limits
from recsys.testing.parts import ContractBrokenError
from recsys.testing.subject import make_subject
from recsys.testing.worlds import topic_world


class PluginContract:
    """Tests of one plugin, collected by pytest from every class that inherits them.

    One test per part of the contract; docs/plugins.md says what each looks at. They run on random
    logs, and on `events`.
    """

    #: The plugin: a module, or any object with hooks.
    plugin: ClassVar[Any]
    #: Its table `[settings.NAME]` of the configuration.
    settings: ClassVar[Mapping[str, Any]] = {}
    #: A log that the plugin is for; None: clicks on items with titles, tags and a length.
    events: ClassVar[Sequence[VisibleEvent] | None] = None
    #: What it may cost.
    limits: ClassVar[Limits] = Limits()

    def test_columns_are_numbers_per_candidate(self) -> None:
        """Names, types and rows."""
        self._check("columns")

    def test_missing_data_is_no_failure(self) -> None:
        """Nobody, strangers, unknown items, attributes that nobody gave."""
        self._check("missing data")

    def test_columns_are_not_missing_where_their_inputs_are_there(self) -> None:
        """No flood of NaN."""
        self._check("coverage")

    def test_computed_twice_is_the_same(self) -> None:
        """Determinism."""
        self._check("determinism")

    def test_other_candidates_do_not_matter(self) -> None:
        """Isolation, except for columns that are declared list-wise."""
        self._check("isolation")

    def test_the_future_does_not_matter(self) -> None:
        """Events at or after a request change nothing."""
        self._check("future-blindness")

    def test_training_and_serving_are_equal(self) -> None:
        """Both executions of every column agree, on random logs and on `events`."""
        self._check("equality")

    def test_sources_propose_items_and_filters_decide_on_each(self) -> None:
        """Where the plugin has any."""
        self._check("proposals")

    def test_cost_is_within_limits(self) -> None:
        """Time for 500 candidates, bytes of state per key."""
        self._check("latency")
        self._check("state")

    def _check(self, part: str) -> None:
        """Fail with what the part found.

        Raises:
            ContractBrokenError: The part does not hold, or could not run.
        """
        found = _findings(type(self))
        mine = [finding for finding in found if finding.part == part]
        broken = [finding for finding in mine or found if not finding.passed]
        if broken:
            raise ContractBrokenError(broken[0].problem)


#: Parts share logs and states, so they run together, once per class.
_examined: dict[type[PluginContract], list[Finding]] = {}


def _findings(contract: type[PluginContract]) -> list[Finding]:
    if contract not in _examined:
        own = _snapshot(contract.events)
        examiner = _examiner(contract.plugin, own, contract.settings, contract.limits)
        _examined[contract] = examiner.findings()
    return _examined[contract]


def check_plugin(
    module: Any,  # noqa: ANN401 - a plugin is any object with hooks
    events: Sequence[VisibleEvent] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> FeaturePlan:
    """Check the whole contract in one call, for tests that go on with the plugin's plan.

    Args:
        module: The plugin.
        events: A log that it is for; None: clicks on items with titles, tags and a length.
        settings: The plugin's table of the configuration.

    Returns:
        The plan made of the plugin alone, on `events`.

    Raises:
        ContractBrokenError: A part of the contract is broken.
    """
    snapshot = _snapshot(events)
    examiner = _examiner(module, snapshot, settings or {}, Limits())
    for finding in examiner.findings():
        if not finding.passed:
            raise ContractBrokenError(finding.problem)
    return make_subject(examiner.plugin, snapshot, examiner.config).plan


def _examiner(
    module: Any,  # noqa: ANN401 - a plugin is any object with hooks
    own: LogSnapshot,
    settings: Mapping[str, Any],
    limits: Limits,
) -> Examiner:
    name = getattr(module, "__name__", type(module).__name__).rpartition(".")[2]
    config = Config(settings={name: dict(settings)})
    plugin = LoadedPlugin(name, "test", "", module)
    return Examiner(plugin, config, own, limits=limits)


def _snapshot(events: Sequence[VisibleEvent] | None) -> LogSnapshot:
    return snapshot_of(topic_world(n_users=10, n_lists=3).events if events is None else events)

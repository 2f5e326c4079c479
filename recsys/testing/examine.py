"""Runs the whole contract on a plugin and reports part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import numpy as np

from recsys.config import Config
from recsys.errors import PluginError
from recsys.events.snapshot import LogSource, snapshot_of
from recsys.features.profile import LogProfile
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.watchdog import OUT_OF_TIME, run_within
from recsys.testing import parts
from recsys.testing.costs import check_latency, check_state
from recsys.testing.limits import Limits
from recsys.testing.proposals import proposals
from recsys.testing.random_log import USUAL_LOG, random_log
from recsys.testing.subject import Subject, make_subject
from recsys.testing.warming import compile_loops

_T = TypeVar("_T")

#: The log of a workspace may be long: a part may take so many times what a hook may.
_OWN_LOG_BUDGETS: Final = 40

#: On logs full of accidents.
ON_RANDOM_LOGS: Final = {
    "missing data": parts.missing,
    "determinism": parts.determinism,
    "isolation": parts.isolation,
    "future-blindness": parts.future_blindness,
    "equality": parts.equality,
    "proposals": proposals,
}
#: They compare a request among others with the same one among fewer: where other candidates change
#: a value, they would name another cause.
_NEED_ISOLATION: Final = ("future-blindness", "equality")
#: On the log that the plugin is for.
ON_OWN_LOG: Final = {"coverage": parts.coverage, "equality": parts.equality}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one part of the contract found.

    Args:
        part: Its name.
        log: `random` or `own`.
        problem: One line that names plugin and cause; empty: the part holds.
        facts: What was looked at.
        measures: Numbers by name.
    """

    part: str
    log: str
    problem: str = ""
    facts: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the part holds."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class Examiner:
    """Checks one plugin.

    Args:
        plugin: The plugin.
        config: Its settings, how logs are labelled, how long a part may take.
        own: The log that it is for; None: none is at hand.
        like: Random logs have the attributes and event types of this one.
        seeds: One random log each.
        limits: What it may cost.
    """

    plugin: LoadedPlugin
    config: Config
    own: LogSource | None = None
    like: LogProfile = USUAL_LOG
    seeds: tuple[int, ...] = (1,)
    limits: Limits = field(default_factory=Limits)

    def findings(self) -> list[Finding]:
        """Run all parts; those that need what an earlier part broke are left out.

        Returns:
            In the order in which they ran; `columns` comes first.
        """
        subjects: list[tuple[str, Subject]] = []
        found = [self._columns(subjects)]
        if not found[0].passed:
            return found
        random = [subject for log, subject in subjects if log == "random"]
        log, own = subjects[-1]
        steps = [partial(self._part, n, "random", random, p) for n, p in ON_RANDOM_LOGS.items()]
        steps += [partial(self._part, n, log, [own], p) for n, p in ON_OWN_LOG.items()]
        isolated = True
        for step in (*steps, partial(self._latency, log, own), partial(self._state, log, own)):
            if not isolated and step.args[0] in _NEED_ISOLATION:
                continue
            found.append(step())
            isolated &= found[-1].passed or found[-1].part != "isolation"
            if OUT_OF_TIME in found[-1].problem:
                break  # what hangs once hangs in every part
        return found

    def _columns(self, subjects: list[tuple[str, Subject]]) -> Finding:
        logs: list[tuple[str, LogSource]] = [
            ("random", snapshot_of(random_log(_rng(s), self.like))) for s in self.seeds
        ]
        if self.own is not None:
            logs.append(("own", self.own))

        def ask(log: str, source: LogSource) -> str:
            subject = make_subject(self.plugin, source, self.config)
            if not subjects:
                compile_loops(subject)
            subjects.append((log, subject))
            facts, problem = self._watched("columns", "", partial(parts.columns, subject, _rng(0)))
            return facts if facts is not None else parts.broken(problem)

        # The hooks run under a watch of their own, and their errors name them.
        try:
            facts = [ask(log, source) for log, source in logs]
        except (PluginError, parts.ContractBrokenError) as error:
            return Finding("columns", logs[-1][0], problem=str(error))
        return Finding("columns", logs[-1][0], facts=facts[-1])

    def _part(
        self,
        name: str,
        log: str,
        subjects: list[Subject],
        part: Callable[[Subject, np.random.Generator], str],
    ) -> Finding:
        def run() -> list[str]:
            return [part(subject, _rng(1)) for subject in subjects]

        facts, problem = self._watched(name, log, run)
        return Finding(name, log, problem, facts[-1] if facts else "")

    def _latency(self, log: str, subject: Subject) -> Finding:
        found, problem = self._watched(
            "latency", log, partial(check_latency, subject, _rng(2), self.limits)
        )
        if found is None:
            return Finding("latency", log, problem)
        facts = f"{found:.2f} ms of CPU time for 500 candidates"
        return Finding("latency", log, problem, facts, {"latency_ms": found})

    def _state(self, log: str, subject: Subject) -> Finding:
        found, problem = self._watched("state", log, partial(check_state, subject, self.limits))
        sizes = [f"{size:.0f} per {by}" for by, size in (found or {}).items()]
        facts = f"bytes: {', '.join(sizes)}" if sizes else "nothing is kept"
        return Finding("state", log, problem, facts, found or {})

    def _watched(self, name: str, log: str, work: Callable[[], _T]) -> tuple[_T | None, str]:
        budget_s = self.config.plugins.budget_s * (_OWN_LOG_BUDGETS if log == "own" else 1)
        try:
            return run_within(budget_s, self.plugin.name, name, work), ""
        except PluginError as error:
            return None, str(error).replace(f"{parts.ContractBrokenError.__name__}: ", "")


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)

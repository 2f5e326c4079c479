"""The parts of a plugin's contract; each looks at one property and says what breaks it.

A part takes a subject and a random generator and returns facts for people, or raises
`ContractBrokenError` with the feature and what was found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.skew import compare_executions, differences, same_request
from recsys.events.changed import LogBefore
from recsys.features.actions import encode_log
from recsys.features.entities import ANONYMOUS, UNKNOWN
from recsys.features.offline import OfflineReader
from recsys.features.online import OnlineState
from recsys.features.slates import Slates, one_slate
from recsys.features.vocabulary import Feature
from recsys.schema import Attributes
from recsys.testing.subject import Subject, make_subject, names_of

#: Requests that a part looks at.
_SAMPLE = 60
#: Candidates with everything that a feature reads, of which at least one must have a value.
_ENOUGH = 20


class ContractBrokenError(AssertionError):
    """A plugin broke its contract; the message says which part and how."""


def broken(message: str) -> NoReturn:
    """Say that the contract is broken.

    Raises:
        ContractBrokenError: Always.
    """
    raise ContractBrokenError(message)


def columns(subject: Subject, rng: np.random.Generator) -> str:
    """Count what is declared; names, types and rows were checked when the plugin was asked.

    Returns:
        What was looked at.
    """
    del rng
    matrix = subject.plan.matrix(subject.slates.part(0, 1), subject.dataset.reader, {})
    expected = (int(subject.slates.sizes[0]), len(subject.plan.names))
    if matrix.shape != expected:
        broken(f"the matrix has shape {matrix.shape}; expected {expected}")
    return f"{len(subject.plan.names)} columns from {len(subject.aggregates)} aggregates"


def missing(subject: Subject, rng: np.random.Generator) -> str:
    """Ask for nobody, for strangers, about unknown items and things that nobody described.

    Returns:
        What was looked at.
    """
    del rng
    dataset, plan = subject.dataset, subject.plan
    state = OnlineState(encode_log(subject.source), tuple(plan.aggregates.values()))
    items = np.array([UNKNOWN, *range(min(len(dataset.log.items.ids), 50)), ANONYMOUS], np.int32)
    last = subject.after_log
    n_requests = 0
    contexts: tuple[Attributes | None, ...] = (None, {}, {"never seen before": "x"})
    for user in (ANONYMOUS, UNKNOWN, 0):
        for context in contexts:
            request = one_slate(user, last, items, context)
            offline = plan.matrix(request, dataset.reader, {})
            online = plan.matrix(same_request(request, dataset.log, state), state, {})
            _must_equal(subject, online, offline, f"user row {user}, attributes {context}")
            n_requests += 1
    first = one_slate(ANONYMOUS, int(dataset.log.actions.visible[0]), items)
    plan.matrix(first, dataset.reader, {})
    return f"{n_requests + 1} requests with something missing"


def coverage(subject: Subject, rng: np.random.Generator) -> str:
    """Find columns that are missing for every candidate although what they read is there.

    Returns:
        What was looked at.
    """
    slates = _joined(subject, subject.sample(rng, _SAMPLE))
    dataset, plan = subject.dataset, subject.plan
    share = np.isnan(plan.matrix(slates, dataset.reader, {})).mean(axis=0)
    for feature, missing_share in zip(plan.features, share.tolist(), strict=True):
        there = [
            Feature(name=name, expr=pl.col(name).is_not_null())
            for name in dict.fromkeys(feature.expr.meta.root_names())
        ]
        if missing_share < 1.0 or not there:
            continue
        inputs = replace(plan, features=tuple(there)).matrix(slates, dataset.reader, {})
        n_there = int(inputs.all(axis=1).sum())
        if n_there >= _ENOUGH:
            broken(f"{feature.name} is missing for all {n_there} candidates that have all it reads")
    if not len(share):
        return "no columns"
    return f"{share.mean():.0%} of values missing; most in {plan.names[int(share.argmax())]}"


def determinism(subject: Subject, rng: np.random.Generator) -> str:
    """Ask and compute twice.

    Returns:
        What was looked at.
    """
    again = make_subject(subject.plugin, subject.source, subject.config)
    if again.plan.names != subject.plan.names:
        broken(f"the second time it offers {again.plan.names}; the first {subject.plan.names}")
    chosen = subject.sample(rng, _SAMPLE)
    slates = _joined(subject, chosen)
    first = subject.plan.matrix(slates, subject.dataset.reader, {})
    second = again.plan.matrix(slates, again.dataset.reader, {})
    differ = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    if differ.any():
        names = names_of(subject.plan, differ.any(axis=0))
        broken(f"computed twice, {names} gave different values")
    return f"{first.size:,} values twice"


def isolation(subject: Subject, rng: np.random.Generator) -> str:
    """Rank candidates alone, in another order, and beside other requests.

    Returns:
        What was looked at.
    """
    dataset, plan, listwise = subject.dataset, subject.plan, subject.listwise
    chosen = subject.sample(rng, _SAMPLE // 4)
    n_alone, whole = 0, []
    for number in chosen:
        request = subject.slates.part(number, number + 1)
        together = plan.matrix(request, dataset.reader, {})
        whole.append(together)
        for candidate in range(min(len(request.items), 3)):
            alone = plan.matrix(request.alone(candidate), dataset.reader, {})[0]
            differ = differences(alone, together[candidate]) & ~listwise
            n_alone += 1
            if differ.any():
                names = names_of(plan, differ)
                broken(f"{names} depends on the other candidates without saying listwise=True")
    # Last: what depends on other candidates depends on other requests too, and is named above.
    batch = plan.matrix(_joined(subject, chosen), dataset.reader, {})
    _must_equal(subject, batch, np.concatenate(whole), "beside other requests")
    return f"{n_alone} candidates alone; {int(listwise.sum())} columns are list-wise"


def future_blindness(subject: Subject, rng: np.random.Generator) -> str:
    """Take away all events at or after a request: it must not notice.

    Returns:
        What was looked at.
    """
    dataset = subject.dataset
    chosen = subject.sample(rng, _SAMPLE // 6)
    for number in chosen:
        request = subject.slates.part(number, number + 1)
        past = OfflineReader(encode_log(LogBefore(subject.source, int(request.as_of[0]))))
        blind = subject.plan.matrix(same_request(request, dataset.log, past), past, {})
        seeing = subject.plan.matrix(request, dataset.reader, {})
        _must_equal(subject, seeing, blind, "with and without the events at or after the request")
    return f"{len(chosen)} requests with and without what came later"


def equality(subject: Subject, rng: np.random.Generator) -> str:
    """Replay the log through the online state and compare with the offline execution.

    Returns:
        What was looked at.
    """
    skew = compare_executions(
        subject.source, subject.dataset, subject.plan, rng, n_requests=4 * _SAMPLE
    )
    if skew.n_mismatches:
        wrong = {name: n for name, n in skew.mismatches.items() if n}
        broken(f"offline and online differ: {wrong} of {skew.n_values:,} values")
    return f"0 mismatches in {skew.n_values:,} values of {skew.n_requests} requests"


def _must_equal(
    subject: Subject, found: NDArray[np.float32], expected: NDArray[np.float32], where: str
) -> None:
    differ = np.logical_or.reduce(differences(found, expected), axis=0)
    if differ.any():
        broken(f"{names_of(subject.plan, differ)} differs: {where}")


def _joined(subject: Subject, chosen: list[int]) -> Slates:
    mask = np.zeros(len(subject.slates), dtype=np.bool_)
    mask[chosen] = True
    return subject.dataset.labelled.where(mask).slates

"""Which bundle did better with real users: lists that two or more of them made, side by side.

Users are the unit, because the split is by user and a user's lists are alike. A metric of a bundle
is a ratio, such as actions per list; its variance is that of y - R n over users, with R the ratio
(delta method). What users did before the comparison began tells a good part of what they do in it,
whoever ranks: it is taken off (CUPED), which narrows the interval and moves nothing else.

Source: delta-method, cuped, srm
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import TrainingError
from recsys.events.snapshot import LogSource
from recsys.ranking.metrics import Interval
from recsys.training.dataset import make_dataset
from recsys.training.labels import LabelledSlates
from recsys.workspace import Workspace

#: Of a list: whether anything in it was acted on, on how many items, the sum of their grades, and
#: the reciprocal place of the first of them.
METRICS: Final = ("acted_on", "actions", "gain", "mrr")
#: Chance of a split this uneven or more below which it is no accident.
SUSPICIOUS: Final = 0.001
_Z95: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Arm:
    """What one bundle's lists led to.

    Args:
        name: Its version, or another value of the attribute.
        n_users: Users who saw lists of it and of no other.
        n_lists: Their lists.
        metrics: Mean over the lists, by name.
        differences: To the first arm, by metric, with 95 % intervals; empty for the first.
    """

    name: str
    n_users: int
    n_lists: int
    metrics: dict[str, float]
    differences: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class Experiment:
    """Arms over one stretch of time.

    Args:
        attribute: Of the impressions' context, that says the arm.
        start_at: When all arms had begun, in microseconds.
        end_at: When the first of them ended.
        arms: As asked, or the one with most lists first.
        n_mixed: Users left out because they saw several arms.
        n_unnamed: Lists left out because nobody was named.
        n_before: Users of whom something was known from before.
        explained: Share of the variance that it took off, by metric, 0 to 1.
        uneven: Chance of a split as uneven as this one, if shares were as expected; None: nothing
            says what was expected.
    """

    attribute: str
    start_at: int
    end_at: int
    arms: list[Arm]
    n_mixed: int
    n_unnamed: int
    n_before: int
    explained: dict[str, float]
    uneven: float | None


def compare_arms(
    workspace: Workspace,
    source: LogSource,
    attribute: str = "model_version",
    names: Sequence[str] = (),
) -> Experiment:
    """Compare what lists led to, by an attribute of their context.

    Args:
        workspace: Whose labels say what counts, and whose variants say how users were split.
        source: Its log.
        attribute: Of impressions; text.
        names: Its values to compare, the baseline first; empty: all.

    Returns:
        The comparison, over the time in which all arms made lists.

    Raises:
        TrainingError: The log has no impressions, fewer than two arms, arms that no stretch of
            time has in common, or one whose lists nobody named saw alone.
    """
    dataset = make_dataset(source, workspace.config)
    if dataset.labelled.sampled:
        raise TrainingError("compare", "no impressions in the log", "lists that were shown")
    arms, names = _arms(dataset.labelled, attribute, names)
    span = _span(dataset.labelled.slates.as_of, arms, names)
    users = _by_user(dataset.labelled, arms, len(names), span)
    n_users = np.bincount(users.arms, minlength=len(names))
    if not n_users.all():
        found = f"{names[int(n_users.argmin())]}: nobody named saw its lists and no others"
        raise TrainingError("compare", found, "some users for each")
    ratios = _ratios(users)
    adjusted, explained = _adjusted(users, ratios)
    variants = workspace.config.serving.variants.values()
    expected = {variant.version: variant.share for variant in variants}
    return Experiment(
        attribute=attribute,
        start_at=span[0],
        end_at=span[1],
        arms=[_arm(name, users, ratios, adjusted, number=n) for n, name in enumerate(names)],
        n_mixed=users.n_mixed,
        n_unnamed=users.n_unnamed,
        n_before=int(users.is_known.sum()),
        explained=dict(zip(METRICS, explained.tolist(), strict=True)),
        uneven=_uneven(n_users, names, expected),
    )


def _arms(
    labelled: LabelledSlates, attribute: str, names: Sequence[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Find the arm of every list.

    Returns:
        int64 (n_lists,): its number, -1 for none; and the names of arms.

    Raises:
        TrainingError: There are fewer than two, or not those that were asked for.
    """
    values = [context.get(attribute) for context in labelled.slates.context]
    found: dict[str, int] = {}
    for value in values:
        if isinstance(value, str):
            found[value] = found.get(value, 0) + 1
    chosen = list(names) or sorted(found, key=lambda name: (-found[name], name))
    missing = [name for name in chosen if name not in found]
    if missing or len(chosen) < 2:
        there = ", ".join(f"{name} ({n:,} lists)" for name, n in sorted(found.items())) or "none"
        what = f"context.{attribute} of impressions"
        wanted = f"lists of {', '.join(missing)}" if missing else "two values or more"
        raise TrainingError(what, there, wanted)
    numbers = {name: number for number, name in enumerate(chosen)}
    arms = [numbers.get(value, -1) if isinstance(value, str) else -1 for value in values]
    return np.array(arms, dtype=np.int64), chosen


def _span(
    as_of: NDArray[np.int64], arms: NDArray[np.int64], names: Sequence[str]
) -> tuple[int, int]:
    spans = [as_of[arms == number] for number in range(len(names))]
    start, end = max(int(one[0]) for one in spans), min(int(one[-1]) for one in spans)
    if start > end:
        found = "one ended before another began"
        raise TrainingError("compare", found, "a time in which all of them made lists")
    return start, end


@dataclass(frozen=True, slots=True)
class _Users:
    """Sums over the lists of each user.

    Args:
        arms: int64 (n_users,): which arm each saw.
        n_lists: float64 (n_users,).
        sums: float64 (n_users, n_metrics): over these lists.
        before: float64 (n_users, n_metrics): means over the lists before the comparison began.
        is_known: bool (n_users,): whether there were any; `before` is 0 where not.
        n_mixed: Users who saw several arms.
        n_unnamed: Lists of nobody.
    """

    arms: NDArray[np.int64]
    n_lists: NDArray[np.float64]
    sums: NDArray[np.float64]
    before: NDArray[np.float64]
    is_known: NDArray[np.bool_]
    n_mixed: int
    n_unnamed: int


def _by_user(
    labelled: LabelledSlates, arms: NDArray[np.int64], n_arms: int, span: tuple[int, int]
) -> _Users:
    users, as_of = labelled.slates.users.astype(np.int64), labelled.slates.as_of
    values = _values(labelled)
    inside = (arms >= 0) & (as_of >= span[0]) & (as_of <= span[1])
    named = inside & (users >= 0)
    size = int(users.max(initial=-1)) + 1
    seen = np.zeros((size, n_arms), dtype=np.bool_)
    seen[users[named], arms[named]] = True
    is_mixed = seen.sum(axis=1) > 1
    kept = np.flatnonzero(seen.any(axis=1) & ~is_mixed)
    n_lists, sums = _sums(users[named], values[named], size)
    earlier = (as_of < span[0]) & (users >= 0)
    n_before, before = _sums(users[earlier], values[earlier], size)
    return _Users(
        arms=seen[kept].argmax(axis=1),
        n_lists=n_lists[kept],
        sums=sums[kept],
        before=before[kept] / np.maximum(n_before[kept], 1)[:, None],
        is_known=n_before[kept] > 0,
        n_mixed=int(is_mixed.sum()),
        n_unnamed=int((inside & (users < 0)).sum()),
    )


def _values(labelled: LabelledSlates) -> NDArray[np.float64]:
    """Measure every list.

    Returns:
        float64 (n_lists, n_metrics), columns as in `METRICS`.
    """
    starts, sizes = labelled.slates.offsets[:-1], labelled.slates.sizes
    acted = labelled.grades > 0
    places = np.arange(len(acted)) - np.repeat(starts, sizes)
    reciprocal = np.where(acted, 1.0 / (1.0 + places), 0.0)
    columns = (
        np.maximum.reduceat(acted.astype(np.float64), starts),
        np.add.reduceat(acted.astype(np.float64), starts),
        np.add.reduceat(labelled.grades.astype(np.float64), starts),
        np.maximum.reduceat(reciprocal, starts),
    )
    return np.stack(columns, axis=1)


def _sums(
    users: NDArray[np.int64], values: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_lists = np.bincount(users, minlength=size).astype(np.float64)
    sums = [np.bincount(users, column, minlength=size) for column in values.T]
    return n_lists, np.stack(sums, axis=1)


def _ratios(users: _Users) -> NDArray[np.float64]:
    """Take the mean over the lists of each arm.

    Returns:
        float64 (n_arms, n_metrics).
    """
    n_arms = int(users.arms.max()) + 1
    n_lists = np.bincount(users.arms, users.n_lists, n_arms)
    sums = [np.bincount(users.arms, column, n_arms) for column in users.sums.T]
    ratios: NDArray[np.float64] = np.stack(sums, axis=1) / n_lists[:, None]
    return ratios


def _adjusted(
    users: _Users, ratios: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Write each user's part of a ratio, with what was known before taken off.

    The mean over the users of an arm is 0 plus what chance gave it of good users.

    Returns:
        float64 (n_users, n_metrics), and the share of the variance that was explained, by metric.
    """
    n_mean = np.bincount(users.arms, users.n_lists) / np.bincount(users.arms)
    # Each arm around its own ratio, in lists of an average user.
    parts = (users.sums - ratios[users.arms] * users.n_lists[:, None]) / n_mean[users.arms, None]
    known = users.is_known
    if known.sum() < 2:
        return parts, np.zeros(len(METRICS))
    before = np.where(known[:, None], users.before - users.before[known].mean(axis=0), 0.0)
    before *= users.n_lists[:, None] / users.n_lists.mean()
    variances = np.maximum((before**2).sum(axis=0), 1e-12)
    slopes = (before * (parts - parts.mean(axis=0))).sum(axis=0) / variances
    adjusted = parts - slopes * before
    explained = 1.0 - adjusted.var(axis=0) / np.maximum(parts.var(axis=0), 1e-12)
    return adjusted, np.clip(explained, 0.0, 1.0)


def _arm(
    name: str,
    users: _Users,
    ratios: NDArray[np.float64],
    adjusted: NDArray[np.float64],
    *,
    number: int,
) -> Arm:
    mine, base = users.arms == number, users.arms == 0
    differences = {}
    for column, metric in enumerate(METRICS if number else ()):
        here, there = adjusted[mine, column], adjusted[base, column]
        mean = ratios[number, column] + here.mean() - ratios[0, column] - there.mean()
        error = math.sqrt(here.var() / len(here) + there.var() / len(there))
        differences[metric] = Interval(
            float(mean), float(mean - _Z95 * error), float(mean + _Z95 * error)
        )
    return Arm(
        name=name,
        n_users=int(mine.sum()),
        n_lists=int(users.n_lists[mine].sum()),
        metrics=dict(zip(METRICS, ratios[number].tolist(), strict=True)),
        differences=differences,
    )


def _uneven(
    n_users: NDArray[np.int64], names: Sequence[str], expected: Mapping[str, float]
) -> float | None:
    """Say how probable a split as uneven as this is.

    Returns:
        A chance; None where the configuration has no share for all arms but one.
    """
    shares = np.array([expected.get(name, math.nan) for name in names])
    if np.isnan(shares).sum() != 1:  # all but the active bundle have a share of their own
        return None
    shares[np.isnan(shares)] = 1.0 - sum(expected.values())
    shares /= shares.sum()
    total = int(n_users.sum())
    spread = np.sqrt(total * shares * (1.0 - shares))
    z = float(np.max(np.abs(n_users - total * shares) / np.maximum(spread, 1e-12)))
    return min(1.0, len(names) * math.erfc(z / math.sqrt(2.0)))

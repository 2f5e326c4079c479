"""The words in which a plugin says what it needs and what it offers: aggregates and features.

An aggregate is state folded from events, per key. The vocabulary is closed so that each word can
have two executions that a machine proves equal: over the whole log for training, incremental for
serving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import polars as pl

Fold: TypeAlias = Literal[
    "count", "sum", "distinct_items", "since_last", "since_first", "decayed_count", "last_items"
]
Reduce: TypeAlias = Literal["mean", "max", "sum"]

#: A window is cut into this many equal buckets; it slides by one bucket at a time.
WINDOW_BUCKETS: Final = 12

#: Stands for every interaction type (impressions are not among them).
ANY_INTERACTION: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """State folded from events, per key; read for every candidate of a request.

    Events are seen strictly before the request (`visible_at < as_of`), in order of `visible_at`.
    A key without events reads 0 for counts and sums and missing for instants. A key that does not
    exist (an unknown user, an item without the attribute) reads missing.

    Args:
        name: Column name; two plugins may use one name only for the same aggregate.
        fold: What is kept: `count` and `sum` (of the event's value), `distinct_items`,
            `since_last` and `since_first` (seconds from the event's `occurred_at` to `as_of`),
            `decayed_count` (an event of age t weighs 0.5 ** (t / half_life_s)), `last_items`.
        of: Event types: interaction types, `"impression"` (the item was shown), `"*"` (any
        interaction).
        by: Key: `item`, `user`, `global`, `user*item`, or an item attribute alone or with the user:
            `item.genres`, `user*item.genres`.
        window_s: Only events of the last seconds, in buckets of `window_s / WINDOW_BUCKETS`; None:
            all.
        half_life_s: Of `decayed_count`.
        n: How many `last_items` to keep, newest first.
        reduce: How the values of a candidate with several keys (genres) become one number.
    """

    name: str
    fold: Fold
    of: tuple[str, ...]
    by: str
    window_s: float | None = None
    half_life_s: float | None = None
    n: int = 0
    reduce: Reduce = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One numeric column per candidate: a polars expression over aggregates, attributes and scores.

    Args:
        name: Column name in the ranker; unique over all plugins.
        expr: Expression over aggregate names, `item.<attribute>`, `user.<attribute>`,
            `context.<attribute>`, `as_of` (microseconds), `item_id`, `user_id` and columns of
            feature models.
        listwise: The value depends on which other candidates are in the list.
        per_request: The value is one for all candidates of a request: the expression reads only
            `user.`, `context.`, `as_of`, `user_id` and aggregates whose key has no part of the
            candidate, is evaluated on one row per request and then repeated. For text above all:
            a user agent is read once and not 500 times.
        description: One line for people who read an explanation.
    """

    name: str
    expr: pl.Expr
    listwise: bool = False
    per_request: bool = False
    description: str = ""


def _types(of: str | tuple[str, ...]) -> tuple[str, ...]:
    return (of,) if isinstance(of, str) else tuple(of)


def count(
    name: str,
    of: str | tuple[str, ...],
    *,
    by: str,
    window_s: float | None = None,
    reduce: Reduce = "mean",
) -> Aggregate:
    """Count events.

    Returns:
        The aggregate; reads whole numbers.
    """
    return Aggregate(
        name=name, fold="count", of=_types(of), by=by, window_s=window_s, reduce=reduce
    )


def total(
    name: str,
    of: str | tuple[str, ...],
    *,
    by: str,
    window_s: float | None = None,
    reduce: Reduce = "mean",
) -> Aggregate:
    """Sum the values of events; an event without a value adds nothing.

    Returns:
        The aggregate.
    """
    return Aggregate(name=name, fold="sum", of=_types(of), by=by, window_s=window_s, reduce=reduce)


def distinct_items(name: str, of: str | tuple[str, ...], *, by: str) -> Aggregate:
    """Count different items.

    Returns:
        The aggregate; reads whole numbers.
    """
    return Aggregate(name=name, fold="distinct_items", of=_types(of), by=by)


def since_last(
    name: str, of: str | tuple[str, ...], *, by: str, reduce: Reduce = "mean"
) -> Aggregate:
    """Measure the time since the latest event.

    Returns:
        The aggregate; reads seconds, missing when there was no event.
    """
    return Aggregate(name=name, fold="since_last", of=_types(of), by=by, reduce=reduce)


def since_first(
    name: str, of: str | tuple[str, ...], *, by: str, reduce: Reduce = "mean"
) -> Aggregate:
    """Measure the time since the earliest event.

    Returns:
        The aggregate; reads seconds, missing when there was no event.
    """
    return Aggregate(name=name, fold="since_first", of=_types(of), by=by, reduce=reduce)


def decayed_count(
    name: str, of: str | tuple[str, ...], *, by: str, half_life_s: float, reduce: Reduce = "mean"
) -> Aggregate:
    """Count events, older ones less.

    Returns:
        The aggregate.
    """
    return Aggregate(
        name=name,
        fold="decayed_count",
        of=_types(of),
        by=by,
        half_life_s=half_life_s,
        reduce=reduce,
    )


def last_items(name: str, of: str | tuple[str, ...], *, n: int) -> Aggregate:
    """Keep a user's last items, for feature models and candidate sources.

    Returns:
        The aggregate; read as `Histories`, not as a column.
    """
    return Aggregate(name=name, fold="last_items", of=_types(of), by="user", n=n)

"""The words in which a plugin says what it needs and what it offers: aggregates and features.

An aggregate is state folded from events, per key. The vocabulary is closed so that each word can
have two executions that a machine proves equal: over the whole log for training, incremental for
serving. docs/features.md has the exact meaning of each word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import polars as pl

from recsys.schema import SESSION

Fold: TypeAlias = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "distinct",
    "since_last",
    "since_first",
    "decayed_count",
    "decayed_sum",
    "last_items",
]
Reduce: TypeAlias = Literal["mean", "max", "min", "sum"]
Distinct: TypeAlias = Literal["item", "user"]
Types: TypeAlias = str | tuple[str, ...]

#: A window is cut into this many equal buckets; it slides by one bucket at a time.
WINDOW_BUCKETS: Final = 12

#: Stands for every interaction type (neither impressions nor starts of sessions are among them).
ANY_INTERACTION: Final = "*"

#: Of `last_items`: those of the user, or where no user id is given those of the visit.
USER_OR_VISIT: Final = "user|visit"
_OF_LAST_ITEMS: Final = ("user", "session", "visit", USER_OR_VISIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """State folded from events, per key; read for every candidate of a request.

    Events are seen strictly before the request (`visible_at < as_of`), in order of `visible_at`.
    A key without events reads 0 for counts and sums and missing for everything else. A key that
    does not exist (an anonymous user, an item without the attribute) reads missing.

    Args:
        name: Column name; two plugins may use one name only for the same aggregate.
        fold: What is kept: `count`; `sum`, `mean`, `min` and `max` of the event's value; `distinct`
            items or users; `since_last` and `since_first` (seconds from the event's `occurred_at`
            to `as_of`); `decayed_count` and `decayed_sum` (an event of age t weighs
            0.5 ** (t / half_life_s)); `last_items`.
        of: Event types: interaction types, `"*"` (any interaction), `"impression"` (the item was
            shown); or `"session"` alone (a session began).
        by: Key: `global`; a part of the request (`user`, `session`, `user.NAME`, `context.NAME`, or
            `visit`: the session of somebody whom no user id names); a part of the candidate
            (`item`, `item.NAME`); or one of each, such as `user*item`, `user*item.genres`,
            `context.query*item`. Of `last_items` also `user|visit`: the first that there is.
        window_s: Only events of the last seconds, in buckets of `window_s / WINDOW_BUCKETS`; None:
            all.
        half_life_s: Of `decayed_count` and `decayed_sum`.
        n: How many `last_items` to keep, newest first.
        what: What `distinct` counts.
        reduce: How the values of a candidate with several keys (genres) become one number.
    """

    name: str
    fold: Fold
    of: tuple[str, ...]
    by: str
    window_s: float | None = None
    half_life_s: float | None = None
    n: int = 0
    what: Distinct = "item"
    reduce: Reduce = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One numeric column per candidate: a polars expression over aggregates, attributes and scores.

    Args:
        name: Column name in the ranker; unique over all plugins.
        expr: Expression over aggregate names, `item.<attribute>`, `user.<attribute>`,
            `context.<attribute>`, `candidate.<attribute>` (what a caller says of a candidate within
            one request), `as_of` (microseconds), `item_id`, `user_id` and columns of feature
            models.
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


def _types(of: Types) -> tuple[str, ...]:
    return (of,) if isinstance(of, str) else tuple(of)


def count(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "mean"
) -> Aggregate:
    """Count events.

    Returns:
        The aggregate; reads whole numbers, 0 without events.
    """
    return Aggregate(
        name=name, fold="count", of=_types(of), by=by, window_s=window_s, reduce=reduce
    )


def total(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "mean"
) -> Aggregate:
    """Sum the values of events; an event without a value adds nothing.

    Returns:
        The aggregate; 0 without events.
    """
    return Aggregate(name=name, fold="sum", of=_types(of), by=by, window_s=window_s, reduce=reduce)


def mean(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "mean"
) -> Aggregate:
    """Average the values of events; an event without a value does not count.

    Returns:
        The aggregate; missing where no event had a value.
    """
    return Aggregate(name=name, fold="mean", of=_types(of), by=by, window_s=window_s, reduce=reduce)


def minimum(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "min"
) -> Aggregate:
    """Find the smallest value of events.

    Returns:
        The aggregate; missing where no event had a value.
    """
    return Aggregate(name=name, fold="min", of=_types(of), by=by, window_s=window_s, reduce=reduce)


def maximum(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "max"
) -> Aggregate:
    """Find the largest value of events.

    Returns:
        The aggregate; missing where no event had a value.
    """
    return Aggregate(name=name, fold="max", of=_types(of), by=by, window_s=window_s, reduce=reduce)


def distinct(
    name: str,
    of: Types,
    *,
    by: str,
    what: Distinct = "item",
    window_s: float | None = None,
) -> Aggregate:
    """Count different items, or different users (events of nobody do not count as one).

    Returns:
        The aggregate; reads whole numbers, 0 without events.
    """
    return Aggregate(name=name, fold="distinct", of=_types(of), by=by, window_s=window_s, what=what)


def since_last(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "min"
) -> Aggregate:
    """Measure the time since the latest event.

    Returns:
        The aggregate; reads seconds, missing when there was no event.
    """
    return Aggregate(
        name=name, fold="since_last", of=_types(of), by=by, window_s=window_s, reduce=reduce
    )


def since_first(
    name: str, of: Types, *, by: str, window_s: float | None = None, reduce: Reduce = "max"
) -> Aggregate:
    """Measure the time since the earliest event.

    Returns:
        The aggregate; reads seconds, missing when there was no event.
    """
    return Aggregate(
        name=name, fold="since_first", of=_types(of), by=by, window_s=window_s, reduce=reduce
    )


def decayed_count(
    name: str, of: Types, *, by: str, half_life_s: float, reduce: Reduce = "mean"
) -> Aggregate:
    """Count events, older ones less.

    Returns:
        The aggregate; 0 without events.
    """
    return Aggregate(
        name=name,
        fold="decayed_count",
        of=_types(of),
        by=by,
        half_life_s=half_life_s,
        reduce=reduce,
    )


def decayed_total(
    name: str, of: Types, *, by: str, half_life_s: float, reduce: Reduce = "mean"
) -> Aggregate:
    """Sum the values of events, older ones less; an event without a value adds nothing.

    Returns:
        The aggregate; 0 without events.
    """
    return Aggregate(
        name=name, fold="decayed_sum", of=_types(of), by=by, half_life_s=half_life_s, reduce=reduce
    )


def last_items(
    name: str, of: Types, *, n: int, by: str = USER_OR_VISIT, window_s: float | None = None
) -> Aggregate:
    """Keep the last items of a user or a visit, for feature models and candidate sources.

    Returns:
        The aggregate; read as `Histories`, not as a column.
    """
    return Aggregate(name=name, fold="last_items", of=_types(of), by=by, n=n, window_s=window_s)


@lru_cache(maxsize=256)  # every request asks for those of the same few
def parts_of(aggregate: Aggregate) -> tuple[Aggregate, ...]:
    """Take an aggregate with several keys apart.

    Returns:
        One per key, in the order in which they are looked into; the aggregate itself where it has
        one.
    """
    keys = aggregate.by.split("|")
    return tuple(replace(aggregate, by=by) for by in keys) if len(keys) > 1 else (aggregate,)


def check_aggregate(aggregate: Aggregate) -> None:
    """Check what the types of an aggregate's fields cannot say; its key is checked by `parse_key`.

    Raises:
        ValueError: Says what was found and what was expected.
    """
    found = _problem(aggregate)
    if found:
        text = f"aggregate {aggregate.name!r}: {found}"
        raise ValueError(text)


def _problem(aggregate: Aggregate) -> str:
    fold, window_s, half_life_s = aggregate.fold, aggregate.window_s, aggregate.half_life_s
    decayed, kept = fold.startswith("decayed"), fold == "last_items"
    sessions = SESSION in aggregate.of
    rules = {
        "of names no event type; expected one at least": not aggregate.of,
        f"of mixes {SESSION!r} with others; expected it alone": sessions and len(aggregate.of) > 1,
        f"by is {aggregate.by!r}; the start of a session has no item": sessions
        and "item" in aggregate.by,
        f"window_s is {window_s}; expected seconds above 0": window_s is not None
        and not window_s > 0,
        f"half_life_s is {half_life_s}; expected seconds above 0 for a decayed fold, else None": (
            not (half_life_s or 0) > 0 if decayed else half_life_s is not None
        ),
        "a decayed fold takes no window_s; expected one or the other": decayed
        and window_s is not None,
        f"n is {aggregate.n}; expected 1 or more for last_items, else 0": kept != (aggregate.n > 0),
        f"last_items are kept by {aggregate.by!r}; expected {' or '.join(_OF_LAST_ITEMS)}": kept
        and aggregate.by not in _OF_LAST_ITEMS,
    }
    return next((text for text, broken in rules.items() if broken), "")


def calls_python(expr: pl.Expr) -> bool:
    """Say whether evaluating an expression runs Python code, which may not come back.

    Returns:
        True with `map_elements`, `map_batches` and the like.
    """
    return "python_udf" in str(expr)

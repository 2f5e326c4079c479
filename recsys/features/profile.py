"""What kind of log this is: attributes with their kinds, event types, sizes.

Plugins ask it what they can offer on this log; it is stored in the bundle, so that serving offers
exactly what training saw.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import polars as pl

from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot, LogSource
from recsys.features.entities import Entities
from recsys.features.repeats import repeat_share
from recsys.features.spilled import let_go
from recsys.schema import MICROSECONDS, Attributes, AttributeValue

#: Distinct values of one attribute that are counted.
_MOST_DISTINCT = 100_000
#: Frequent values of one attribute that are named.
_MOST_FREQUENT = 32

if TYPE_CHECKING:
    from recsys.features.actions import EncodedLog

Kind: TypeAlias = Literal["number", "boolean", "string", "strings", "numbers"]
#: What attributes of each kind are in polars.
DTYPES: Final[Mapping[Kind, pl.DataType]] = {
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "string": pl.String(),
    "strings": pl.List(pl.String()),
    "numbers": pl.List(pl.Float64()),
}


@dataclass(frozen=True, slots=True)
class AttributeProfile:
    """One attribute over all versions that carry it.

    Args:
        kind: Type of its values; the most frequent one where they differ.
        n_present: Versions that carry it.
        n_distinct: Distinct values (of lists: distinct elements), counted up to 100,000.
        n_values: Values (of lists: elements) in all.
        mean_words: Words per value, 0 for numbers and booleans.
        frequent: The most frequent texts (of lists: elements), most frequent first, 32 at most and
            only those that occur twice; empty for numbers and booleans.
    """

    kind: Kind
    n_present: int
    n_distinct: int
    n_values: int
    mean_words: float
    frequent: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether it can be a column as it is."""
        return self.kind in {"number", "boolean"}

    @property
    def dtype(self) -> pl.DataType:
        """What its values are in polars."""
        return DTYPES[self.kind]

    @property
    def categorical(self) -> bool:
        """Whether it is text whose values come back, 1.5 times each on average."""
        return self.kind in {"string", "strings"} and self.n_values >= 1.5 * self.n_distinct


@dataclass(frozen=True, slots=True)
class LogProfile:
    """A log in a nutshell.

    Args:
        items: Item attributes by name.
        users: User attributes by name.
        context: Request attributes by name.
        event_types: Number of interactions by type.
        n_items: Items that any event names.
        n_users: Users that any event names.
        n_impressions: Lists shown; 0 for a log of interactions only.
        span_s: Seconds from the first impression or interaction to the last.
        candidates: Attributes of candidates within their request, by name.
        repeat_share: Share of the interactions with an item that the user had acted on a day before
            or longer.
    """

    items: dict[str, AttributeProfile] = field(default_factory=dict)
    users: dict[str, AttributeProfile] = field(default_factory=dict)
    context: dict[str, AttributeProfile] = field(default_factory=dict)
    event_types: dict[str, int] = field(default_factory=dict)
    n_items: int = 0
    n_users: int = 0
    n_impressions: int = 0
    span_s: float = 0.0
    candidates: dict[str, AttributeProfile] = field(default_factory=dict)
    repeat_share: float = 0.0

    @property
    def scopes(self) -> dict[str, dict[str, AttributeProfile]]:
        """Attributes by what `NAME` of an expression's column follows: `item.NAME`, and so on."""
        return {
            "item": self.items,
            "user": self.users,
            "context": self.context,
            "candidate": self.candidates,
        }

    @property
    def commonest_type(self) -> str:
        """The interaction type that the log has most of; empty for a log without interactions."""
        return max(self.event_types, key=lambda name: (self.event_types[name], name), default="")

    def with_attributes(
        self, *, context: Mapping[str, Kind], items: Mapping[str, Kind]
    ) -> LogProfile:
        """Add attributes that no event of the log carries.

        Args:
            context: Of requests, kinds by name; attributes that the log has stay as they are.
            items: The same of items.

        Returns:
            The profile with them.
        """
        return replace(
            self,
            context={**_never_seen(context), **self.context},
            items={**_never_seen(items), **self.items},
        )

    def request_text(self, names: Iterable[str]) -> str:
        """Find a text attribute of requests, or else of users, by its usual names.

        Returns:
            `context.NAME` or `user.NAME`; empty where the log has none of them.
        """
        found = [
            f"{scope}.{name}"
            for scope, attributes in (("context", self.context), ("user", self.users))
            for name in names
            if name in attributes and attributes[name].kind == "string"
        ]
        return found[0] if found else ""


def _never_seen(kinds: Mapping[str, Kind]) -> dict[str, AttributeProfile]:
    return {name: AttributeProfile(kind, 0, 0, 0, 0.0) for name, kind in kinds.items()}


class LogProfiler:
    """Describes a log while it is encoded: a watcher of `encode_log`."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._context, self._candidates = _Tallies(), _Tallies()
        self._n_impressions = 0

    def __call__(self, piece: LogSnapshot, log: EncodedLog) -> None:
        """Take a piece in."""
        del log
        counts = piece.interactions["type"].value_counts()
        self._types.update(dict(counts.iter_rows()))
        self._n_impressions += piece.impressions.height
        for context, said in piece.impressions.select("context", "item_attributes").iter_rows():
            self._context.add(decode_attributes(context))
            if said and said != "{}":
                for attributes in decode_attributes(said).values():
                    self._candidates.add(attributes)

    def profile(self, log: EncodedLog) -> LogProfile:
        """Describe what was taken in.

        Args:
            log: All of it, encoded.

        Returns:
            Its profile; names in alphabetical order.
        """
        return LogProfile(
            items=profile_attributes(_all_attributes(log.items)),
            users=profile_attributes(_all_attributes(log.users)),
            context=self._context.profiles(),
            event_types=dict(sorted(self._types.items())),
            n_items=len(log.items.ids),
            n_users=len(log.users.ids),
            n_impressions=self._n_impressions,
            span_s=_span_s(log),
            candidates=self._candidates.profiles(),
            repeat_share=repeat_share(log.actions),
        )


def profile_log(source: LogSource) -> tuple[LogProfile, EncodedLog]:
    """Encode a log and describe it.

    Returns:
        Its profile, names in alphabetical order, and the log as integers.
    """
    # Plugins import this module for its types; compiled loops are loaded when a log is really read.
    from recsys.features.actions import encode_log

    profiler = LogProfiler()
    log = encode_log(source, watch=[profiler])
    return profiler.profile(log), log


def _span_s(log: EncodedLog) -> float:
    occurred = log.actions.occurred
    if not len(occurred):
        return 0.0
    span_us = int(occurred.max()) - int(occurred.min())
    let_go(occurred)
    return span_us / MICROSECONDS


def _all_attributes(entities: Entities) -> Iterable[Attributes]:
    return (entities.attributes(row) for row in range(len(entities)))


class _Tally:
    """Counts of one attribute while a log is read."""

    def __init__(self) -> None:
        self.kinds: dict[Kind, int] = defaultdict(int)
        self.distinct: Counter[str] = Counter()
        self.n_values = 0
        self.n_words = 0

    def add(self, value: AttributeValue) -> None:
        self.kinds[kind_of_value(value)] += 1
        for part in value if isinstance(value, list) else [value]:
            self.n_values += 1
            text = str(part)
            if len(self.distinct) < _MOST_DISTINCT or text in self.distinct:
                self.distinct[text] += 1
            if isinstance(part, str):
                self.n_words += len(part.split())

    def profile(self) -> AttributeProfile:
        kind = max(self.kinds, key=lambda kind: self.kinds[kind])
        return AttributeProfile(
            kind=kind,
            n_present=sum(self.kinds.values()),
            n_distinct=len(self.distinct),
            n_values=self.n_values,
            mean_words=self.n_words / max(self.n_values, 1),
            frequent=self._frequent() if kind in {"string", "strings"} else (),
        )

    def _frequent(self) -> tuple[str, ...]:
        # Ties go by the alphabet, so that the same values in another order make the same columns.
        often = [(-count, text) for text, count in self.distinct.items() if count > 1]
        return tuple(text for _, text in heapq.nsmallest(_MOST_FREQUENT, often))


class _Tallies:
    """Counts of all attributes, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Tally] = defaultdict(_Tally)

    def add(self, attributes: Attributes) -> None:
        for name, value in attributes.items():
            self._by_name[name].add(value)

    def profiles(self) -> dict[str, AttributeProfile]:
        return {name: self._by_name[name].profile() for name in sorted(self._by_name)}


def profile_attributes(rows: Iterable[Attributes]) -> dict[str, AttributeProfile]:
    """Describe all attributes that any of the rows carries.

    Returns:
        Profiles by name, in alphabetical order.
    """
    tallies = _Tallies()
    for attributes in rows:
        tallies.add(attributes)
    return tallies.profiles()


def kind_of_value(value: AttributeValue) -> Kind:
    """Say of which kind a value is.

    Returns:
        The kind; an empty list counts as one of texts.
    """
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "numbers" if value and isinstance(value[0], int | float) else "strings"

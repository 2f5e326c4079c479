"""A brute-force oracle: it reads every aggregate by walking through all events, one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot
from recsys.features.contexts import REMEMBERED_US
from recsys.features.sessions import SESSION_GAP_S
from recsys.features.vocabulary import WINDOW_BUCKETS, Aggregate
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent

SECOND = 1_000_000


@dataclass
class Row:
    """One event with one item."""

    type: str
    user: str
    item: str
    visible: int
    occurred: int
    value: float | None
    session: int
    begins: bool
    parts: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Request:
    """Who asks when."""

    user: str
    as_of: int
    session_id: str = ""
    context: dict = field(default_factory=dict)


def texts(value) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(str(v) for v in values))


def joined(value) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return ["|".join(str(v) for v in values)]


class Oracle:
    """Reads aggregates as docs/features.md defines them."""

    def __init__(self, snapshot: LogSnapshot) -> None:
        self.rows: list[Row] = []
        self.versions: dict[tuple[str, str], list[tuple[int, int, dict]]] = {}
        self.shown: dict[str, tuple[int, dict]] = {}
        self.sessions: dict[str, tuple[int, int]] = {}
        self.n_sessions = 0
        for visible in visible_events(snapshot):
            self.take(visible.event, visible.visible_at)

    def take(self, event, at: int) -> None:
        if isinstance(event, ItemEvent | UserEvent):
            kind = "item" if isinstance(event, ItemEvent) else "user"
            entity = event.item_id if kind == "item" else event.user_id
            known = self.versions.setdefault((kind, entity), [])
            known.append((at, event.occurred_at, event.attributes))
        elif isinstance(event, ImpressionEvent):
            self.shown[event.impression_id or event.event_id] = (at, event.context)
            for item in event.item_ids:
                self.add("impression", event, item, at, None, event.context)
        else:
            assert isinstance(event, InteractionEvent)
            shown_at, context = self.shown.get(event.impression_id, (0, {}))
            near = event.impression_id and at - shown_at <= REMEMBERED_US
            self.add(event.type, event, event.item_id, at, event.value, context if near else {})

    def add(self, kind, event, item, at, value, context) -> None:
        session, begins = self.walk(event.session_id, event.user_id, at)
        row = Row(kind, event.user_id, item, at, event.occurred_at, value, session, begins)
        row.parts["item"] = [item]
        row.parts["user"] = [event.user_id] if event.user_id else []
        row.parts["session"] = [str(session)] if session >= 0 else []
        row.parts["visit"] = row.parts["session"] if not event.user_id else []
        for name, attribute in (self.attributes("item", item, at + 1) or {}).items():
            row.parts[f"item.{name}"] = texts(attribute)
        for name, attribute in (self.attributes("user", event.user_id, at + 1) or {}).items():
            row.parts[f"user.{name}"] = joined(attribute)
        for name, attribute in context.items():
            row.parts[f"context.{name}"] = joined(attribute)
        self.rows.append(row)

    def walk(self, session_id: str, user: str, at: int) -> tuple[int, bool]:
        visitor = f"s:{session_id}" if session_id else f"u:{user}" if user else ""
        if not visitor:
            return -1, False
        number, latest = self.sessions.get(visitor, (-1, -(10**18)))
        begins = at - latest > SESSION_GAP_S * SECOND
        if begins:
            number = self.n_sessions
            self.n_sessions += 1
        self.sessions[visitor] = (number, at)
        return number, begins

    def attributes(self, kind: str, entity: str, before: int) -> dict | None:
        known = [v for v in self.versions.get((kind, entity), []) if v[0] < before]
        return max(enumerate(known), key=lambda p: (p[1][1], p[0]))[1][2] if known else None

    def session_of(self, request: Request) -> list[str]:
        """The session that is running just before the request; [] nobody, ["none"] no session."""
        if not request.session_id and not request.user:
            return []
        found = ["none"]
        sessions, count = self.sessions, self.n_sessions
        self.sessions, self.n_sessions = {}, 0
        for row in self.walked:
            if row[2] < request.as_of:
                self.walk(*row)
        visitor = f"s:{request.session_id}" if request.session_id else f"u:{request.user}"
        number, latest = self.sessions.get(visitor, (-1, -(10**18)))
        if number >= 0 and request.as_of - latest <= SESSION_GAP_S * SECOND:
            found = [str(number)]
        self.sessions, self.n_sessions = sessions, count
        return found

    @property
    def walked(self) -> list[tuple[str, str, int]]:
        return self._walked

    def remember_walk(self, snapshot: LogSnapshot) -> None:
        self._walked = []
        for visible in visible_events(snapshot):
            event = visible.event
            if isinstance(event, ImpressionEvent | InteractionEvent):
                n_rows = len(event.item_ids) if isinstance(event, ImpressionEvent) else 1
                entry = (event.session_id, event.user_id, visible.visible_at)
                self._walked += [entry] * n_rows

    def matching(self, aggregate: Aggregate, as_of: int) -> list[Row]:
        def wanted(row: Row) -> bool:
            if aggregate.of == ("session",):
                return row.visible < as_of and row.begins
            any_type = "*" in aggregate.of and row.type != "impression"
            return row.visible < as_of and (row.type in aggregate.of or any_type)

        rows = [row for row in self.rows if wanted(row)]
        if aggregate.window_s is not None:
            step = round(aggregate.window_s * SECOND / WINDOW_BUCKETS)
            oldest = as_of // step - WINDOW_BUCKETS + 1
            rows = [row for row in rows if row.visible // step >= oldest]
        return rows

    def keys(self, part: str, request: Request, item: str) -> list[str]:
        if part == "item":
            return [item]
        if part == "user":
            return [request.user] if request.user else []
        if part == "session":
            return self.session_of(request)
        if part == "visit":
            return self.session_of(request) if not request.user else []
        scope, _, name = part.partition(".")
        if scope == "context":
            return joined(request.context.get(name))
        entity = item if scope == "item" else request.user
        found = (self.attributes(scope, entity, request.as_of) or {}).get(name)
        return texts(found) if scope == "item" else joined(found)

    def read(self, aggregate: Aggregate, request: Request, item: str) -> float:
        rows = self.matching(aggregate, request.as_of)
        groups = [rows]
        for part in [] if aggregate.by == "global" else aggregate.by.split("*"):
            keys = self.keys(part, request, item)
            groups = [
                [r for r in group if key in r.parts.get(part, [])]
                for group in groups
                for key in keys
            ]
        values = [fold(aggregate, group, request.as_of) for group in groups]
        values = [value for value in values if not math.isnan(value)]
        if not values:
            return math.nan
        if aggregate.reduce == "mean":
            return sum(values) / len(values)
        return {"max": max, "min": min, "sum": sum}[aggregate.reduce](values)


def fold(aggregate: Aggregate, rows: list[Row], as_of: int) -> float:
    values = [row.value for row in rows if row.value is not None]
    kind = aggregate.fold
    if kind in {"count", "sum"}:
        return float(len(rows) if kind == "count" else sum(values))
    if kind == "distinct":
        return float(len({getattr(row, aggregate.what) for row in rows} - {""}))
    if kind in {"mean", "min", "max"} and values:
        return {"mean": sum(values) / len(values), "min": min(values), "max": max(values)}[kind]
    if kind.startswith("decayed"):
        weights = [1.0 if kind == "decayed_count" else (row.value or 0.0) for row in rows]
        ages = [(as_of - row.visible) / SECOND for row in rows]
        half = aggregate.half_life_s
        return float(sum(w * 0.5 ** (age / half) for w, age in zip(weights, ages, strict=True)))
    if not rows or kind in {"mean", "min", "max"}:
        return math.nan
    instants = [row.occurred for row in rows]
    return (as_of - (max(instants) if kind == "since_last" else min(instants))) / SECOND

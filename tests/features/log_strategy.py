"""Random logs: equal times, retries, late and out-of-order events, attributes, sessions."""

from __future__ import annotations

from hypothesis import strategies as st

from recsys.schema import (
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

SECOND = 1_000_000
USERS = ["u1", "u2", "u3", ""]
ITEMS = ["i1", "i2", "i3", "i4"]
GENRES = ["g1", "g2", "g3"]
SESSIONS = ["", "", "s1", "s2"]
QUERIES = ["shoes", "red", ["a", "b"]]

#: A few seconds are crowded; a session lasts half an hour, so some steps are longer than that.
times = st.one_of(st.integers(0, 60), st.sampled_from([1_700, 1_859, 1_861, 4_000, 9_000]))
instants = times.map(lambda s: s * SECOND)
delays = st.sampled_from([0, 0, 0, 1, 7, 2_000]).map(lambda s: s * SECOND)
contexts = st.dictionaries(st.sampled_from(["query", "device"]), st.sampled_from(QUERIES))
values = st.one_of(st.none(), st.sampled_from([0.0, 1.0, -2.5, 0.1, 1e9]))


@st.composite
def event(draw: st.DrawFn, event_id: str, at: int):
    kind = draw(st.sampled_from(["item", "user", "impression", "click", "buy", "click"]))
    user, session = draw(st.sampled_from(USERS)), draw(st.sampled_from(SESSIONS))
    if kind == "item":
        attributes = draw(
            st.fixed_dictionaries(
                {}, optional={"genres": st.lists(st.sampled_from(GENRES), max_size=3),
                              "brand": st.sampled_from(["b1", "b2"])},
            )
        )  # fmt: skip
        return ItemEvent(event_id, at, draw(st.sampled_from(ITEMS)), attributes)
    if kind == "user":
        attributes = draw(
            st.fixed_dictionaries({}, optional={"country": st.sampled_from(["NL", "DE"])})
        )
        return UserEvent(event_id, at, user or "u1", attributes)
    if kind == "impression":
        shown = draw(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=4, unique=True))
        return ImpressionEvent(event_id, at, user, shown, event_id, session, draw(contexts))
    impression = draw(st.sampled_from(["", "n0", "n1", "n2", "n3", "n5", "n8"]))
    item = draw(st.sampled_from(ITEMS))
    return InteractionEvent(event_id, at, user, item, kind, impression, session, draw(values))


@st.composite
def logs(draw: st.DrawFn, max_size: int = 40) -> list[VisibleEvent]:
    found = []
    for number in range(draw(st.integers(0, max_size))):
        at = draw(instants)
        # Ids come back: the second one is a retry and must change nothing.
        event_id = f"e{draw(st.integers(0, number))}" if draw(st.booleans()) else f"n{number}"
        found.append(VisibleEvent(draw(event(event_id, at)), at + draw(delays)))
    return found

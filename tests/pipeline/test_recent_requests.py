"""What is done before a server says that it is ready."""

from __future__ import annotations

from recsys.pipeline.recent_requests import one_of_each
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent


def test_events_are_made_up_of_every_kind_and_type_in_order():
    events = one_of_each(["click", "view"])
    kinds = [type(visible.event) for visible in events]
    assert set(kinds) == {ItemEvent, UserEvent, ImpressionEvent, InteractionEvent}
    types = {v.event.type for v in events if isinstance(v.event, InteractionEvent)}
    assert types == {"click", "view"}
    instants = [visible.visible_at for visible in events]
    assert instants == sorted(set(instants))
    assert len({(type(v.event), v.event.event_id) for v in events}) == len(events)

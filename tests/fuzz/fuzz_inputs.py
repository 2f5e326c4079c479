"""Hostile inputs, drawn from a seed: messages that are odd, and bytes that are no messages.

`RECSYS_FUZZ_INPUTS=100000 pytest tests/fuzz` draws that many per target; a failure names the seed.
"""

from __future__ import annotations

import os
import random

from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from recsys.v1 import event_pb2, model_pb2, ranking_pb2

STRINGS = (
    *("", " ", "i1", "u1", "\0", "\n", "a\0b", "é", "e\u0301", "推荐", "\u202e", "\ufeff", "😀"),
    *("../../etc/passwd", "'; DROP TABLE items; --", "${jndi:x}", "{{7*7}}", "%s%n", "nan", "-1"),
    *("\U0010ffff", "x" * 256, "x" * 257, "é" * 256, "\x7f", "null", "NaN", "\\", '"', "<b>"),
)
NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"))
INTEGERS = (0, 1, -1, 2, 9_999, 10_000, 10_001, 2**31 - 1, -(2**31))
SECONDS = (0, 1, -1, 1_700_000_000, 253_402_300_799, 253_402_300_800, -62_135_596_800, 2**63 - 1)


def n_inputs(few: int) -> int:
    return int(os.environ.get("RECSYS_FUZZ_INPUTS", few))


def _text(rng: random.Random) -> str:
    return rng.choice(STRINGS) * rng.choice((1, 1, 1, 1, 2, 50))


def _texts(rng: random.Random) -> list[str]:
    length = rng.choice((0, 1, 1, 2, 5, 40, 40, 300))
    return [_text(rng) if rng.random() < 0.2 else f"i{rng.randrange(50)}" for _ in range(length)]


def _fill(value: Value, rng: random.Random, depth: int) -> None:
    kind = rng.randrange(6)
    if kind == 0:
        value.null_value = 0
    elif kind == 1:
        value.number_value = rng.choice(NUMBERS)
    elif kind == 2:
        value.string_value = _text(rng)
    elif kind == 3:
        value.bool_value = rng.random() < 0.5
    elif kind == 4 and depth < 3:
        value.struct_value.CopyFrom(_struct(rng, depth + 1))
    else:
        for _ in range(rng.randrange(3)):
            _fill(value.list_value.values.add(), rng, 3)


def _struct(rng: random.Random, depth: int = 0) -> Struct:
    struct = Struct()
    for _ in range(rng.randrange(4)):
        _fill(struct.fields[_text(rng)], rng, depth)
    return struct


def rank_request(rng: random.Random) -> ranking_pb2.RankRequest:
    return ranking_pb2.RankRequest(
        request_id=_text(rng),
        user_id=_text(rng),
        item_ids=_texts(rng),
        context=_struct(rng),
        top_k=rng.choice(INTEGERS),
        explain_top_k=rng.choice((0, 0, 0, 1, -1, 10_001)),
        exclude_item_ids=_texts(rng),
        candidate_attributes=_said(rng),
    )


def _said(rng: random.Random) -> list[ranking_pb2.CandidateAttribute]:
    return [
        ranking_pb2.CandidateAttribute(
            name=_text(rng),
            item_ids=rng.choice(([], _texts(rng))),
            numbers=[rng.choice(NUMBERS) for _ in range(rng.randrange(4))],
            texts=rng.choice(([], _texts(rng))),
        )
        for _ in range(rng.choice((0, 0, 1, 2)))
    ]


def recommend_request(rng: random.Random) -> ranking_pb2.RecommendRequest:
    return ranking_pb2.RecommendRequest(
        user_id=_text(rng),
        context=_struct(rng),
        top_k=rng.choice(INTEGERS),
        candidate_attributes=_said(rng),
    )


def stream_request(rng: random.Random) -> ranking_pb2.RankStreamRequest:
    return ranking_pb2.RankStreamRequest(request=rank_request(rng))


def _event(rng: random.Random) -> event_pb2.Event:
    event = event_pb2.Event(event_id=_text(rng))
    if rng.random() < 0.5:
        nanos = rng.choice((0, 1, -1, 999_999_999, 2**31 - 1))
        event.occurred_at.CopyFrom(Timestamp(seconds=rng.choice(SECONDS), nanos=nanos))
    kind = rng.randrange(5)
    if kind == 0:
        event.item.item_id = _text(rng)
        event.item.attributes.CopyFrom(_struct(rng))
    elif kind == 1:
        event.user.user_id = _text(rng)
        event.user.attributes.CopyFrom(_struct(rng))
    elif kind == 2:
        event.impression.user_id = _text(rng)
        event.impression.item_ids.extend(_texts(rng))
        event.impression.item_attributes[_text(rng)].CopyFrom(_struct(rng))
    elif kind == 3:
        event.interaction.user_id = _text(rng)
        event.interaction.item_id = _text(rng)
        event.interaction.type = _text(rng)
        event.interaction.value = rng.choice(NUMBERS)
    return event


def write_request(rng: random.Random) -> event_pb2.WriteEventsRequest:
    return event_pb2.WriteEventsRequest(events=[_event(rng) for _ in range(rng.randrange(4))])


def activate_request(rng: random.Random) -> model_pb2.ActivateModelRequest:
    return model_pb2.ActivateModelRequest(version=_text(rng))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, insert, repeat or replace bytes; or leave them."""
    found = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at:]
        elif kind == 2:
            found[at:at] = rng.randbytes(rng.choice((1, 2, 10, 300)))
        elif kind == 3:
            found[at:at] = found[: rng.randrange(len(found) + 1)]
        else:
            del found[at : at + rng.randrange(1, 9)]
    return bytes(found)

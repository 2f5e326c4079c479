"""Which keys events count for and candidates read: pairs of a part of the request and of the item.

Keys with one part only have 0 in the place of the other. A part that is missing (nobody, an item
without the attribute) makes no pair; one that nobody has seen yet makes a pair that has no events.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions
from recsys.features.codes import NO_VALUE
from recsys.features.compiled import compiled
from recsys.features.contexts import Contexts
from recsys.features.entities import ANONYMOUS, Entities
from recsys.features.keys import Key
from recsys.features.sessions import Visitors
from recsys.features.slates import Slates

#: The part of the request that is not there: its key is no key, and nothing is read.
MISSING: Final = -1


class Sources(NamedTuple):
    """What ids, attributes and contexts are as integers.

    Args:
        items: The catalogue.
        users: All users.
        visitors: All visitors.
        contexts: All distinct request attributes.
    """

    items: Entities
    users: Entities
    visitors: Visitors
    contexts: Contexts


class EventPairs(NamedTuple):
    """Pairs that events count for.

    Args:
        rows: int32 (n,): event of each pair, ascending.
        owners: int32 (n,): part of the request.
        codes: int32 (n,): part of the item.
    """

    rows: NDArray[np.int32]
    owners: NDArray[np.int32]
    codes: NDArray[np.int32]


class CandidatePairs(NamedTuple):
    """Pairs that candidates read, several or none each.

    Args:
        starts: int64 (n_candidates + 1,): pairs of candidate c are `starts[c]:starts[c + 1]`.
        owners: int32 (n,): part of the request; negative: never seen.
        codes: int32 (n,): part of the item; negative: never seen.
    """

    starts: NDArray[np.int64]
    owners: NDArray[np.int32]
    codes: NDArray[np.int32]


def event_owners(
    key: Key, actions: Actions, sources: Sources, sessions: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    """Find the request's part of the key of every event.

    Args:
        key: A key with such a part.
        actions: The events.
        sources: Where attributes come from.
        sessions: int32 (n_events,): of keys by session.

    Returns:
        int32 (n_events,): negative: the event counts for none.

    Raises:
        ValueError: Sessions are needed and were not given.
    """
    if key.request == "user":
        return actions.users
    if key.user_attribute:
        codes = sources.users.single_codes(key.user_attribute).rows
        return _gather(codes, actions.user_versions)
    if key.context_attribute:
        return _gather(sources.contexts.codes(key.context_attribute).rows, actions.contexts)
    if sessions is None:
        text = f"key {key}: expected the sessions of the events"
        raise ValueError(text)
    return _unnamed(sessions, actions.users) if key.request == "visit" else sessions


def request_owners(
    key: Key,
    slates: Slates,
    sources: Sources,
    user_versions: NDArray[np.int32],
    sessions: NDArray[np.int32] | None,
) -> NDArray[np.int32]:
    """Find the request's part of the key of every request.

    Args:
        key: A key with such a part.
        slates: The requests.
        sources: Where attributes come from.
        user_versions: int32 (n_requests,): version rows of the users as of the requests.
        sessions: int32 (n_requests,): running sessions, of keys by session.

    Returns:
        int32 (n_requests,): -1: missing; other negative numbers: never seen.

    Raises:
        ValueError: Sessions are needed and were not given.
    """
    if key.request == "user":
        return slates.users.astype(np.int32, copy=False)
    if key.user_attribute:
        return _gather(sources.users.single_codes(key.user_attribute).rows, user_versions)
    if key.context_attribute:
        look_up = sources.contexts.codes(key.context_attribute).look_up
        if not slates.context:
            return np.full(len(slates), NO_VALUE, dtype=np.int32)
        found = [look_up(context.get(key.context_attribute)) for context in slates.context]
        return np.array(found, dtype=np.int32)
    if sessions is None:
        text = f"key {key}: expected the sessions of the requests"
        raise ValueError(text)
    return _unnamed(sessions, slates.users) if key.request == "visit" else sessions


def event_pairs(
    key: Key, actions: Actions, items: Entities, owners: NDArray[np.int32] | None
) -> EventPairs:
    """List the pairs that events count for.

    Args:
        key: The key.
        actions: The events.
        items: The catalogue.
        owners: int32 (n_events,): the request's part; None: the key has none.

    Returns:
        Pairs in order of the events.
    """
    parts = np.zeros(len(actions), dtype=np.int32) if owners is None else owners
    if key.item_attribute:
        offsets, codes = items.codes(key.item_attribute).ragged
        return EventPairs(*_expand_ragged(parts, actions.versions, offsets, codes))
    codes = actions.items if key.item else np.zeros(len(actions), dtype=np.int32)
    rows = np.flatnonzero((parts >= 0) & (codes >= 0)).astype(np.int32)
    return EventPairs(rows, parts[rows], codes[rows])


def candidate_pairs(
    key: Key,
    items: Entities,
    rows: NDArray[np.int32],
    owners: NDArray[np.int32],
) -> CandidatePairs:
    """List the pairs that candidates read.

    Args:
        key: A key with a part of the item.
        items: The catalogue.
        rows: int32 (n_candidates,): version rows for keys by attribute, else item rows.
        owners: int32 (n_candidates,): the request's part, 0 where the key has none.

    Returns:
        Pairs by candidate.
    """
    if key.item_attribute:
        offsets, codes = items.codes(key.item_attribute).ragged
        return CandidatePairs(*_expand_candidates(owners, rows, offsets, codes))
    return one_each(owners, rows)


def one_each(owners: NDArray[np.int32], codes: NDArray[np.int32]) -> CandidatePairs:
    """Give every candidate one pair, or none where its owner is missing.

    Returns:
        The pairs.
    """
    there = owners != MISSING
    if there.all():
        return CandidatePairs(np.arange(len(codes) + 1, dtype=np.int64), owners, codes)
    starts = np.concatenate([[0], np.cumsum(there)]).astype(np.int64)
    return CandidatePairs(starts, owners[there], codes[there])


def _unnamed(sessions: NDArray[np.int32], users: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.where(users == ANONYMOUS, sessions, np.int32(MISSING))


def _gather(codes: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.int32]:
    if not len(codes):
        return np.full(len(rows), NO_VALUE, dtype=np.int32)
    return np.where(rows >= 0, codes[np.maximum(rows, 0)], np.int32(NO_VALUE))


@compiled
def _expand_ragged(
    owners: NDArray[np.int32],
    versions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    codes: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    size = 0
    for i in range(len(owners)):
        if owners[i] >= 0 and versions[i] >= 0:
            size += offsets[versions[i] + 1] - offsets[versions[i]]
    rows = np.empty(size, dtype=np.int32)
    out_owners = np.empty(size, dtype=np.int32)
    out_codes = np.empty(size, dtype=np.int32)
    n = 0
    for i in range(len(owners)):
        if owners[i] >= 0 and versions[i] >= 0:
            for k in range(offsets[versions[i]], offsets[versions[i] + 1]):
                rows[n] = i
                out_owners[n] = owners[i]
                out_codes[n] = codes[k]
                n += 1
    return rows, out_owners, out_codes


@compiled
def _expand_candidates(
    owners: NDArray[np.int32],
    versions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    codes: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    starts = np.zeros(len(owners) + 1, dtype=np.int64)
    for i in range(len(owners)):
        starts[i + 1] = starts[i]
        if owners[i] != MISSING and versions[i] >= 0:
            starts[i + 1] += offsets[versions[i] + 1] - offsets[versions[i]]
    out_owners = np.empty(starts[-1], dtype=np.int32)
    out_codes = np.empty(starts[-1], dtype=np.int32)
    for i in range(len(owners)):
        if starts[i + 1] > starts[i]:
            first = offsets[versions[i]]
            for k in range(starts[i + 1] - starts[i]):
                out_owners[starts[i] + k] = owners[i]
                out_codes[starts[i] + k] = codes[first + k]
    return starts, out_owners, out_codes

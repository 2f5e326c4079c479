"""Made logs and requests, and how two sides are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from recsys.features.actions import Actions, EncodedLog, EventTypes
from recsys.features.contexts import Contexts
from recsys.features.entities import Entities
from recsys.features.sessions import Visitors
from recsys.features.slates import Slates

DAY_US = 86_400_000_000
SPAN_US = 90 * DAY_US
N_ITEMS, N_USERS = 100_000, 1_000_000


def made_columns(n_events: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make clicks: few items have most of them, users are alike."""
    return {
        "types": np.ones(n_events, np.int16),
        "users": rng.integers(0, N_USERS, n_events).astype(np.int32),
        "items": (N_ITEMS * rng.random(n_events) ** 2).astype(np.int32),
        "visible": np.sort(rng.integers(0, SPAN_US, n_events)),
        "values": rng.random(n_events),
    }


def made_log(actions: Actions) -> EncodedLog:
    items, users = Entities(), Entities()
    items.add_ids(f"i{number}" for number in range(N_ITEMS))
    users.add_ids(f"u{number}" for number in range(N_USERS))
    return EncodedLog(items, users, EventTypes(["click"]), Visitors(), Contexts(), actions)


def actions_of(columns: dict[str, np.ndarray]) -> Actions:
    nobody = np.full(len(columns["types"]), -1, np.int32)
    rest = {"versions": nobody, "user_versions": nobody, "visitors": nobody, "contexts": nobody}
    return Actions(**columns, **rest, occurred=columns["visible"])


def made_slates(n_requests: int, n_candidates: int, rng: np.random.Generator) -> Slates:
    return Slates(
        users=rng.integers(0, N_USERS, n_requests).astype(np.int32),
        as_of=np.sort(rng.integers(0, SPAN_US, n_requests)),
        items=rng.integers(0, N_ITEMS, n_requests * n_candidates).astype(np.int32),
        offsets=np.arange(n_requests + 1) * n_candidates,
    )


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "ours_s": round(statistics.median(ours), 3),
        "theirs_s": round(statistics.median(theirs), 3),
        "times_faster": round(statistics.median(found), 1),
        "lowest": round(min(found), 1),
        "highest": round(max(found), 1),
    }

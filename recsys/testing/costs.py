"""What a plugin costs while serving: time per 500 candidates, bytes of state per key."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from recsys.features.actions import encode_log
from recsys.features.online import OnlineState
from recsys.testing.limits import Limits
from recsys.testing.parts import broken
from recsys.testing.subject import Subject

N_CANDIDATES: Final = 500
_ROUNDS: Final = 40
#: A state has room for some keys before there are any: fewer keys say nothing about one.
_FEWEST_KEYS: Final = 64


def latency_ms(subject: Subject, rng: np.random.Generator) -> float:
    """Compute the columns for 500 candidates, each time for another user and other items.

    CPU time, so that a busy machine does not count; all threads of the process, so that work
    handed to others does.

    Returns:
        Median in milliseconds.
    """
    log = encode_log(subject.source)
    state = OnlineState(log, subject.aggregates)
    n_items, n_users = len(log.items.ids), max(1, len(log.users.ids))
    found = []
    for _ in range(_ROUNDS):
        items = rng.choice(n_items, N_CANDIDATES, replace=n_items < N_CANDIDATES).astype(np.int32)
        request = subject.newest_request(items, int(rng.integers(n_users)))
        since = time.process_time()
        subject.plan.matrix(request, state, {})
        found.append(time.process_time() - since)
    return float(np.median(found[3:])) * 1000


def check_latency(subject: Subject, rng: np.random.Generator, limits: Limits) -> float:
    """Measure the latency.

    Returns:
        Milliseconds of CPU time.

    Raises:
        ContractBrokenError: It is above the limit.
    """
    found = latency_ms(subject, rng)
    if found > limits.latency_ms:
        most = f"{limits.latency_ms:g} ms"
        broken(f"{N_CANDIDATES} candidates take {found:.1f} ms; expected at most {most}")
    return found


def bytes_per_key(subject: Subject) -> dict[str, float]:
    """Measure the online state of the whole log.

    Returns:
        Bytes per key, by key.
    """
    state = OnlineState(encode_log(subject.source), tuple(subject.plan.aggregates.values()))
    n_keys = state.n_keys()
    return {by: size / max(n_keys[by], _FEWEST_KEYS) for by, size in state.nbytes().items()}


def check_state(subject: Subject, limits: Limits) -> dict[str, float]:
    """Measure the state.

    Returns:
        Bytes per key, by key.

    Raises:
        ContractBrokenError: A key takes more than the limit.
    """
    found = bytes_per_key(subject)
    for by, size in found.items():
        if size > limits.bytes_per_key:
            most = f"{limits.bytes_per_key:,.0f} bytes"
            broken(f"a key of {by} takes {size:,.0f} bytes; expected at most {most}")
    return found

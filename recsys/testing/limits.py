"""What a plugin may cost at most, by default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one plugin may cost.

    Args:
        latency_ms: CPU time to compute its columns for 500 candidates, median of requests.
        bytes_per_key: State per user, item, pair or whatever its aggregates are kept for, all
            aggregates with that key together. The text model takes 2.1 KB of a user who was shown
            96 items: the last of them, and the last 48 acted on.
    """

    latency_ms: float = 10.0
    bytes_per_key: float = 4096.0

"""What stages of a request cost of late, so that one in a hurry leaves out the dear ones."""

from __future__ import annotations

from typing import Final

#: A request costs something before its first candidate: about as much as these many candidates.
_FIXED_CANDIDATES: Final = 64
#: Weight of the newest measurement.
_WEIGHT: Final = 0.1
#: An estimate of a stage that is always left out must fall, or the stage would never come back.
_FORGET: Final = 0.97


class Pace:
    """The cost of one stage, as a moving average per candidate.

    Read and written by several threads without a lock: an update that is lost costs nothing.
    """

    def __init__(self) -> None:
        self._per_candidate_s = 0.0

    def expect_s(self, n_candidates: int) -> float:
        """Guess how long the stage takes.

        Returns:
            Seconds; 0 before anything was measured.
        """
        return self._per_candidate_s * (n_candidates + _FIXED_CANDIDATES)

    def ran(self, n_candidates: int, seconds: float) -> None:
        """Note how long it took."""
        found = seconds / (n_candidates + _FIXED_CANDIDATES)
        before = self._per_candidate_s
        self._per_candidate_s = before + _WEIGHT * (found - before) if before else found

    def forget(self) -> None:
        """Forget what was measured."""
        self._per_candidate_s = 0.0

    def left_out(self) -> None:
        """Note that there was no time for it."""
        self._per_candidate_s *= _FORGET

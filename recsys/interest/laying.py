"""Batches laid out as tensors, on CUDA one step ahead: pinned, by a thread beside the step.

A step on a GPU is short; laying out the next batch (finding its distinct items, cutting arrays) on
the CPU would take as long again. Nothing random happens here, so a batch is the same whenever it
was laid out.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.interest.examples import Examples
from recsys.interest.reading import Past
from recsys.interest.towers import PastBatch


@dataclass(frozen=True, slots=True)
class LaidBatch:
    """Some examples as tensors.

    Args:
        distinct: int64 (n,): version rows of all items in it, ascending; -1: nothing.
        candidates: int64 (n_lists, width): places in `distinct`.
        pasts: Liked, passed over.
        rates: float32 (n_lists, width): log odds of the click rate so far.
        present: bool (n_lists, width): False where padded.
        targets: float32 (n_lists, width)
        taught: What a teacher says of the candidates; None: there is no teacher.
    """

    distinct: NDArray[np.int64]
    candidates: torch.Tensor
    pasts: tuple[PastBatch, PastBatch]
    rates: torch.Tensor
    present: torch.Tensor
    targets: torch.Tensor
    taught: torch.Tensor | None

    def to(self, device: torch.device) -> LaidBatch:
        """Send it to a device; pinned memory is copied while work goes on.

        Returns:
            The batch there.
        """
        if self.candidates.device == device:
            return self

        def sent(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device, non_blocking=True)

        pasts = [
            PastBatch(sent(past.rows), sent(past.known), sent(past.types), sent(past.ages))
            for past in self.pasts
        ]
        return replace(
            self,
            candidates=sent(self.candidates),
            pasts=(pasts[0], pasts[1]),
            rates=sent(self.rates),
            present=sent(self.present),
            targets=sent(self.targets),
            taught=None if self.taught is None else sent(self.taught),
        )


class Layout:
    """Lays out examples.

    Args:
        examples: The examples.
        taught: float32 (n, width): what a teacher says of candidates; None: there is none.
        device: Where batches go.
        ahead: Lay out what is expected in a thread; by default only where the device is a GPU.
    """

    def __init__(
        self,
        examples: Examples,
        taught: NDArray[np.float32] | None,
        device: torch.device,
        *,
        ahead: bool | None = None,
    ) -> None:
        self._examples = examples
        self._taught = taught
        self._device = device
        ahead = device.type == "cuda" if ahead is None else ahead
        self._pool = ThreadPoolExecutor(1, "batches") if ahead else None
        self._expected: tuple[NDArray[np.int64], Future[LaidBatch]] | None = None

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Begin to lay out what `batch` will probably be asked for next."""
        if self._pool is not None and len(rows):
            self._expected = rows, self._pool.submit(self._lay, rows)

    def batch(self, rows: NDArray[np.int64]) -> LaidBatch:
        """Lay out some examples, or take what was laid out already.

        Returns:
            The batch, on the device.
        """
        expected, self._expected = self._expected, None
        if expected is not None and np.array_equal(expected[0], rows):
            return expected[1].result().to(self._device)
        return self._lay(rows).to(self._device)

    def _lay(self, rows: NDArray[np.int64]) -> LaidBatch:
        examples = self._examples
        parts = [examples.candidates[rows], examples.liked.rows[rows]]
        parts.append(examples.passed_over.rows[rows])
        flat = np.concatenate([part.ravel() for part in parts]).astype(np.int64)
        distinct, inverse = np.unique(flat, return_inverse=True)
        cuts = np.cumsum([part.size for part in parts])[:-1]
        places = [
            found.reshape(part.shape)
            for found, part in zip(np.split(inverse, cuts), parts, strict=True)
        ]
        taught = None if self._taught is None else self._tensor(self._taught[rows])
        return LaidBatch(
            distinct=distinct,
            candidates=self._tensor(places[0]),
            pasts=(
                self._past(places[1], examples.liked, rows),
                self._past(places[2], examples.passed_over, rows),
            ),
            rates=self._tensor(examples.click_rates[rows]),
            present=self._tensor(examples.present[rows]),
            targets=self._tensor(examples.targets[rows]),
            taught=taught,
        )

    def _past(self, places: NDArray[np.int64], past: Past, rows: NDArray[np.int64]) -> PastBatch:
        return PastBatch(
            rows=self._tensor(places),
            known=self._tensor(past.rows[rows] >= 0),
            types=self._tensor(past.types[rows]),
            ages=self._tensor(past.ages[rows]),
        )

    def _tensor(self, values: NDArray[np.generic]) -> torch.Tensor:
        tensor = torch.as_tensor(values)
        return tensor.pin_memory() if self._device.type == "cuda" else tensor

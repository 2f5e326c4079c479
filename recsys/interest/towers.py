"""The trainable part above the encoder: items become points, a past becomes a score per candidate.

A candidate attends to what the user liked and, apart, to what they passed over. Of each it takes
the mean similarity and the attended one, where an item of the past weighs by what it is, what was
done with it and how long ago. The four numbers, and a regression on the whole past (`taste`), add
up to the interest. An item's appeal to everybody is a linear reading of its text.

Source: din
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.interest.buckets import N_AGES, N_TYPES
from recsys.interest.taste import TEXT_TRAITS, Taste

_LOWEST = -1e4
#: Sharper attention than this only ever picks one item.
MAX_TEMPERATURE = 30.0


@dataclass(frozen=True, slots=True)
class PastBatch:
    """Items of the past, as rows of the batch's distinct items.

    Args:
        rows: int64 (n, m).
        known: bool (n, m): False where padded.
        types: int64 (n, m).
        ages: int64 (n, m).
    """

    rows: torch.Tensor
    known: torch.Tensor
    types: torch.Tensor
    ages: torch.Tensor


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """The distinct items of a batch.

    Args:
        vectors: (n, vector_size), centred.
        numbers: (n, n_numbers)
        rates: (n,): log odds that the item is acted on when shown.
    """

    vectors: torch.Tensor
    numbers: torch.Tensor
    rates: torch.Tensor


@dataclass(frozen=True, slots=True)
class PlacedItems:
    """Items as the towers see them.

    Args:
        points: (n, size), unit length.
        values: (n, 2): log weight as a liked and as a passed-over item.
        appeal: (n,)
        traits: (n, n_traits)
        rates: (n,)
    """

    points: torch.Tensor
    values: torch.Tensor
    appeal: torch.Tensor
    traits: torch.Tensor
    rates: torch.Tensor


class InterestNet(nn.Module):
    """Maps item vectors to an interest space and scores candidates against a past.

    Args:
        directions: float32 (embedding_size, vector_size): where the projection starts; principal
            directions of the catalogue keep its similarities.
        type_grades: float32 (n_types,): how much each event type says.
        n_numbers: Numbers of an item.
        dropout: Of item vectors, of items of the past, and the share of pasts that are cut short.
    """

    def __init__(
        self,
        directions: NDArray[np.float32],
        type_grades: NDArray[np.float32],
        n_numbers: int = 0,
        dropout: tuple[float, float, float] = (0.2, 0.1, 0.0),
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout[0])
        self.past_dropout, self.past_crop = dropout[1:]
        size, vector_size = directions.shape
        self.project = nn.Linear(vector_size, size, bias=False)
        self.appeal = nn.Linear(vector_size, 1, bias=False)
        self.value = nn.Linear(size, 2, bias=False)
        self.mix = nn.Parameter(torch.tensor([3.0, 1.0, -3.0, -1.0]))
        self.log_temperature = nn.Parameter(torch.full((2,), math.log(5.0)))
        self.shrinkage = nn.Parameter(torch.tensor([2.0, 4.0]))
        self.type_bias = nn.Parameter(torch.from_numpy(_type_bias(type_grades)))
        self.age_bias = nn.Parameter(torch.zeros(2, N_AGES))
        self.click_rate = nn.Parameter(torch.tensor(1.0))
        self.taste = Taste(directions[:TEXT_TRAITS], n_numbers)
        with torch.no_grad():
            self.project.weight.copy_(torch.from_numpy(directions))
            self.appeal.weight.zero_()
            self.value.weight.zero_()

    @property
    def size(self) -> int:
        """Dimensions of the interest space."""
        return int(self.project.out_features)

    def items(self, items: ItemBatch) -> PlacedItems:
        """Place items.

        Args:
            items: Distinct items.

        Returns:
            Where they are.
        """
        vectors = self.dropout(items.vectors)
        points = nn.functional.normalize(self.project(vectors), dim=-1)
        return PlacedItems(
            points=points,
            values=self.value(points),
            appeal=self.appeal(vectors).squeeze(-1),
            traits=self.taste.traits(vectors, items.numbers),
            rates=items.rates,
        )

    def interest(
        self, placed: PlacedItems, candidates: torch.Tensor, pasts: tuple[PastBatch, PastBatch]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score candidates against what was liked and what was passed over.

        Args:
            placed: From `items`, for the batch's distinct items.
            candidates: int64 (n, width): rows of them.
            pasts: Liked, passed over.

        Returns:
            By attention and by taste, each (n, width).
        """
        if self.training:
            pasts = (self._thinned(pasts[0]), self._thinned(pasts[1]))
        # Not `points[candidates]`: the backward pass of `embedding` is many times faster on CPU.
        near = nn.functional.embedding(candidates, placed.points)
        scores = torch.zeros_like(candidates, dtype=near.dtype)
        for side, past in enumerate(pasts):
            if not past.rows.shape[1]:
                continue
            mean, attended = self._side(near, placed, (side, past))
            scores = scores + self.mix[2 * side] * mean + self.mix[2 * side + 1] * attended
        liked, passed_over = ((past.rows, past.known.float()) for past in pasts)
        described = (placed.traits, placed.rates)
        return scores, self.taste(described, candidates, (liked, passed_over))

    def _thinned(self, past: PastBatch) -> PastBatch:
        n_rows, width = past.known.shape
        kept = torch.rand(past.known.shape, device=past.known.device) > self.past_dropout
        if self.past_crop:
            cropped = torch.rand(n_rows, device=kept.device) < self.past_crop
            lengths = torch.where(cropped, torch.rand(n_rows, device=kept.device), 1.0) * width
            kept = kept & (torch.arange(width, device=kept.device)[None] < lengths[:, None])
        return dataclasses.replace(past, known=past.known & kept)

    def _side(
        self,
        candidates: torch.Tensor,
        placed: PlacedItems,
        what: tuple[int, PastBatch],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        side, past = what
        mask = past.known[:, None, :].float()
        log_weight = _read(placed.values[:, side], past.rows) + _read(
            self.age_bias[side], past.ages
        )
        if side == 0:
            log_weight = log_weight + _read(self.type_bias, past.types)
        log_weight = log_weight[:, None, :]
        similarity = torch.einsum(
            "nch,nmh->ncm", candidates, nn.functional.embedding(past.rows, placed.points)
        )
        total = (similarity * torch.exp(log_weight) * mask).sum(-1)
        mean = total / (mask.sum(-1) + nn.functional.softplus(self.shrinkage[side]))
        temperature = torch.exp(self.log_temperature[side]).clamp(max=MAX_TEMPERATURE)
        logits = (temperature * similarity + log_weight).masked_fill(mask == 0, _LOWEST)
        return mean, (torch.softmax(logits, dim=-1) * similarity * mask).sum(-1)


def _read(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return nn.functional.embedding(rows, values[:, None]).squeeze(-1)


def _type_bias(grades: NDArray[np.float32]) -> NDArray[np.float32]:
    bias = np.zeros(N_TYPES, dtype=np.float32)
    known = grades[:N_TYPES]
    largest = known.max(initial=0.0)
    if largest > 0:
        bias[: len(known)] = np.log(np.maximum(known / largest, 0.1))
    return bias

"""A user's taste as a small regression that is solved anew for every request.

How a user reacted to each item of the past, beyond what the item's click rate led to expect, is
regressed on what those items are: directions of their text and their numbers. The coefficients are
the user's taste; the candidate is scored by them.

    traits x (n, d), surprise r (n,), weights w (n,)      of what was liked and passed over
    taste  = (X' W X + l I)^-1 X' W r                     one small linear system per request
    score  = scale * candidate's traits . taste

Unlike attention it knows that ten space films say little more than five, and that liking two of
twenty said something about the other eighteen. What the traits are, how far surprise is trusted
and how strongly taste is held at zero are learned through the solution, by gradient. Cost: n d^2
per request, with d about thirty.

Source: ridge
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

#: Directions of the text that taste is made of.
TEXT_TRAITS: Final = 16
_HIDDEN: Final = 32
_BENT: Final = 12


class Taste(nn.Module):
    """Scores candidates by a regression on the past.

    Args:
        directions: float32 (TEXT_TRAITS, vector_size): where the projection of texts starts.
        n_numbers: Numbers of an item.
    """

    def __init__(self, directions: NDArray[np.float32], n_numbers: int) -> None:
        super().__init__()
        size, vector_size = directions.shape
        self.project = nn.Linear(vector_size, size, bias=False)
        self.stretch = nn.Parameter(torch.full((n_numbers,), -1.0))
        # Liking is rarely ever more, ever less: some years, some lengths are preferred.
        self.inner = nn.Linear(n_numbers, _HIDDEN) if n_numbers else None
        self.outer = nn.Linear(_HIDDEN, _BENT) if n_numbers else None
        self.log_weights = nn.Parameter(torch.zeros(2))
        self.log_ridge = nn.Parameter(torch.tensor(1.5))
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.log_constant = nn.Parameter(torch.tensor(0.0))
        self.expected = nn.Parameter(torch.tensor([1.0, 0.0]))
        with torch.no_grad():
            self.project.weight.copy_(2.0 * torch.from_numpy(directions))

    def traits(self, vectors: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Describe items.

        Args:
            vectors: (n, vector_size), centred.
            numbers: (n, n_numbers)

        Returns:
            (n, n_traits).
        """
        return torch.cat([self.project(vectors), self.number_traits(numbers)], dim=1)

    def number_traits(self, numbers: torch.Tensor) -> torch.Tensor:
        """Describe items by their numbers alone.

        Args:
            numbers: (n, n_numbers)

        Returns:
            (n, n_traits - TEXT_TRAITS).
        """
        if self.inner is None or self.outer is None:
            return numbers
        bent: torch.Tensor = self.outer(torch.relu(self.inner(numbers)))
        return torch.cat([numbers * self.stretch.exp(), bent], dim=1)

    def forward(
        self,
        described: tuple[torch.Tensor, torch.Tensor],
        candidates: torch.Tensor,
        pasts: tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        """Score candidates.

        Args:
            described: Traits (n_items, n_traits) and log odds of the click rates (n_items,) of the
                batch's distinct items.
            candidates: int64 (n, width): rows of them.
            pasts: Liked and passed over: rows int64 (n, m), and float (n, m), 0 where padded.

        Returns:
            (n, width); 0 where there is no past.
        """
        traits, rates = described
        rows = torch.cat([rows for rows, _ in pasts], dim=1)
        sides = [known * self.log_weights[side].exp() for side, (_, known) in enumerate(pasts)]
        weights = torch.cat(sides, dim=1)
        done = torch.zeros_like(weights)
        done[:, : pasts[0][0].shape[1]] = 1.0
        rate = nn.functional.embedding(rows, rates[:, None]).squeeze(-1)
        surprise = done - torch.sigmoid(self.expected[0] * rate + self.expected[1])
        past = nn.functional.embedding(rows, traits)
        past = torch.cat([past, self.log_constant.exp().expand(*past.shape[:2], 1)], dim=-1)
        heavy = (past * weights[..., None]).transpose(1, 2)
        system = heavy @ past + self.log_ridge.exp() * torch.eye(past.shape[-1], device=past.device)
        taste = torch.linalg.solve(system, heavy @ surprise[..., None])
        seen = nn.functional.embedding(candidates, traits)
        scores: torch.Tensor = self.log_scale.exp() * (seen @ taste[:, :-1]).squeeze(-1)
        return scores

"""Vectors of items while the model is fitted: put together from the parts of their texts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.interest.activations import Activations, with_nothing
from recsys.interest.catalogue import VersionTable
from recsys.interest.encoder import TextEncoder
from recsys.interest.sharing import n_processes
from recsys.interest.towers import ItemBatch

#: Texts of a batch, over all processes, that are encoded with gradients; more cost more and taught
#: no more.
_FRESH: Final = 64
_TEXTS_PER_PASS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items as the fit sees them.

    Args:
        versions: Text, item and numbers of each version row.
        part_rows: int32 (n_texts, n_parts): row of each part of a text; -1: no words.
        parts: float32 (n_distinct_parts, part_size)
        centre: float32 (n_parts, part_size): what is taken off.
        directions: float32 (k, n_parts * part_size): what is kept.
    """

    versions: VersionTable
    part_rows: NDArray[np.int32]
    parts: NDArray[np.float32]
    centre: NDArray[np.float32]
    directions: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fresh:
    """Encodes texts with gradients, while the encoder is tuned.

    Args:
        encoder: Whose `tuned` layers change.
        activations: Of all distinct parts of texts.
        token_dropout: Share of tokens that are hidden from the encoder.
    """

    encoder: TextEncoder
    activations: Activations
    token_dropout: float = 0.0

    def renew(self, table: torch.Tensor) -> None:
        """Encode all texts into a table of their vectors."""
        vectors = self.activations.encode(self.encoder.tuned)
        table[:-1] = torch.as_tensor(vectors, device=table.device)

    def overlay(self, vectors: torch.Tensor, distinct: NDArray[np.int64]) -> torch.Tensor:
        """Encode a random part of a batch's texts again, with gradients.

        Args:
            vectors: Of the distinct parts, from the table.
            distinct: Their rows, ascending; the last one may stand for a part without words.

        Returns:
            The vectors with some replaced.
        """
        n_texts = int(np.searchsorted(distinct, len(self.activations)))
        chosen = torch.randperm(n_texts)[: -(-_FRESH // n_processes())].numpy()
        places = {int(distinct[place]): int(place) for place in chosen}
        stack = self.encoder.stack(self.encoder.tuned)
        for bucket in self.activations.buckets(distinct[chosen]):
            hidden, mask = self.activations.hidden(bucket)
            if self.token_dropout:
                mask = mask & (torch.rand(mask.shape, device=mask.device) > self.token_dropout)
                mask[:, 0] = True  # the first token stands for the text in some encoders
            fresh = self.activations.beside(self.encoder.upper(hidden, mask, stack), bucket)
            where = torch.tensor([places[int(row)] for row in bucket], device=vectors.device)
            vectors = vectors.index_copy(0, where, fresh)
        return vectors


class Table:
    """Vectors of all distinct parts, and how items are put together from them.

    Row -1 of everything stands for nothing: no words, no numbers, the rate of all items.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        device: torch.device,
        fresh: Fresh | None = None,
        part_dropout: float = 0.0,
    ) -> None:
        self.device = device
        self.fresh = fresh
        self._part_dropout = part_dropout
        self.parts = torch.as_tensor(with_nothing(catalogue.parts), device=device)
        self._centre = torch.as_tensor(catalogue.centre, device=device)
        self._directions = torch.tensor(catalogue.directions, device=device).T
        self._versions = catalogue.versions
        nothing = np.full((1, catalogue.part_rows.shape[1]), -1, dtype=np.int32)
        self._part_rows = np.concatenate([catalogue.part_rows, nothing])
        self._texts = self._all_texts()

    def renew(self) -> None:
        """Encode all texts again, with the encoder as it is now."""
        if self.fresh is not None:
            self.fresh.renew(self.parts)
            self._texts = self._all_texts()

    def restore(self, parts: torch.Tensor) -> None:
        """Go back to vectors of earlier."""
        self.parts.copy_(parts)
        self._texts = self._all_texts()

    def items(
        self, version_rows: NDArray[np.int64], rates: NDArray[np.float32], *, training: bool
    ) -> ItemBatch:
        """Put items together.

        Args:
            version_rows: int64 (n,): distinct; -1: nothing.
            rates: (n_items + 1,): log odds by item; the last one is that of all.
            training: Some texts are encoded again, with gradients.

        Returns:
            The items.
        """
        there = version_rows >= 0
        text_rows = np.where(there, self._versions.texts[version_rows], -1)
        if training and (self.fresh is not None or self._part_dropout):
            vectors = self._put_together(self._part_rows[text_rows])
        else:
            places = torch.as_tensor(text_rows % len(self._texts), device=self.device)
            vectors = self._texts.index_select(0, places)
        numbers = self._versions.numbers[version_rows] * there[:, None]
        item_rows = np.where(there, self._versions.items[version_rows], -1)
        return ItemBatch(
            vectors=vectors,
            numbers=torch.as_tensor(numbers, device=self.device),
            rates=torch.as_tensor(rates[item_rows], device=self.device),
        )

    def _all_texts(self) -> torch.Tensor:
        with torch.no_grad():
            found = [
                self._joined(self.parts[torch.as_tensor(rows, device=self.device)], rows >= 0)
                for start in range(0, len(self._part_rows), _TEXTS_PER_PASS)
                if len(rows := self._part_rows[start : start + _TEXTS_PER_PASS])
            ]
        return torch.cat(found)

    def _put_together(self, rows: NDArray[np.int32]) -> torch.Tensor:
        flat = rows.ravel().astype(np.int64) % len(self.parts)
        distinct, inverse = np.unique(flat, return_inverse=True)
        vectors = self.parts.index_select(0, torch.as_tensor(distinct, device=self.device))
        if self.fresh is not None:
            vectors = self.fresh.overlay(vectors, distinct)
        parts = nn.functional.embedding(torch.as_tensor(inverse, device=self.device), vectors)
        kept = torch.rand(rows.shape).numpy() >= self._part_dropout
        return self._joined(parts.reshape(*rows.shape, -1), (rows >= 0) & kept)

    def _joined(self, parts: torch.Tensor, there: NDArray[np.bool_]) -> torch.Tensor:
        present = torch.as_tensor(there, device=self.device)[..., None].float()
        centred = (parts - self._centre) * present / math.sqrt(there.shape[1])
        return centred.flatten(1) @ self._directions

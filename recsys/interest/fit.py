"""Fitting: the encoder's last layers once, on the oldest span; the towers again on every span.

Steps of a fit
1. On the first span the towers warm up on the pretrained vectors, then the encoder's last layers
   are tuned together with them. Every distinct item of a batch is encoded once, and at most
   `_FRESH` of them with gradients: the others are read from a table that is renewed after each
   epoch. So a step costs the same however long histories are.
2. On later spans only the towers go on, from where they were, over the whole span so far. Columns
   keep their meaning from span to span, and all spans together cost little more than one.

The newest part of a span is held out; the weights that did best on it are kept, those before the
fit included. The alternative of tuning the encoder on every span cost ten times as much.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.config import InterestConfig
from recsys.interest.activations import Activations, with_nothing
from recsys.interest.catalogue import VersionTable
from recsys.interest.encoder import TextEncoder
from recsys.interest.examples import Examples
from recsys.interest.reading import Past
from recsys.interest.towers import InterestNet, ItemBatch, PastBatch

MIN_EXAMPLES: Final = 50
_HELD_OUT: Final = 0.15
_FRESH: Final = 64
#: While the encoder is tuned the towers, which have had their turn, move this much slower.
_TOWERS_SLOWED: Final = 0.1
_CLIP: Final = 1.0
_TEXTS_PER_PASS: Final = 4_096

_Weights = tuple[list[dict[str, torch.Tensor]], torch.Tensor | None]

#: Called with (what is fitted, epoch, loss on the examples fitted on, loss on those held out).
Report = Callable[[str, int, float, float], None]


@dataclass(frozen=True, slots=True)
class Fit:
    """What one fit works with.

    Args:
        net: The towers; changed in place.
        examples: Oldest first.
        config: Epochs, batch size, learning rates.
        seed: Of every random choice.
        report: Told after each epoch.
    """

    net: InterestNet
    examples: Examples
    config: InterestConfig
    seed: int
    report: Report


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items as the fit sees them.

    Args:
        versions: Text, item and numbers of each version row.
        part_rows: int32 (n_texts, n_parts): row of each part of a text; -1: no words.
        parts: float32 (n_distinct_parts, encoder_size)
        centre: float32 (n_parts, encoder_size): what is taken off.
        directions: float32 (k, n_parts * encoder_size): what is kept.
    """

    versions: VersionTable
    part_rows: NDArray[np.int32]
    parts: NDArray[np.float32]
    centre: NDArray[np.float32]
    directions: NDArray[np.float32]


def fit_towers(fit: Fit, catalogue: Catalogue, device: torch.device) -> None:
    """Fit the towers on fixed vectors.

    Args:
        fit: What to fit; its net keeps the best weights.
        catalogue: The items.
        device: Where to compute.
    """
    groups = _groups(fit.net, fit.config.learning_rate)
    _descend(fit, ("towers", groups), _Batches(fit, _Table(catalogue, device)))


def tune_encoder(
    fit: Fit, catalogue: Catalogue, encoder: TextEncoder, activations: Activations
) -> NDArray[np.float32]:
    """Tune the encoder's upper half together with the towers.

    Args:
        fit: What to fit; its net keeps the best weights.
        catalogue: The items, as the encoder sees them now.
        encoder: Its `tuned` layers change, and keep the best weights too.
        activations: Of all distinct parts of texts.

    Returns:
        Vectors of all distinct parts from the tuned encoder: (n, encoder_size).
    """
    table = _Table(catalogue, encoder.device, _Fresh(encoder, activations))
    groups = _groups(fit.net, _TOWERS_SLOWED * fit.config.learning_rate)
    encoder.tuned.requires_grad_(requires_grad=True)
    tuned_parameters = list(encoder.tuned.parameters())
    groups.append({"params": tuned_parameters, "lr": fit.config.encoder_learning_rate})
    _descend(fit, ("encoder", groups), _Batches(fit, table))
    encoder.tuned.requires_grad_(requires_grad=False)
    tuned: NDArray[np.float32] = table.parts[:-1].cpu().numpy()
    return tuned


@dataclass(frozen=True, slots=True)
class _Fresh:
    encoder: TextEncoder
    activations: Activations

    def renew(self, table: torch.Tensor) -> None:
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
        chosen = torch.randperm(n_texts)[:_FRESH].numpy()
        places = {int(distinct[place]): int(place) for place in chosen}
        for bucket in self.activations.buckets(distinct[chosen]):
            fresh = self.encoder.upper(*self.activations.hidden(bucket), self.encoder.tuned)
            where = torch.tensor([places[int(row)] for row in bucket], device=vectors.device)
            vectors = vectors.index_copy(0, where, fresh)
        return vectors


class _Table:
    """Vectors of all distinct parts, and how items are put together from them.

    Row -1 of everything stands for nothing: no words, no numbers, the rate of all items.
    """

    def __init__(
        self, catalogue: Catalogue, device: torch.device, fresh: _Fresh | None = None
    ) -> None:
        self.device = device
        self.fresh = fresh
        self.parts = torch.as_tensor(with_nothing(catalogue.parts), device=device)
        self._centre = torch.as_tensor(catalogue.centre, device=device)
        self._directions = torch.as_tensor(catalogue.directions, device=device).T
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
        if self.fresh is not None and training:
            vectors = self._fresh_texts(self._part_rows[text_rows], self.fresh)
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

    def _fresh_texts(self, rows: NDArray[np.int32], fresh: _Fresh) -> torch.Tensor:
        flat = rows.ravel().astype(np.int64) % len(self.parts)
        distinct, inverse = np.unique(flat, return_inverse=True)
        vectors = self.parts.index_select(0, torch.as_tensor(distinct, device=self.device))
        vectors = fresh.overlay(vectors, distinct)
        parts = nn.functional.embedding(torch.as_tensor(inverse, device=self.device), vectors)
        return self._joined(parts.reshape(*rows.shape, -1), rows >= 0)

    def _joined(self, parts: torch.Tensor, there: NDArray[np.bool_]) -> torch.Tensor:
        present = torch.as_tensor(there, device=self.device)[..., None].float()
        centred = (parts - self._centre) * present / math.sqrt(there.shape[1])
        return centred.flatten(1) @ self._directions


@dataclass(frozen=True, slots=True)
class _Batches:
    fit: Fit
    table: _Table

    def loss(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Compare scores with what was done: listwise softmax over each impression.

        Returns:
            The mean loss of some examples.
        """
        net, examples, device = self.fit.net, self.fit.examples, self.table.device
        parts = [
            examples.candidates[rows],
            examples.liked.rows[rows],
            examples.passed_over.rows[rows],
        ]
        flat = np.concatenate([part.ravel() for part in parts]).astype(np.int64)
        distinct, inverse = np.unique(flat, return_inverse=True)
        items = self.table.items(distinct, examples.rates, training=net.training)
        cuts = np.cumsum([part.size for part in parts])[:-1]
        places = [
            torch.as_tensor(found.reshape(part.shape), device=device)
            for found, part in zip(np.split(inverse, cuts), parts, strict=True)
        ]
        placed = net.items(items)
        liked = _past(places[1], examples.liked, rows)
        passed_over = _past(places[2], examples.passed_over, rows)
        attended, taste = net.interest(placed, places[0], (liked, passed_over))
        appeal = nn.functional.embedding(places[0], placed.appeal[:, None]).squeeze(-1)
        known_rates = torch.as_tensor(examples.click_rates[rows], device=device)
        scores = attended + taste + appeal + net.click_rate * known_rates
        present = torch.as_tensor(examples.present[rows], device=device)
        log_shares = torch.log_softmax(scores.masked_fill(~present, -1e4), dim=-1)
        targets = torch.as_tensor(examples.targets[rows], device=device)
        return -(targets * log_shares).sum(-1).mean()

    def held_out_loss(self, rows: NDArray[np.int64]) -> float:
        self.fit.net.eval()
        with torch.no_grad():
            parts = [rows[i : i + 256] for i in range(0, len(rows), 256)]
            return sum(float(self.loss(p)) * len(p) for p in parts) / max(1, len(rows))

    def renew(self) -> None:
        self.table.renew()

    def weights(self) -> _Weights:
        """Copy everything that a step changes.

        Returns:
            States of the modules, and the table where it changes.
        """
        states = [copy.deepcopy(module.state_dict()) for module in self._modules()]
        return states, self.table.parts.clone() if self.table.fresh is not None else None

    def restore(self, weights: _Weights) -> None:
        states, table = weights
        for module, state in zip(self._modules(), states, strict=True):
            module.load_state_dict(state)
        if table is not None:
            self.table.restore(table)
        self.fit.net.eval()

    def _modules(self) -> list[nn.Module]:
        fresh = self.table.fresh
        return [self.fit.net, *([fresh.encoder.tuned] if fresh is not None else [])]


def _descend(fit: Fit, what: tuple[str, list[dict[str, object]]], batches: _Batches) -> None:
    """Run AdamW with warm-up and decay; keep the weights that did best on the newest examples."""
    label, groups = what
    n_fitted = len(fit.examples) - round(_HELD_OUT * len(fit.examples))
    held_out = np.arange(n_fitted, len(fit.examples))
    rng = np.random.default_rng(fit.seed)
    optimiser = torch.optim.AdamW(groups)
    n_steps = fit.config.epochs * -(-n_fitted // fit.config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, n_steps))
    best = batches.held_out_loss(held_out)
    kept = batches.weights()
    fit.report(label, 0, float("nan"), best)
    for epoch in range(1, fit.config.epochs + 1):
        fit.net.train()
        losses = []
        order = rng.permutation(n_fitted)
        for start in range(0, n_fitted, fit.config.batch_size):
            loss = batches.loss(order[start : start + fit.config.batch_size])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            _clip(groups)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        batches.renew()
        found = batches.held_out_loss(held_out)
        fit.report(label, epoch, float(np.mean(losses)), found)
        if found < best:
            best, kept = found, batches.weights()
    batches.restore(kept)


def _groups(net: InterestNet, learning_rate: float) -> list[dict[str, object]]:
    return [
        {
            "params": [p for p in net.parameters() if p.ndim > 1],
            "lr": learning_rate,
            "weight_decay": 0.05,
        },
        # A handful of scalars that start near their place: they move faster and never decay.
        {
            "params": [p for p in net.parameters() if p.ndim <= 1],
            "lr": 10 * learning_rate,
            "weight_decay": 0.0,
        },
    ]


def _clip(groups: list[dict[str, object]]) -> None:
    for group in groups:
        nn.utils.clip_grad_norm_(group["params"], _CLIP)  # type: ignore[arg-type]


def _rate(step: int, n_steps: int) -> float:
    warm_up = max(1, n_steps // 10)
    return min((step + 1) / warm_up, max(0.02, 1.0 - step / max(1, n_steps)))


def _past(places: torch.Tensor, past: Past, rows: NDArray[np.int64]) -> PastBatch:
    device = places.device
    return PastBatch(
        rows=places,
        known=torch.as_tensor(past.rows[rows] >= 0, device=device),
        types=torch.as_tensor(past.types[rows], device=device),
        ages=torch.as_tensor(past.ages[rows], device=device),
    )

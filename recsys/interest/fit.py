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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.config import InterestConfig
from recsys.interest.activations import Activations
from recsys.interest.encoder import TextEncoder
from recsys.interest.examples import Examples
from recsys.interest.reading import Past
from recsys.interest.towers import InterestNet, PastBatch

MIN_EXAMPLES: Final = 50
_HELD_OUT: Final = 0.15
_FRESH: Final = 64
#: While the encoder is tuned the towers, which have had their turn, move this much slower.
_TOWERS_SLOWED: Final = 0.1
_CLIP: Final = 1.0
_SCALARS: Final = frozenset({
    "mix", "log_temperature", "shrinkage", "type_bias", "age_bias", "click_rate"
})  # fmt: skip

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


def fit_towers(fit: Fit, vectors: NDArray[np.float32], device: torch.device) -> None:
    """Fit the towers on fixed item vectors.

    Args:
        fit: What to fit; its net keeps the best weights.
        vectors: float32 (n_texts, encoder_size), centred.
        device: Where to compute.
    """
    table = _table(vectors, device)
    groups = _groups(fit.net, fit.config.learning_rate)
    _descend(fit, ("towers", groups), _Batches(fit, table))


@dataclass(frozen=True, slots=True)
class Tuning:
    """The encoder as something that is fitted.

    Args:
        encoder: Whose `tuned` layers change.
        activations: Of the texts that the examples name.
        vectors: float32 (n_texts, encoder_size): from the encoder as it is now, centred.
        centre: float32 (encoder_size,): what was taken off.
    """

    encoder: TextEncoder
    activations: Activations
    vectors: NDArray[np.float32]
    centre: NDArray[np.float32]


def tune_encoder(fit: Fit, tuning: Tuning) -> NDArray[np.float32]:
    """Tune the encoder's upper half together with the towers.

    Args:
        fit: What to fit; its net keeps the best weights.
        tuning: Its encoder keeps the best weights too.

    Returns:
        Vectors of all texts from the tuned encoder, centred: (n_texts, encoder_size).
    """
    encoder = tuning.encoder
    table = _table(tuning.vectors, encoder.device)
    centre = torch.as_tensor(tuning.centre, device=encoder.device)
    fresh = _Fresh(encoder, tuning.activations, centre)
    groups = _groups(fit.net, _TOWERS_SLOWED * fit.config.learning_rate)
    encoder.tuned.requires_grad_(requires_grad=True)
    tuned_parameters = list(encoder.tuned.parameters())
    groups.append({"params": tuned_parameters, "lr": fit.config.encoder_learning_rate})
    _descend(fit, ("encoder", groups), _Batches(fit, table, fresh))
    encoder.tuned.requires_grad_(requires_grad=False)
    tuned: NDArray[np.float32] = table[:-1].cpu().numpy()
    return tuned


@dataclass(frozen=True, slots=True)
class _Fresh:
    encoder: TextEncoder
    activations: Activations
    centre: torch.Tensor

    def renew(self, table: torch.Tensor) -> None:
        vectors = torch.as_tensor(self.activations.encode(self.encoder.tuned), device=table.device)
        table[:-1] = vectors - self.centre

    def overlay(self, vectors: torch.Tensor, distinct: torch.Tensor) -> torch.Tensor:
        """Encode a random part of a batch's items again, with gradients.

        Returns:
            The vectors with that part replaced.
        """
        chosen = torch.randperm(len(distinct))[:_FRESH].to(distinct.device)
        rows = distinct[chosen].cpu().numpy()
        known = rows < len(self.activations)
        chosen, rows = chosen[torch.as_tensor(known, device=chosen.device)], rows[known]
        places = {int(row): place for row, place in zip(rows, chosen.tolist(), strict=True)}
        for bucket in self.activations.buckets(rows):
            fresh = self.encoder.upper(*self.activations.hidden(bucket), self.encoder.tuned)
            where = torch.tensor([places[int(row)] for row in bucket], device=vectors.device)
            vectors = vectors.index_copy(0, where, fresh - self.centre)
        return vectors


@dataclass(frozen=True, slots=True)
class _Batches:
    fit: Fit
    table: torch.Tensor
    fresh: _Fresh | None = None

    def loss(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Compare scores with what was done: listwise softmax over each impression.

        Returns:
            The mean loss of some examples.
        """
        net, examples, device = self.fit.net, self.fit.examples, self.table.device
        parts = [
            examples.candidates[rows],
            examples.liked.texts[rows],
            examples.passed_over.texts[rows],
        ]
        # Row -1 is the table's last one: zeros, for items without text.
        flat = np.concatenate([part.ravel() for part in parts]) % len(self.table)
        distinct, inverse = np.unique(flat, return_inverse=True)
        wanted = torch.as_tensor(distinct, device=device)
        vectors = self.table.index_select(0, wanted)
        if self.fresh is not None and net.training:
            vectors = self.fresh.overlay(vectors, wanted)
        cuts = np.cumsum([part.size for part in parts])[:-1]
        places = [
            torch.as_tensor(found.reshape(part.shape), device=device)
            for found, part in zip(np.split(inverse, cuts), parts, strict=True)
        ]
        placed = net.items(vectors)
        liked = _past(places[1], examples.liked, rows)
        passed_over = _past(places[2], examples.passed_over, rows)
        appeal = nn.functional.embedding(places[0], placed[2][:, None]).squeeze(-1)
        scores = net.interest(placed, places[0], (liked, passed_over)) + appeal
        known_rates = torch.as_tensor(examples.click_rates[rows], device=device)
        scores = scores + net.click_rate * known_rates
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
        if self.fresh is not None:
            self.fresh.renew(self.table)

    def weights(self) -> _Weights:
        """Copy everything that a step changes.

        Returns:
            States of the modules, and the table where it changes.
        """
        states = [copy.deepcopy(module.state_dict()) for module in self._modules()]
        return states, self.table.clone() if self.fresh is not None else None

    def restore(self, weights: _Weights) -> None:
        states, table = weights
        for module, state in zip(self._modules(), states, strict=True):
            module.load_state_dict(state)
        if table is not None:
            self.table.copy_(table)
        self.fit.net.eval()

    def _modules(self) -> list[nn.Module]:
        return [self.fit.net, *([self.fresh.encoder.tuned] if self.fresh else [])]


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
    named = list(net.named_parameters())
    return [
        {
            "params": [p for name, p in named if name not in _SCALARS],
            "lr": learning_rate,
            "weight_decay": 0.05,
        },
        # A handful of scalars that start near their place: they move faster and never decay.
        {
            "params": [p for name, p in named if name in _SCALARS],
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


def _table(vectors: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    nothing = np.zeros((1, vectors.shape[1]), dtype=np.float32)
    return torch.as_tensor(np.concatenate([vectors, nothing]), device=device)


def _past(places: torch.Tensor, past: Past, rows: NDArray[np.int64]) -> PastBatch:
    device = places.device
    return PastBatch(
        rows=places,
        known=torch.as_tensor(past.texts[rows] >= 0, device=device),
        types=torch.as_tensor(past.types[rows], device=device),
        ages=torch.as_tensor(past.ages[rows], device=device),
    )

"""Losses of batches of examples, and everything that a step of the fit changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.config import TuningConfig
from recsys.interest.examples import Examples
from recsys.interest.laying import LaidBatch, Layout
from recsys.interest.losses import SHARPNESS, contrastive_loss, distillation_loss, list_loss
from recsys.interest.sharing import share_of, sum_losses
from recsys.interest.towers import InterestNet, ItemBatch
from recsys.interest.vectors import Table

#: Moves of the stronger attack.
_ATTACKS: Final = 3
_HELD_OUT_BATCH: Final = 256

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Batches:
    """Examples as the towers see them.

    Args:
        net: The towers.
        examples: Oldest first.
        table: Vectors of items.
        config: Loss and augmentation.
        layout: Lays the examples out.
    """

    net: InterestNet
    examples: Examples
    table: Table
    config: TuningConfig
    layout: Layout

    def __len__(self) -> int:
        return len(self.examples)

    def begin(self) -> None:
        """Begin an epoch: dropout and augmentation are on."""
        self.net.train()

    def end(self) -> None:
        """End an epoch: all texts are encoded again, with the encoder as it is now."""
        self.table.renew()

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Say which examples will be asked for next."""
        self.layout.expect(rows)

    def loss(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Compare scores with what was done.

        Args:
            rows: Examples.

        Returns:
            Their mean loss; while fitting also that of vectors under attack.
        """
        batch = self.layout.batch(rows)
        training = self.net.training
        items = self.table.items(batch.distinct, self.examples.rates, training=training)
        if not self.net.training or self.config.adversarial == "none":
            return self._compare(items, batch)
        return self._compare_under_attack(items, batch)

    def held_out_loss(self, rows: NDArray[np.int64]) -> float:
        """Measure the list loss alone, without dropout, augmentation or attack.

        Returns:
            The mean over the examples; 0 where there are none.
        """
        self.net.eval()
        with torch.no_grad():
            parts = [rows[i : i + _HELD_OUT_BATCH] for i in range(0, len(rows), _HELD_OUT_BATCH)]
            mine = sum(float(self.loss(p)) * len(p) for p in share_of(parts))
            return sum_losses(mine) / max(1, len(rows))

    def state(self) -> Tensors:
        """Copy everything that a step changes.

        Returns:
            Tensors by name: weights, and the table where it changes.
        """
        found = {
            f"{number}.{name}": value.clone()
            for number, module in enumerate(self._modules())
            for name, value in module.state_dict().items()
        }
        if self.table.fresh is not None:
            found["table"] = self.table.parts.clone()
        return found

    def restore(self, state: Tensors) -> None:
        """Go back to a state."""
        for number, module in enumerate(self._modules()):
            start = f"{number}."
            module.load_state_dict({
                name.removeprefix(start): value
                for name, value in state.items()
                if name.startswith(start)
            })
        if self.table.fresh is not None:
            self.table.restore(state["table"])

    def _modules(self) -> list[nn.Module]:
        fresh = self.table.fresh
        return [self.net, *([] if fresh is None else fresh.encoder.learning())]

    def _compare(self, items: ItemBatch, batch: LaidBatch) -> torch.Tensor:
        placed = self.net.items(items)
        attended, taste = self.net.interest(placed, batch.candidates, batch.pasts)
        appeal = nn.functional.embedding(batch.candidates, placed.appeal[:, None]).squeeze(-1)
        scores = attended + taste + appeal + self.net.click_rate * batch.rates
        loss = list_loss(scores, batch.targets, batch.present, self.config)
        if self.config.contrastive and self.net.training:
            liked, best = batch.pasts[0], batch.targets.argmax(dim=1, keepdim=True)
            next_items = batch.candidates.gather(1, best).squeeze(1)
            points = nn.functional.embedding(liked.rows, placed.points)
            users = (points * liked.known[..., None]).sum(1)
            aside = contrastive_loss(users, placed.points[next_items])
            loss = loss + self.config.contrastive * aside
        if batch.taught is not None and self.net.training:
            student = _nearness(placed.points, batch)
            loss = loss + self.config.distillation * distillation_loss(student, batch.taught)
        return loss

    def _compare_under_attack(self, items: ItemBatch, batch: LaidBatch) -> torch.Tensor:
        """Add the loss of vectors that were moved to where it is larger.

        One move of full length (FGM), or three shorter ones within that length (PGD).

        Source: fgm, pgd

        Returns:
            The mean of both losses.
        """
        plain = items.vectors if items.vectors.requires_grad else items.vectors.requires_grad_()
        loss = self._compare(items, batch)
        length = self.config.adversarial_size
        n_moves = _ATTACKS if self.config.adversarial == "pgd" else 1
        move, attacked = torch.zeros_like(plain), loss
        for _ in range(n_moves):
            (uphill,) = torch.autograd.grad(attacked, plain, retain_graph=True)
            move = move + _shortened(uphill, length / n_moves, exactly=True)
            move = _shortened(move, length, exactly=False).detach()
            moved = ItemBatch(plain + move, items.numbers, items.rates)
            attacked = self._compare(moved, batch)
        return 0.5 * (loss + attacked)


def _nearness(points: torch.Tensor, batch: LaidBatch) -> torch.Tensor:
    """Compare candidates with what was liked last, as a teacher was asked to.

    Returns:
        (n, width).
    """
    liked = batch.pasts[0]
    newest = liked.known.float().argmax(dim=1, keepdim=True)
    last = nn.functional.embedding(liked.rows.gather(1, newest), points)
    return SHARPNESS * (nn.functional.embedding(batch.candidates, points) * last).sum(-1)


def _shortened(moves: torch.Tensor, length: float, *, exactly: bool) -> torch.Tensor:
    lengths = moves.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    factors = length / lengths if exactly else (length / lengths).clamp(max=1.0)
    return torch.mul(moves, factors)

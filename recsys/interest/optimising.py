"""How weights move: groups with rates of their own, schedules, clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import nn

from recsys.config import TuningConfig

Group = dict[str, Any]

_LAST_RATE: Final = 0.02
_MOMENTUM: Final = 0.9


def tower_groups(net: nn.Module, learning_rate: float, config: TuningConfig) -> list[Group]:
    """Divide the towers' parameters.

    Returns:
        Matrices, and the scalars and vectors that start near their place: they move faster and
        never decay.
    """
    return [
        {
            "params": [p for p in net.parameters() if p.ndim > 1],
            "lr": learning_rate,
            "weight_decay": config.weight_decay,
        },
        {
            "params": [p for p in net.parameters() if p.ndim <= 1],
            "lr": 10 * learning_rate,
            "weight_decay": 0.0,
        },
    ]


def encoder_groups(
    layers: Sequence[nn.Module], learning_rate: float, config: TuningConfig
) -> list[Group]:
    """Divide the encoder's parameters by layer.

    Args:
        layers: Lowest first.
        learning_rate: Of the last layer.
        config: How much slower each layer below moves.

    Returns:
        One group per layer that has something to learn.
    """
    groups = []
    for depth, layer in enumerate(reversed(layers)):
        learned = [p for p in layer.parameters() if p.requires_grad]
        if learned:
            rate = learning_rate * config.layer_decay**depth
            groups.append({"params": learned, "lr": rate, "weight_decay": config.weight_decay})
    return groups


def make_optimiser(groups: list[Group], config: TuningConfig) -> torch.optim.Optimizer:
    """Make the optimiser.

    Returns:
        AdamW with decoupled decay, or SGD with momentum for comparison.
    """
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=groups[0]["lr"], momentum=_MOMENTUM)
    # Fused: one pass over a parameter instead of a dozen, which for a whole encoder is a tenth of a
    # step's time on a CPU.
    return torch.optim.AdamW(groups, fused=True)


def rate_of(config: TuningConfig, n_steps: int) -> Callable[[int], float]:
    """Shape the learning rate over a fit.

    Returns:
        Factor of the learning rate by step: rising during warm-up, then falling.
    """
    warm_up = max(1, round(config.warm_up * n_steps))

    def factor(step: int) -> float:
        rising = (step + 1) / warm_up
        done = step / max(1, n_steps)
        falling = {
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0))),
            "constant": 1.0,
        }[config.schedule]
        return min(rising, max(_LAST_RATE, falling))

    return factor


def clip(groups: list[Group], largest: float) -> None:
    """Shorten the gradient of each group that is longer than allowed."""
    for group in groups:
        nn.utils.clip_grad_norm_(group["params"], largest)

"""What a list teaches: losses over the candidates of each impression."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from recsys.config import TuningConfig

_LOWEST: Final = -1e4
#: Sharpness of a softmax over cosines.
SHARPNESS: Final = 10.0


def list_loss(
    scores: torch.Tensor, targets: torch.Tensor, present: torch.Tensor, config: TuningConfig
) -> torch.Tensor:
    """Compare scores with what was done.

    Args:
        scores: (n, width)
        targets: (n, width): graded labels as shares of their sum; 0 where padded.
        present: bool (n, width): False where padded.
        config: Which loss, and how much labels are smoothed.

    Returns:
        The mean over the lists.
    """
    if config.loss == "pairwise":
        return _pairwise(scores, targets, present)
    if config.loss == "pointwise":
        acted_on = (targets > 0).float()
        acted_on = acted_on + config.label_smoothing * (0.5 - acted_on)
        each = nn.functional.binary_cross_entropy_with_logits(scores, acted_on, reduction="none")
        return ((each * present).sum(-1) / present.sum(-1).clamp(min=1)).mean()
    even = present / present.sum(-1, keepdim=True).clamp(min=1)
    smoothed = targets + config.label_smoothing * (even - targets)
    log_shares = torch.log_softmax(scores.masked_fill(~present, _LOWEST), dim=-1)
    return -(smoothed * log_shares).sum(-1).mean()


def _pairwise(scores: torch.Tensor, targets: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Ask of every pair with different grades that the better one score higher.

    Returns:
        The mean over the lists of the mean over their pairs.
    """
    ahead = scores[:, :, None] - scores[:, None, :]
    counts = (targets[:, :, None] > targets[:, None, :]) & present[:, None, :]
    each = nn.functional.softplus(-ahead) * counts
    return (each.sum((1, 2)) / counts.sum((1, 2)).clamp(min=1)).mean()


def contrastive_loss(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Tell each user's next item from the next items of the others in the batch.

    Args:
        users: (n, size)
        items: (n, size), unit length; row i is the next item of user i.

    Returns:
        The mean over the users.
    """
    cosines = nn.functional.normalize(users, dim=-1) @ items.T
    return nn.functional.cross_entropy(
        SHARPNESS * cosines, torch.arange(len(items), device=items.device)
    )


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Compare the shares that a student gives candidates with those of a teacher.

    Args:
        student: (n, width): log odds, up to a constant per list.
        teacher: (n, width): the same; NaN where the teacher was not asked.

    Returns:
        Mean Kullback-Leibler divergence over the lists of which the teacher was asked; 0 for none.
    """
    asked = ~teacher.isnan()
    wanted = torch.log_softmax(teacher.masked_fill(~asked, _LOWEST), dim=-1)
    found = torch.log_softmax(student.masked_fill(~asked, _LOWEST), dim=-1)
    each = (wanted.exp() * (wanted - found) * asked).sum(-1)
    lists = asked.any(dim=-1)
    return (each * lists).sum() / lists.sum().clamp(min=1)

"""The loop of a fit: batches, steps, epochs, checkpoints; the best weights are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from recsys.config import InterestConfig
from recsys.interest.checkpoint import (
    Checkpoints,
    FitState,
    Tensors,
    load_optimiser,
    optimiser_tensors,
)
from recsys.interest.journal import Journal
from recsys.interest.optimising import Group, clip, make_optimiser, rate_of
from recsys.interest.sharing import rank, share, sum_gradients, sum_losses

HELD_OUT: Final = 0.15

_log = structlog.get_logger("recsys.interest")


class Lessons(Protocol):
    """What is learned from, and what learning changes."""

    def __len__(self) -> int:
        """Count the examples, oldest first."""
        ...

    def begin(self) -> None:
        """Begin an epoch: dropout and augmentation are on."""
        ...

    def end(self) -> None:
        """End an epoch: renew what was computed with earlier weights."""
        ...

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Hear which examples will be asked for next; a wrong guess costs time alone."""
        ...

    def loss(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Give the mean loss of some examples."""
        ...

    def held_out_loss(self, rows: NDArray[np.int64]) -> float:
        """Measure the loss alone; 0 where there are no examples. Ends what `begin` began."""
        ...

    def state(self) -> Tensors:
        """Copy everything that a step changes."""
        ...

    def restore(self, state: Tensors) -> None:
        """Go back to a state."""
        ...


@dataclass(slots=True)
class Plan:
    """What one descent does.

    Args:
        label: What is fitted.
        groups: Parameters with their rates.
        config: Epochs, batch size, tuning.
        seed: Of the order of examples.
        after_step: Called with the number of each step that was made.
        held_out: Share of the examples that choose the weights; 0: the last weights are kept.
    """

    label: str
    groups: list[Group]
    config: InterestConfig
    seed: int
    after_step: Callable[[int], None] = field(default=lambda _step: None)
    held_out: float = HELD_OUT

    def n_fitted(self, n_examples: int) -> int:
        """Count the examples that are learned from.

        Returns:
            Those that are not held out.
        """
        return n_examples - round(self.held_out * n_examples)

    def n_steps(self, n_examples: int) -> int:
        """Count the steps over some examples, those held out included.

        Returns:
            Steps of all epochs.
        """
        n_fitted = self.n_fitted(n_examples)
        per_step = self.config.batch_size * self.config.tuning.accumulation
        return self.config.epochs * -(-n_fitted // per_step)


class Descent:
    """Fits what a plan names; the newest examples are held out and choose the weights.

    Args:
        plan: What to do.
        lessons: The examples.
        checkpoints: Where the state is kept, and gone on from.
        journal: Told of steps and epochs.
    """

    def __init__(
        self,
        plan: Plan,
        lessons: Lessons,
        checkpoints: Checkpoints,
        journal: Journal,
    ) -> None:
        n_examples = len(lessons)
        n_fitted = plan.n_fitted(n_examples)
        self._plan = plan
        self._lessons = lessons
        self._checkpoints = checkpoints
        self._journal = journal
        self._n_fitted = n_fitted
        self._held_out = np.arange(n_fitted, n_examples)
        self._optimiser = make_optimiser(plan.groups, plan.config.tuning)
        self._rate = rate_of(plan.config.tuning, plan.n_steps(n_examples))
        self._rates = [group["lr"] for group in self._optimiser.param_groups]
        self._n_parts = 1
        self._written_at = time.monotonic()
        self._best: Tensors = {}
        self._facts: dict[str, Any] = {
            "epoch": 1, "place": 0, "step": 0, "worse": 0, "best": 0.0, "losses": [], "done": False,
        }  # fmt: skip

    def run(self) -> None:
        """Fit, from the start or from the last checkpoint; the best weights remain."""
        facts, config = self._facts, self._plan.config
        state = self._checkpoints.read()
        if state is None:
            facts["best"] = self._lessons.held_out_loss(self._held_out)
            self._best = self._lessons.state()
            self._journal.report(self._plan.label, 0, float("nan"), facts["best"])
        else:
            self._go_on_from(state)
        while facts["epoch"] <= config.epochs and not facts["done"]:
            self._epoch()
        self._lessons.restore(self._best)
        facts["done"] = True
        self._write()

    def _epoch(self) -> None:
        facts, tuning = self._facts, self._plan.config.tuning
        # The order follows from seed and epoch alone, so a place in it is all that is remembered.
        order = np.random.default_rng((self._plan.seed, facts["epoch"])).permutation(self._n_fitted)
        per_step = self._plan.config.batch_size * tuning.accumulation
        self._lessons.begin()
        while facts["place"] < self._n_fitted:
            rows = order[facts["place"] : facts["place"] + per_step]
            facts["place"] += per_step
            after = order[facts["place"] : facts["place"] + per_step]
            facts["losses"].append(self._step(rows, after))
            done = (facts["epoch"] - 1) * self._n_fitted + min(facts["place"], self._n_fitted)
            total = self._plan.config.epochs * self._n_fitted
            self._journal.advance(self._plan.label, done, total)
            if self._is_due():
                self._write()
        self._lessons.end()
        found = self._lessons.held_out_loss(self._held_out)
        self._journal.report(
            self._plan.label, facts["epoch"], float(np.mean(facts["losses"])), found
        )
        facts["worse"] += 1
        if found < facts["best"] or not len(self._held_out):
            facts.update(best=found, worse=0)
            self._best = self._lessons.state()
        facts.update(
            epoch=facts["epoch"] + 1, place=0, losses=[], done=facts["worse"] >= tuning.patience
        )

    def _step(self, rows: NDArray[np.int64], after: NDArray[np.int64]) -> float:
        factor = self._rate(self._facts["step"])
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = factor * rate
        loss = self._gradients(rows, after)
        sum_gradients(self._plan.groups)
        clip(self._plan.groups, self._plan.config.tuning.clip)
        self._optimiser.step()
        self._facts["step"] += 1
        self._plan.after_step(self._facts["step"])
        self._journal.rate(self._plan.label, self._facts["step"], factor * self._rates[-1])
        return sum_losses(loss)

    def _parts(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut this process's share of a step into what is computed at once.

        Returns:
            Examples, part by part; none where the share is empty.
        """
        mine = share(rows)
        n_parts = max(self._n_parts, -(-len(mine) // self._plan.config.batch_size))
        parts = np.array_split(mine, min(n_parts, max(1, len(mine))))
        return [part for part in parts if len(part)]

    def _gradients(self, rows: NDArray[np.int64], after: NDArray[np.int64]) -> float:
        """Sum the gradients of a step's parts; parts are halved where memory runs out.

        Returns:
            This process's part of the mean loss.

        Raises:
            OutOfMemoryError: Not even one example fits.
        """
        parts = self._parts(rows)
        # While one part is learned from, the next one is laid out.
        next_parts = [*parts[1:], *self._parts(after)[:1], after[:0]]
        try:
            self._optimiser.zero_grad()
            total = 0.0
            for part, following in zip(parts, next_parts, strict=False):
                loss = self._lessons.loss(part) * (len(part) / len(rows))
                self._lessons.expect(following)
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        except torch.OutOfMemoryError:
            if all(len(part) <= 1 for part in parts):
                raise
            self._n_parts = 2 * len(parts)
            size = max(-(-len(part) // 2) for part in parts)
            _log.warning("out of memory: batches are halved", size=size)
            torch.cuda.empty_cache()
            return self._gradients(rows, after)
        return total

    def _is_due(self) -> bool:
        # Clocks differ: the first process says when all of them stop for a checkpoint.
        due = time.monotonic() - self._written_at > self._plan.config.tuning.checkpoint_s
        return sum_losses(float(due and rank() == 0)) > 0

    def _write(self) -> None:
        tensors = self._lessons.state() | optimiser_tensors(self._optimiser)
        self._checkpoints.write(FitState(tensors, self._best, self._facts))
        self._written_at = time.monotonic()

    def _go_on_from(self, state: FitState) -> None:
        self._lessons.restore({
            name: value
            for name, value in state.tensors.items()
            if not name.startswith("optimiser.")
        })
        load_optimiser(self._optimiser, state.tensors)
        self._best = state.best
        self._facts.update(state.facts)
        _log.info(
            "going on from a checkpoint",
            fitted=self._plan.label,
            **{name: state.facts[name] for name in ("epoch", "step")},
        )

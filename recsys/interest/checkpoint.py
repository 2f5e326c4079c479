"""Checkpoints of a fit: everything that the next step depends on, in safetensors and JSON.

A run that was killed goes on from its last checkpoint and ends with the same weights as one that
was not: weights, optimiser, schedule, random states of all processes, order of the examples and the
best weights so far are all in it. A checkpoint is written beside the one before and renamed into
its place, so a whole one exists at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from recsys.errors import ProcessesError
from recsys.interest.sharing import as_the_first_says, gathered, rank

Tensors = dict[str, torch.Tensor]

_log = structlog.get_logger("recsys.interest")


@dataclass(slots=True)
class FitState:
    """Where a fit stands between two steps.

    Args:
        tensors: Weights and optimiser by name.
        best: The weights that did best so far.
        facts: Numbers: epoch, step, losses, the state of the random generator.
    """

    tensors: Tensors
    best: Tensors
    facts: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoint of one fit.

    Args:
        path: The file.
        of: What was fitted how; a checkpoint of something else is not gone on from.
    """

    def __init__(self, path: Path, of: dict[str, Any]) -> None:
        self._path = path
        text = json.dumps(of, sort_keys=True, default=str)
        self._key = hashlib.sha256(text.encode()).hexdigest()

    def write(self, state: FitState) -> None:
        """Write a checkpoint in place of the one before; a full disk costs the checkpoint only.

        Of several processes, which call this together, the first one writes, also for the others.
        """
        tensors = {f"now/{k}": v for k, v in state.tensors.items()}
        tensors |= {f"best/{k}": v for k, v in state.best.items()}
        tensors |= {name: gathered(value) for name, value in _random_states().items()}
        if rank():
            return
        flat = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        facts = {"key": self._key, "facts": json.dumps(state.facts)}
        beside = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(flat, beside, metadata=facts)
            Path(beside).replace(self._path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            _log.warning("no checkpoint could be written", path=str(self._path), reason=str(error))

    def read(self) -> FitState | None:
        """Read the checkpoint and restore the random state that it was written in.

        Returns:
            The state; None where there is none, or one of another fit, or a damaged one.

        Raises:
            ProcessesError: Of several processes, this one reads something else than the first.
        """
        state = self._read()
        place = "none" if state is None else json.dumps(state.facts)
        if as_the_first_says(place) != place:
            found = f"process {rank()} reads another {self._path} than the first one"
            expected = "a workspace on a file system that all share"
            raise ProcessesError(found, expected)
        return state

    def _read(self) -> FitState | None:
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                facts = file.metadata() or {}
                if facts.get("key") != self._key:
                    return None
                names: list[str] = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            _log.warning("a checkpoint is left aside", path=str(self._path), reason=str(error))
            return None
        _restore_random(tensors)
        return FitState(
            tensors={k[4:]: v for k, v in tensors.items() if k.startswith("now/")},
            best={k[5:]: v for k, v in tensors.items() if k.startswith("best/")},
            facts=json.loads(facts["facts"]),
        )


def _random_states() -> Tensors:
    states = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random_cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random(tensors: Tensors) -> None:
    # As many processes as wrote the checkpoint go on as they would have; others go on as well.
    states = tensors["random"]
    torch.set_rng_state(states[rank() % len(states)].clone())
    if torch.cuda.is_available() and "random_cuda" in tensors:
        states = tensors["random_cuda"]
        torch.cuda.set_rng_state(states[rank() % len(states)].clone())


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """Flatten an optimiser's state.

    Returns:
        Tensors by parameter number and name.
    """
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Give an optimiser that was made anew with the same groups its state back."""
    whole = optimiser.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".", 2)
            whole["state"].setdefault(int(number), {})[key] = value
    optimiser.load_state_dict(whole)

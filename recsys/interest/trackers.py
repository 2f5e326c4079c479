"""Where the numbers of a fit go besides the run's own files; each tracker is loaded when chosen."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from recsys.errors import TrainingError


class Tracker(Protocol):
    """Takes numbers in."""

    def note(self, name: str, value: float, step: int) -> None:
        """Take in one number."""
        ...

    def close(self) -> None:
        """End the log."""
        ...


def open_tracker(name: str, folder: Path) -> Tracker:
    """Open a tracker.

    Args:
        name: `none`, `tensorboard`, `mlflow` or `wandb`.
        folder: Of the fit.

    Returns:
        The tracker.

    Raises:
        TrainingError: Its library is not installed.
    """
    makers: dict[str, Callable[[Path], Tracker]] = {
        "tensorboard": _TensorBoard,
        "mlflow": _MLflow,
        "wandb": _WandB,
    }
    return makers[name](folder) if name in makers else _Nothing()


class _Nothing:
    def note(self, name: str, value: float, step: int) -> None:
        pass

    def close(self) -> None:
        pass


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def note(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """Runs go where MLFLOW_TRACKING_URI says, else into a folder beside the fits."""

    def __init__(self, folder: Path) -> None:
        self._mlflow: Any = _library("mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            store = folder.parent / "mlflow.db"
            self._mlflow.set_tracking_uri(f"sqlite:///{store.resolve()}")
        self._mlflow.start_run(run_name=folder.name)

    def note(self, name: str, value: float, step: int) -> None:
        # In the background, many at once: a transaction per step would cost more than the step.
        self._mlflow.log_metric(name.replace("/", "."), value, step=step, synchronous=False)

    def close(self) -> None:
        self._mlflow.flush_async_logging()
        self._mlflow.end_run()


class _WandB:
    """Offline unless WANDB_MODE says otherwise; `wandb sync` uploads later."""

    def __init__(self, folder: Path) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        library: Any = _library("wandb")
        # Silent: what it prints would tear the progress bars.
        settings = library.Settings(silent=True, console="off")
        self._run = library.init(
            project="recsys", name=folder.name, dir=str(folder), mode=mode, settings=settings
        )
        self._known: set[str] = set()

    def note(self, name: str, value: float, step: int) -> None:
        # Steps and epochs count differently: each number has an axis of its own.
        axis = f"{name}/step"
        if name not in self._known:
            self._known.add(name)
            self._run.define_metric(name, step_metric=axis)
        self._run.log({name: value, axis: step})

    def close(self) -> None:
        self._run.finish()


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        found = f"{name} is not installed"
        raise TrainingError("tracker", found, f"pip install 'recsys[{name}]'") from error

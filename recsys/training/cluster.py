"""The same training on a Ray cluster: one Ray Train worker per process that fits.

Ray starts the processes and introduces them to each other; what they do is what they do under
`torchrun`. The workspace lies on a file system that all machines share.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from recsys.bundle.durable import write_durably
from recsys.errors import TrainingError
from recsys.training.train import TrainReport
from recsys.workspace import Workspace, open_workspace

_WHAT: Final = "training on Ray"
_REPORT: Final = "report.json"


def train_on_ray(
    workspace: Workspace, n_workers: int, *, activate: bool, fresh: bool
) -> TrainReport:
    """Train on Ray workers and publish; starts a Ray of this machine where none is running.

    Args:
        workspace: On a file system that all workers share.
        n_workers: Processes that fit; each gets a GPU where the configuration lets it have one.
        activate: Let the new bundle serve.
        fresh: Do not go on with a run that was cut off.

    Returns:
        The report.

    Raises:
        TrainingError: Ray is not installed, has too few resources, or a worker failed.
    """
    ray, train = _library("ray"), _library("ray.train")
    torch_train = _library("ray.train.torch")
    # Ray reports its use to its makers unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        storage = workspace.runs.resolve() / "ray"
        use_gpu = workspace.config.interest.device != "cpu" and "GPU" in ray.cluster_resources()
        _check_resources(ray.cluster_resources(), n_workers, use_gpu=use_gpu)
        trainer = torch_train.TorchTrainer(
            _work,
            train_loop_config={
                "folder": str(workspace.folder.resolve()),
                "storage": str(storage),
                "activate": activate,
                "fresh": fresh,
            },
            scaling_config=train.ScalingConfig(num_workers=n_workers, use_gpu=use_gpu),
            torch_config=torch_train.TorchConfig("cpu:gloo,cuda:nccl" if use_gpu else "gloo"),
            run_config=train.RunConfig(name=storage.name, storage_path=str(storage.parent)),
        )  # fmt: skip
        try:
            trainer.fit()
        except train.TrainingFailedError as error:
            expected = "workers that end"
            raise TrainingError(_WHAT, _reason(error), expected) from error
    finally:
        if ours:
            ray.shutdown()
    return msgspec.json.decode((storage / _REPORT).read_bytes(), type=TrainReport)


def _work(settings: dict[str, Any]) -> None:
    from recsys.training.publishing import train_and_publish

    workspace = open_workspace(Path(settings["folder"]))
    report = train_and_publish(
        workspace, lambda *_: None, activate=settings["activate"], fresh=settings["fresh"]
    )
    if report is not None:
        # Ray hands metrics back only with checkpoints, and ours are our own.
        write_durably(Path(settings["storage"]) / _REPORT, msgspec.json.encode(report))


def _check_resources(there: dict[str, float], n_workers: int, *, use_gpu: bool) -> None:
    kind = "GPU" if use_gpu else "CPU"
    if there.get(kind, 0.0) < n_workers:
        found = f"a cluster with {there.get(kind, 0.0):g} {kind}s"
        raise TrainingError(_WHAT, found, f"{n_workers}, one per worker")


def _reason(error: Exception) -> str:
    """Find what the first worker died of.

    Returns:
        A line.
    """
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    return str(next(iter(failures.values()), error)).strip().splitlines()[-1]


def _library(name: str) -> Any:  # noqa: ANN401 - Ray is absent where types are checked
    try:
        return importlib.import_module(name)
    except ImportError as error:
        found = f"{name} cannot be imported ({error})"
        expected = "pip install 'recsys[ray]'"
        raise TrainingError(_WHAT, found, expected) from error

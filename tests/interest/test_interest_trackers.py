"""Numbers of a fit go to the tracker that was chosen; its library is loaded only then."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from recsys.errors import TrainingError
from recsys.interest.trackers import open_tracker


class FakeLibrary(ModuleType):
    """What both libraries are asked for, written down."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*values, **more):
            self.calls.append((name, *values, more))
            return self

        return call


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_numbers_reach_the_library(name, tmp_path, monkeypatch):
    library = FakeLibrary(name)
    monkeypatch.setitem(sys.modules, name, library)
    tracker = open_tracker(name, tmp_path)
    tracker.note("towers/loss", 2.5, 3)
    tracker.close()
    told = [call for call in library.calls if call[0] in {"log_metric", "log"}]
    assert len(told) == 1
    assert "2.5" in str(told)
    assert library.calls[-1][0] in {"end_run", "finish"}
    if name == "wandb":
        (started,) = [call for call in library.calls if call[0] == "init"]
        assert started[-1]["mode"] == "offline"


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_says_what_to_install(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=rf"recsys\[{name}\]"):
        open_tracker(name, tmp_path)


def test_no_tracker_leaves_no_files(tmp_path):
    tracker = open_tracker("none", tmp_path)
    tracker.note("a", 1.0, 1)
    tracker.close()
    assert not list(tmp_path.iterdir())
    tracker = open_tracker("tensorboard", tmp_path)
    tracker.note("a", 1.0, 1)
    tracker.close()
    assert list(tmp_path.glob("events.out.tfevents.*"))


REASON = "70 MB with what it needs, and no part of the development setup"


@pytest.mark.filterwarnings("ignore")  # of libraries below it, which are not ours
def test_mlflow_keeps_every_number_of_two_fits(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason=REASON)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_fits("mlflow", tmp_path)
    runs = {run.info.run_name: run for run in mlflow.MlflowClient().search_runs(["0"])}
    assert set(runs) == {"first_5", "first_9"}
    for run in runs.values():
        found = mlflow.MlflowClient().get_metric_history(run.info.run_id, "towers.loss")
        assert [(m.step, m.value) for m in found] == [(1, 2.0), (2, 1.0), (3, 0.0)]
        assert run.info.status == "FINISHED"
    assert (tmp_path / "mlflow.db").exists()


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_a_run_that_can_be_synchronised_later(tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb", reason=REASON)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    write_fits("wandb", tmp_path)
    for fit in ("first_5", "first_9"):
        (run,) = (tmp_path / fit).rglob("run-*.wandb")
        assert b"towers/loss" in run.read_bytes()
    assert not capfd.readouterr().out


def write_fits(name, folder):
    for fit in ("first_5", "first_9"):
        (folder / fit).mkdir()
        tracker = open_tracker(name, folder / fit)
        for step in range(3):
            tracker.note("towers/loss", 2.0 - step, step + 1)
        tracker.close()

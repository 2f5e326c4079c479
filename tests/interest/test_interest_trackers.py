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
        assert library.calls[0][-1]["mode"] == "offline"


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

"""A training that is killed is gone on with, and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from recsys.cli.workspace import make_workspace
from recsys.config import Config
from recsys.events.importing import import_events
from recsys.training.runs import FACTS, open_run, remove_unfinished
from recsys.training.summary import CURVES, HISTORY, SUMMARY, write_summary
from recsys.workspace import Workspace, open_workspace

COMMAND = [sys.executable, "-c", "from recsys.cli.main import app; app()", "train", "--json"]
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]


def make(folder: Path, events: Path, encoder: str) -> Workspace:
    path = make_workspace(folder, clock="log")
    path.write_text(
        path.read_text()
        + f"""
[interest]
encoder = {json.dumps(encoder)}
windows = 2
epochs = 3
words = "always"
device = "cpu"
tuning = {{ mode = "full", checkpoint_s = 0, dropout = 0, history_mask = 0 }}
[ranker]
trees = 10
bags = 1
min_rows_per_leaf = 5
"""
    )
    workspace = open_workspace(folder)
    import_events(workspace.log_config, [events], rejects=folder / "rejects.jsonl")
    return workspace


def start(workspace: Workspace, launcher: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    with said_by(workspace.folder).open("ab") as said:
        return subprocess.Popen(
            [*launcher, *COMMAND, "--workspace", str(workspace.folder)],
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def said_by(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.stderr"


def metrics(process: subprocess.Popen[bytes]) -> dict[str, float]:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said_by(Path(process.args[-1])).read_text()[-10_000:]
    return json.loads(out)["metrics"]


def losses(workspace: Workspace) -> dict[tuple[str, str, int], float]:
    (run,) = workspace.runs.iterdir()
    lines = [(path, line) for path in run.rglob(HISTORY) for line in path.read_bytes().splitlines()]
    epochs = [(path.parent.name, json.loads(line)) for path, line in lines]
    assert len(epochs) == len({(fit, e["part"], e["epoch"]) for fit, e in epochs})
    return {(fit, e["part"], e["epoch"]): e["held_out"] for fit, e in epochs}


def killed_while_fitting(workspace: Workspace) -> None:
    process = start(workspace)
    end = time.monotonic() + 240
    while not list(workspace.runs.rglob("encoder.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def events(world, tmp_path_factory):
    from recsys.events.codec import encode_event

    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    path.write_bytes(b"".join(encode_event(v.event) + b"\n" for v in world.events))
    return path


@pytest.fixture(scope="module")
def undisturbed(events, thin_encoder, tmp_path_factory):
    """A training that nothing happens to; it runs beside those that it is compared with."""
    workspace = make(tmp_path_factory.mktemp("whole"), events, thin_encoder)
    process = start(workspace)
    return workspace, functools.cache(lambda: metrics(process))


def test_a_killed_training_is_gone_on_with_and_ends_with_the_same_metrics(
    undisturbed, events, thin_encoder, tmp_path
):
    cut_off = make(tmp_path / "cut_off", events, thin_encoder)
    killed_while_fitting(cut_off)
    again = metrics(start(cut_off))
    assert again == undisturbed[1]()
    (run,) = cut_off.runs.iterdir()
    assert json.loads((run / FACTS).read_text())["finished"]
    assert not list(run.rglob("*.safetensors"))
    assert "held out" in (run / SUMMARY).read_text()
    assert (run / CURVES).read_text().startswith("<svg")


def test_two_processes_learn_what_one_learns_and_publish_once(
    undisturbed, events, thin_encoder, tmp_path
):
    together = make(tmp_path / "together", events, thin_encoder)
    process = start(together, [*LAUNCHER, "--nproc-per-node=2"])
    found = metrics(process)  # the second process printed nothing, or this were no JSON
    assert found == pytest.approx(undisturbed[1](), abs=0.02)
    alone, shared = losses(undisturbed[0]), losses(together)
    assert len(alone) > 10
    assert shared == pytest.approx(alone, abs=5e-3)
    versions = [path for path in together.bundles.iterdir() if path.is_dir()]
    assert len(versions) == 1
    (run,) = together.runs.iterdir()
    assert not (run / "snapshot").exists()
    assert json.loads((run / FACTS).read_text())["finished"]


def test_only_a_run_on_the_same_that_did_not_end_is_taken_over(plain_workspace, tmp_path):
    runs = tmp_path / "runs"

    def run(config=None, *, fail=False):
        opened = open_run(runs, config or Config(), "log")
        folder = opened.__enter__()
        error = KeyError("cut off") if fail else None
        with contextlib.suppress(KeyError):
            opened.__exit__(type(error) if error else None, error, None)
        return folder

    first = run(fail=True)
    assert run(Config(seed=4), fail=True) != first
    with open_run(runs, Config(), "log") as held:
        assert held == first
        assert run(fail=True) not in {first, None}
    assert run() != first
    remove_unfinished(runs)
    assert all(json.loads(p.read_text())["finished"] for p in runs.glob(f"*/{FACTS}"))


def test_a_fit_without_a_single_epoch_can_be_summed_up(tmp_path):
    fit = tmp_path / "first_5"
    fit.mkdir()
    line = {"part": "towers", "epoch": 0, "loss": None, "held_out": 2.5, "seconds": 0.1}
    (fit / "history.jsonl").write_text(json.dumps(line) + "\n")
    write_summary(tmp_path)
    assert "2.5000" in (tmp_path / SUMMARY).read_text()

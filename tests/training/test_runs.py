"""A training that is killed is gone on with, and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from recsys.cli.workspace import make_workspace
from recsys.config import Config
from recsys.events.importing import import_events
from recsys.events.snapshot import read_snapshot
from recsys.training.runs import FACTS, open_run, remove_unfinished
from recsys.training.summary import CURVES, SUMMARY, write_summary
from recsys.workspace import Workspace, open_workspace

COMMAND = [sys.executable, "-c", "from recsys.cli.main import app; app()", "train", "--json"]


def make(folder: Path, events: Path, encoder: str) -> Workspace:
    path = make_workspace(folder, clock="log")
    path.write_text(
        path.read_text()
        + f"""
[interest]
encoder = {json.dumps(encoder)}
windows = 2
epochs = 3
device = "cpu"
tuning = {{ mode = "full", checkpoint_s = 0 }}
[ranker]
trees = 10
bags = 1
min_rows_per_leaf = 5
"""
    )
    workspace = open_workspace(folder)
    import_events(workspace.log_config, [events], rejects=folder / "rejects.jsonl")
    return workspace


def start(workspace: Workspace) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "--workspace", str(workspace.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def metrics(process: subprocess.Popen[bytes]) -> dict[str, float]:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return json.loads(out)["metrics"]


def killed_while_fitting(workspace: Workspace) -> None:
    process = start(workspace)
    end = time.monotonic() + 240
    while not list(workspace.runs.rglob("encoder.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_killed_training_is_gone_on_with_and_ends_with_the_same_metrics(
    world, thin_encoder, tmp_path
):
    from recsys.events.codec import encode_event

    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join(encode_event(v.event) + b"\n" for v in world.events))
    whole = make(tmp_path / "whole", events, thin_encoder)
    undisturbed = start(whole)
    cut_off = make(tmp_path / "cut_off", events, thin_encoder)
    killed_while_fitting(cut_off)
    again = metrics(start(cut_off))
    assert again == metrics(undisturbed)
    (run,) = cut_off.runs.iterdir()
    assert json.loads((run / FACTS).read_text())["finished"]
    assert not list(run.rglob("*.safetensors"))
    assert "held out" in (run / SUMMARY).read_text()
    assert (run / CURVES).read_text().startswith("<svg")


def test_only_a_run_on_the_same_that_did_not_end_is_taken_over(plain_workspace, tmp_path):
    snapshot = read_snapshot(plain_workspace.log_config)
    runs = tmp_path / "runs"

    def run(config=None, *, fail=False):
        opened = open_run(runs, config or Config(), snapshot)
        folder = opened.__enter__()
        error = KeyError("cut off") if fail else None
        with contextlib.suppress(KeyError):
            opened.__exit__(type(error) if error else None, error, None)
        return folder

    first = run(fail=True)
    assert run(Config(seed=4), fail=True) != first
    with open_run(runs, Config(), snapshot) as held:
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

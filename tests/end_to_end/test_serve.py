"""The real server process on a trained workspace: clicks count, survive restarts and kills."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.schema import ImpressionEvent, InteractionEvent
from recsys.serving.client import Client
from recsys.workspace import Workspace, open_workspace

COMMAND = [sys.executable, "-c", "from recsys.cli.main import app; app()"]
ENVIRONMENT = {**os.environ, "RECSYS_PLUGINS__DISABLED": '["text_interest"]'}


@pytest.fixture
def workspace(plain_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    return open_workspace(tmp_path / "w")


@contextlib.contextmanager
def serving(workspace: Workspace) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--workspace", str(workspace.folder), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield process, line.removeprefix("listening on ").strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def clicks(user: str, items: list[str]) -> list[InteractionEvent]:
    return [InteractionEvent(f"click-{user}-{item}", 0, user, item, "click") for item in items]


def liked(world, topic: str, n: int) -> list[str]:
    return [item for item, found in world.topic_of_item.items() if found == topic][:n]


def share_at_top(world, item_ids: list[str], topic: str) -> int:
    return sum(world.topic_of_item[item] == topic for item in item_ids[:10])


def test_clicks_change_the_list_and_count_after_a_restart(workspace, world) -> None:
    candidates = list(world.topic_of_item)
    with serving(workspace) as (process, address), Client(address) as client:
        before = client.rank("newcomer", candidates)
        written = client.write_events(clicks("newcomer", liked(world, "space", 4)))
        assert (written.accepted, written.duplicates) == (4, 0)
        after = client.rank("newcomer", candidates)
        assert share_at_top(world, after.item_ids, "space") > share_at_top(
            world, before.item_ids, "space"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    with serving(workspace) as (_, address), Client(address) as client:
        again = client.rank("newcomer", candidates)
        assert again.item_ids[:10] == after.item_ids[:10]
        retried = client.write_events(clicks("newcomer", liked(world, "space", 4)))
        assert (retried.accepted, retried.duplicates) == (0, 4)


def test_what_was_acknowledged_survives_kill_9_and_a_merge(workspace, world) -> None:
    from recsys.events.merge import merge_spool
    from recsys.events.snapshot import read_snapshot

    with serving(workspace) as (process, address), Client(address) as client:
        for number in range(20):
            shown = ImpressionEvent(f"shown-{number}", 0, "u", liked(world, "space", 3))
            assert client.write_events([shown]).accepted == 1
        process.kill()
        process.wait()
    for _ in range(2):
        merge_spool(workspace.log_config)
        ids = read_snapshot(workspace.log_config).impressions["event_id"].to_list()
        assert len(ids) == len(set(ids))
        assert {f"shown-{number}" for number in range(20)} <= set(ids)


def test_a_damaged_bundle_is_refused_in_one_line_that_names_the_file(workspace) -> None:
    ranker = next(workspace.bundles.glob("2*")) / "ranker.txt"
    data = bytearray(ranker.read_bytes())
    data[len(data) // 2] ^= 1
    ranker.write_bytes(data)
    done = subprocess.run(
        [*COMMAND, "serve", "--workspace", str(workspace.folder), "--port", "0"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "ranker.txt" in done.stderr

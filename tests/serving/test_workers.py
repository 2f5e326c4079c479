"""Several processes on one port: events of one reach all, the dead are replaced, all stop."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from recsys.events.erasure import ask_to_erase
from recsys.events.merge import merge_spool
from recsys.events.snapshot import read_snapshot
from recsys.schema import InteractionEvent
from recsys.serving.client import Client
from recsys.serving.cores import free_core, keeps_to_cores
from recsys.workspace import open_workspace

COMMAND = [sys.executable, "-c", "from recsys.cli.main import app; app()"]
ENVIRONMENT = {
    **os.environ,
    "RECSYS_PLUGINS__DISABLED": '["text_interest"]',
    "RECSYS_SERVING__PIN": "true",
}


@pytest.fixture(scope="module")
def workspace(plain_workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers") / "w"
    shutil.copytree(plain_workspace.folder, folder)
    return open_workspace(folder)


@contextlib.contextmanager
def serving(workspace, *options):
    process = subprocess.Popen(
        [*COMMAND, "serve", "--workspace", str(workspace.folder), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield process, line.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.wait(40)
        process.stdout.close()


@pytest.fixture(scope="module")
def served(workspace):
    with serving(workspace, "--workers", "2") as (process, address):
        yield process, address


def children(process) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def connections() -> list[tuple[str, str, str]]:
    """List (local port, remote port, inode) of all established connections of this machine."""
    tables = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    lines = [line.split() for line in tables.splitlines() if ":" in line.split()[1]]
    return [
        (line[1].rpartition(":")[2], line[2].rpartition(":")[2], line[9])
        for line in lines
        if line[3] == "01"
    ]


def sockets_of(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def ports_of(pid: int) -> set[str]:
    mine = sockets_of(pid)
    return {local for local, _, inode in connections() if inode in mine}


def worker_behind(ports: set[str], processes: list[int]) -> int:
    """Find which process has the other end of a connection."""
    inodes = {inode for _, remote, inode in connections() if remote in ports}
    (found,) = [pid for pid in processes if inodes & sockets_of(pid)]
    return found


@contextlib.contextmanager
def clients_of_all(address, processes):
    """Open clients, each with a connection of its own, until every worker has one."""
    with contextlib.ExitStack() as stack:
        found = {}
        while len(found) < len(processes):
            before = ports_of(os.getpid())
            client = stack.enter_context(Client(address))
            client.rank("u", ["item1"])
            found.setdefault(worker_behind(ports_of(os.getpid()) - before, processes), client)
        yield found


def clicks(name, user, items):
    return [InteractionEvent(f"{name}-{item}", 0, user, item, "click") for item in items]


def liked(world, topic):
    return [item for item, found in world.topic_of_item.items() if found == topic]


def eventually(check, timeout_s):
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_click_of_one_worker_changes_the_list_of_the_other_within_a_second(served, world):
    process, address = served
    candidates = list(world.topic_of_item)
    with clients_of_all(address, children(process)) as clients:
        one, other = clients.values()
        before = other.rank("newcomer", candidates).scores
        assert one.write_events(clicks("w", "newcomer", liked(world, "space")[:4])).accepted == 4
        after = one.rank("newcomer", candidates)
        assert after.scores != before
        took_s = eventually(lambda: other.rank("newcomer", candidates).scores != before, 1.0)
        assert took_s < 1.0
        assert other.rank("newcomer", candidates).item_ids[:4] == after.item_ids[:4]


def test_a_user_is_forgotten_by_all_workers_within_a_second(served, world, workspace):
    process, address = served
    candidates = list(world.topic_of_item)
    with clients_of_all(address, children(process)) as clients:
        one, *_ = clients.values()
        strangers = one.rank("nobody knows", candidates).scores
        one.write_events(clicks("z", "zoe", liked(world, "space")[:4]))
        for client in clients.values():
            eventually(lambda c=client: c.rank("zoe", candidates).scores != strangers, 1.0)
        ask_to_erase(workspace.log_config, ["zoe"], time.time_ns() // 1000)
        began = time.monotonic()
        for client in clients.values():
            # Who is forgotten is ranked for as somebody who never came.
            eventually(
                lambda c=client: (
                    c.rank("zoe", candidates).scores == c.rank("nobody knows", candidates).scores
                ),
                1.0,
            )
        assert time.monotonic() - began < 1.0


def assert_each_has_a_core(process):
    found = [os.sched_getaffinity(pid) for pid in children(process)]
    assert [len(cores) for cores in found] == [1, 1]
    assert len(set.union(*found)) == min(2, len(os.sched_getaffinity(0)))


def test_each_worker_keeps_to_a_core_of_its_own(served):
    process, _ = served
    assert_each_has_a_core(process)


def test_processes_keep_to_cores_where_every_core_has_one(monkeypatch):
    n_cores = len(os.sched_getaffinity(0))
    wanted = [keeps_to_cores("auto", n) for n in (n_cores - 1, n_cores, n_cores + 1)]
    assert wanted == [False, True, True]
    assert [keeps_to_cores(pin, n_cores) for pin in (True, False)] == [True, False]
    monkeypatch.delattr(os, "sched_setaffinity")
    assert not keeps_to_cores(True, n_cores)


def test_a_core_is_chosen_to_which_the_fewest_keep():
    first, *others = sorted(os.sched_getaffinity(0))
    assert free_core([]) == first
    assert free_core([None, *others]) == first
    if others:
        assert free_core([first, None]) == others[0]


def test_a_retry_that_comes_to_another_worker_is_a_duplicate(served, world, workspace):
    process, address = served
    events = clicks("again", "u9", liked(world, "cooking")[:5])
    with clients_of_all(address, children(process)) as clients:
        one, other = clients.values()
        assert one.write_events(events).accepted == 5
        assert other.write_events(events).duplicates == 5
    stored = Counter(read_snapshot(workspace.log_config).interactions["event_id"].to_list())
    assert all(stored[event.event_id] == 1 for event in events)


def test_a_roll_back_of_one_worker_is_followed_by_the_other(served):
    process, address = served
    with clients_of_all(address, children(process)) as clients:
        for client in clients.values():
            assert client.active_model().version
            with pytest.raises(grpc.RpcError, match="active before"):
                client.roll_back()


def test_a_worker_that_dies_is_replaced_and_knows_what_was_written(served, world, workspace):
    process, address = served
    old = set(children(process))
    with clients_of_all(address, list(old)) as clients:
        pid, client = next(iter(clients.items()))
        events = clicks("dying", "u8", liked(world, "football")[:5])
        assert client.write_events(events).accepted == 5
        os.kill(pid, signal.SIGKILL)
    merge_spool(workspace.log_config)
    eventually(lambda: len(set(children(process)) - {pid}) == 2, 30)
    (new,) = set(children(process)) - old

    def knows():
        with clients_of_all(address, children(process)) as clients:
            return clients[new].write_events(events).duplicates == 5

    eventually(knows, 30)


def test_a_hangup_renews_all_workers_without_refusing_a_call(served):
    process, address = served
    old = set(children(process))
    renewed = threading.Event()

    def rank_until_renewed():
        with Client(address, timeout_s=60.0) as client:
            while not renewed.is_set():
                client.rank("u", ["item1"])

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(rank_until_renewed) for _ in range(4)]
        process.send_signal(signal.SIGHUP)
        try:
            eventually(lambda: not old & set(children(process)), 120)
        finally:
            renewed.set()
    assert [call.result() for call in calls] == [None] * 4
    assert len(children(process)) == 2
    assert_each_has_a_core(process)


def test_all_stop_in_peace_and_the_port_is_free_again(served):
    process, address = served
    pids = children(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    host, _, port = address.rpartition(":")
    with socket.socket() as free:
        # Connections that have ended may linger; nobody may listen.
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((host, int(port)))


def test_workers_stop_when_the_process_that_started_them_is_killed(workspace):
    with serving(workspace, "--workers", "2") as (process, _):
        pids = children(process)
        process.kill()
        process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20)


def test_a_bundle_that_cannot_be_opened_ends_the_start_with_its_name(workspace, tmp_path):
    shutil.copytree(workspace.folder, tmp_path / "w")
    ranker = next((tmp_path / "w" / "bundles").glob("2*")) / "ranker.txt"
    ranker.write_bytes(ranker.read_bytes()[:-1] + b"#")
    done = subprocess.run(
        [*COMMAND, "serve", "--workspace", tmp_path / "w", "--port", "0", "--workers", "2"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ranker.txt" in done.stderr


def test_a_port_that_is_taken_is_named(workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "serve", "--workspace", workspace.folder, "--port", port, "--workers", "2"],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
    assert done.returncode == 1
    assert f":{port}: cannot listen" in done.stderr

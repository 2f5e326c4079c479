"""A merge moves the spool into the tables, whoever is alive and whenever it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import LogConfig
from recsys.errors import LogError, SpoolDamagedError
from recsys.events.frames import KINDS, event_frames
from recsys.events.merge import merge_spool
from recsys.events.snapshot import LogSnapshot, read_snapshot, snapshot_of
from recsys.events.spool import SpoolWriter, spool_files, spool_folder
from recsys.events.stats import log_stats
from recsys.events.warehouse import open_warehouse
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent, VisibleEvent


def _same(left: LogSnapshot, right: LogSnapshot) -> bool:
    return all(getattr(left, kind).equals(getattr(right, kind)) for kind in KINDS)


def _clicks(*numbers: int) -> list[VisibleEvent]:
    return [VisibleEvent(InteractionEvent(f"e{n}", n, "u", "i", "click"), n) for n in numbers]


def _config(folder: Path) -> LogConfig:
    return LogConfig(path=str(folder / "log.duckdb"))


clicks = st.builds(
    lambda name, item, at: VisibleEvent(InteractionEvent(name, at, "u", item, "click"), at),
    st.sampled_from("abcd"),
    st.sampled_from("xyz"),
    st.integers(0, 9),
)


@settings(deadline=None, max_examples=12)
@given(
    stored=st.lists(clicks, max_size=5), files=st.lists(st.lists(clicks, max_size=5), max_size=3)
)
def test_a_merge_changes_nothing_that_can_be_read(
    tmp_path_factory: pytest.TempPathFactory,
    stored: list[VisibleEvent],
    files: list[list[VisibleEvent]],
) -> None:
    config = _config(tmp_path_factory.mktemp("log"))
    with open_warehouse(config) as warehouse, warehouse.transaction():
        warehouse.write(event_frames(stored))
    for events in files:
        writer = SpoolWriter(spool_folder(config))
        writer.append(events)
        writer.close()
    before = read_snapshot(config)
    merge_spool(config)
    assert spool_files(spool_folder(config)) == []
    assert _same(read_snapshot(config), before)


def test_the_file_of_a_live_writer_is_folded_and_kept(tmp_path: Path) -> None:
    config = _config(tmp_path)
    writer = SpoolWriter(spool_folder(config))
    writer.append(_clicks(1, 2))
    writer.sync()
    first = merge_spool(config)
    assert (first.new["interactions"], first.files_kept, first.files_removed) == (2, 1, 0)
    writer.append(_clicks(3))
    writer.close()
    second = merge_spool(config)
    assert (second.new["interactions"], second.files_kept, second.files_removed) == (1, 0, 1)
    assert _same(read_snapshot(config), snapshot_of(_clicks(1, 2, 3)))


def test_without_a_spool_nothing_is_made(tmp_path: Path) -> None:
    assert merge_spool(_config(tmp_path)).read == 0
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_spool_stops_a_merge_before_it_changes_anything(tmp_path: Path) -> None:
    config = _config(tmp_path)
    writer = SpoolWriter(spool_folder(config))
    writer.append(_clicks(1, 2))
    writer.close()
    (path,) = spool_files(spool_folder(config))
    path.write_bytes(path.read_bytes().replace(b'"e2"', b'"e9"'))
    with pytest.raises(SpoolDamagedError):
        merge_spool(config)
    assert path.exists()
    with open_warehouse(config) as warehouse:
        assert warehouse.read("interactions").is_empty()


KILLED = """
import os, signal, sys
from recsys.config import LogConfig
from recsys.events import merge
from recsys.events.warehouse import Warehouse

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before commit":
    write = Warehouse.write
    Warehouse.write = lambda self, frames: (write(self, frames), die())
elif sys.argv[2] == "before checkpoint":
    Warehouse.checkpoint = die
elif sys.argv[2] == "before removal":
    merge._remove = die
merge.merge_spool(LogConfig(path=sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["before commit", "before checkpoint", "before removal"])
def test_a_killed_merge_is_completed_by_the_next(tmp_path: Path, moment: str) -> None:
    config = _config(tmp_path)
    events = _clicks(*range(500))
    for part in (events[:300], events[300:]):
        writer = SpoolWriter(spool_folder(config))
        writer.append(part)
        writer.close()
    killed = subprocess.run([sys.executable, "-c", KILLED, config.path, moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _same(read_snapshot(config), snapshot_of(events))
    merge_spool(config)
    assert spool_files(spool_folder(config)) == []
    assert _same(read_snapshot(config), snapshot_of(events))


WRITER = """
import itertools, sys
from pathlib import Path
from recsys.events.spool import SpoolWriter
from recsys.schema import InteractionEvent, VisibleEvent

writer = SpoolWriter(Path(sys.argv[1]), file_bytes=20_000)
for n in itertools.count():
    event = InteractionEvent(f"{sys.argv[2]}-{n}", n, "u", "i", "click")
    writer.append([VisibleEvent(event, n)])
    writer.sync()
    print(n, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_writers_are_killed_beside_a_merge(
    tmp_path: Path,
) -> None:
    config = _config(tmp_path)
    acknowledged = {}
    command = [sys.executable, "-c", WRITER, str(spool_folder(config))]
    writers = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b")
    ]
    for name, writer in zip("ab", writers, strict=True):
        assert writer.stdout is not None
        for n in (int(writer.stdout.readline()) for _ in range(200)):
            acknowledged[name] = n
        merge_spool(config)
    for name, writer in zip("ab", writers, strict=True):
        writer.kill()
        rest, _ = writer.communicate()
        complete = rest.rpartition("\n")[0].split()
        acknowledged[name] = max([acknowledged[name], *map(int, complete)])
    for _ in range(2):
        log = read_snapshot(config).interactions["event_id"]
        assert log.n_unique() == len(log)
        for name, last in acknowledged.items():
            assert {f"{name}-{n}" for n in range(last + 1)} <= set(log)
        merge_spool(config)
    assert spool_files(spool_folder(config)) == []


HOLDER = """
import sys
from recsys.config import LogConfig
from recsys.events.warehouse import open_warehouse
with open_warehouse(LogConfig(path=sys.argv[1])):
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_log_that_another_process_writes_is_waited_for_then_refused(tmp_path: Path) -> None:
    config = _config(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, config.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(LogError, match="another process holds the file"):
        read_snapshot(config, wait_s=0.0)
    with pytest.raises(LogError, match="another process holds the file"):
        open_warehouse(config, wait_s=0.1)
    holder.communicate("\n")
    assert _same(read_snapshot(config), snapshot_of([]))


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    config = _config(tmp_path)
    folder = spool_folder(config)
    folder.mkdir()
    (folder / "0-1-aa.opening").touch()
    merge_spool(config)
    assert list(folder.iterdir()) == []


def test_without_impressions_unknown_items_are_those_acted_on(tmp_path: Path) -> None:
    config = _config(tmp_path)
    events = [
        VisibleEvent(ItemEvent("1", 5, "a"), 5),
        VisibleEvent(InteractionEvent("1", 7, "u", "a", "click"), 7),
        VisibleEvent(InteractionEvent("2", 8, "u", "b", "click"), 8),
    ]
    writer = SpoolWriter(spool_folder(config))
    writer.append(events)
    writer.close()
    assert log_stats(config).items_unknown == pytest.approx(0.5)


def test_stats_count_tables_and_spool(tmp_path: Path) -> None:
    config = _config(tmp_path)
    events = [
        VisibleEvent(ItemEvent("1", 5, "a"), 5),
        VisibleEvent(UserEvent("1", 1, "v"), 5),
        VisibleEvent(ImpressionEvent("p", 6, "u", ["a", "b"]), 6),
        VisibleEvent(InteractionEvent("1", 7, "u", "a", "click", "p"), 7),
        VisibleEvent(InteractionEvent("2", 8, "u", "a", "view"), 8),
        VisibleEvent(InteractionEvent("3", 9, "w", "a", "view"), 9),
    ]
    writer = SpoolWriter(spool_folder(config))
    writer.append(events)
    writer.close()
    for n_files in (1, 0):
        stats = log_stats(config)
        assert stats.rows == {"items": 1, "users": 1, "impressions": 1, "interactions": 3}
        assert stats.interaction_types == {"view": 2, "click": 1}
        assert (stats.n_items, stats.n_users, stats.first_at, stats.last_at) == (1, 3, 1, 9)
        assert stats.items_unknown == pytest.approx(0.5)
        assert stats.interactions_linked == pytest.approx(1 / 3)
        assert stats.spool_files == n_files
        assert (stats.spool_bytes > 0) == (n_files > 0)
        merge_spool(config)
    assert log_stats(_config(tmp_path / "empty")).first_at is None

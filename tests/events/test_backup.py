"""A back-up made under a live writer, put back elsewhere, is the log as it was."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.config import LogConfig
from recsys.errors import LogError
from recsys.events.backup import back_up_log
from recsys.events.frames import KINDS
from recsys.events.merge import merge_spool
from recsys.events.snapshot import LogSnapshot, read_snapshot, snapshot_of
from recsys.events.spool import SpoolWriter, spool_folder
from recsys.schema import InteractionEvent, VisibleEvent


def clicks(*numbers: int) -> list[VisibleEvent]:
    return [VisibleEvent(InteractionEvent(f"e{n}", n, "u", "i", "click"), n) for n in numbers]


def same(left: LogSnapshot, right: LogSnapshot) -> bool:
    return all(getattr(left, kind).equals(getattr(right, kind)) for kind in KINDS)


def log_in(folder: Path) -> LogConfig:
    return LogConfig(path=str(folder / "log.duckdb"))


def test_tables_and_spool_come_back_without_what_was_not_durable(tmp_path: Path) -> None:
    config = log_in(tmp_path / "old")
    writer = SpoolWriter(spool_folder(config))
    writer.append(clicks(1, 2))
    writer.sync()
    merge_spool(config)
    writer.append(clicks(3))
    writer.sync()
    writer.append(clicks(4))
    assert back_up_log(config, tmp_path / "copy") > 0
    writer.close()
    shutil.copytree(tmp_path / "copy", tmp_path / "new")
    restored = log_in(tmp_path / "new")
    assert same(read_snapshot(restored), snapshot_of(clicks(1, 2, 3)))
    assert merge_spool(restored).new["interactions"] == 1
    assert same(read_snapshot(restored), snapshot_of(clicks(1, 2, 3)))


MERGING = """
import sys
from recsys.config import LogConfig
from recsys.events.merge import merge_spool
print(flush=True)
while True:
    merge_spool(LogConfig(path=sys.argv[1]))
"""


def test_nothing_durable_is_missing_whatever_merges_do_meanwhile(tmp_path: Path) -> None:
    config = log_in(tmp_path / "old")
    command = [sys.executable, "-c", MERGING, config.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as merging:
        merging.stdout.readline()
        for number in range(5):
            writer = SpoolWriter(spool_folder(config))
            writer.append(clicks(number))
            writer.close()
            back_up_log(config, tmp_path / f"copy{number}")
            found = read_snapshot(log_in(tmp_path / f"copy{number}"))
            assert same(found, snapshot_of(clicks(*range(number + 1))))
        assert merging.poll() is None
        merging.kill()


def test_a_back_up_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(LogError, match="does not exist yet"):
        back_up_log(log_in(tmp_path), tmp_path / "copy")

"""A follower sees every durable event of others once, whatever merges and disks do meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import LogConfig
from recsys.errors import LogError
from recsys.events import spool
from recsys.events.following import SpoolFollower
from recsys.events.merge import merge_spool
from recsys.events.spool import FOLDED_SUFFIX, SpoolWriter, spool_files, spool_folder
from recsys.schema import InteractionEvent, VisibleEvent


def clicks(*numbers: int) -> list[VisibleEvent]:
    return [VisibleEvent(InteractionEvent(f"e{n}", n, "u", "i", "click"), n) for n in numbers]


def log_in(folder: Path) -> LogConfig:
    return LogConfig(path=str(folder / "log.duckdb"))


def write(writer: SpoolWriter, *numbers: int) -> None:
    writer.append(clicks(*numbers))
    writer.sync()


class Stopwatch:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from("wlm")), max_size=12))
def test_every_event_is_seen_once_also_when_merges_take_files_away(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    config = log_in(tmp_path_factory.mktemp("log"))
    folder = spool_folder(config)
    follower, seen = SpoolFollower(config), []
    writers = [SpoolWriter(folder, file_bytes=150), SpoolWriter(folder, file_bytes=150)]
    for number, (which, then) in enumerate(steps):
        write(writers[which], number)
        if then == "l":
            seen += follower.read(number)
        if then == "m":
            writers[which].close()
            merge_spool(config)
    seen += follower.read(len(steps))
    for writer in writers:
        writer.close()
    assert sorted(visible.visible_at for visible in seen) == list(range(len(steps)))
    assert follower.read(0) == []
    follower.close()


def test_what_was_durable_before_is_not_given(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    writer = SpoolWriter(spool_folder(config))
    write(writer, 1, 2)
    follower = SpoolFollower(config)
    assert follower.read(2) == []
    write(writer, 3)
    assert follower.read(2) == clicks(3)
    follower.close()
    writer.close()


def test_the_own_files_are_passed_over(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    own, other = (SpoolWriter(spool_folder(config)) for _ in range(2))
    follower = SpoolFollower(config, own=own.token)
    write(own, 1)
    write(other, 2)
    assert follower.read(0) == clicks(2)
    for thing in (follower, own, other):
        thing.close()


def test_a_batch_that_could_not_be_kept_is_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = log_in(tmp_path)
    writer, follower = SpoolWriter(spool_folder(config)), SpoolFollower(config)
    write(writer, 1)

    def failing(_file: int) -> None:
        assert follower.read(0) == clicks(1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer.append(clicks(2))
    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "fsync", failing)
        with pytest.raises(LogError):
            writer.sync()
    assert follower.read(0) == []
    write(writer, 3)
    assert follower.read(0) == clicks(3)
    follower.close()
    writer.close()


def test_what_a_killed_writer_left_behind_is_seen_but_not_its_torn_end(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    writer, follower = SpoolWriter(spool_folder(config)), SpoolFollower(config)
    write(writer, 1)
    writer.append(clicks(2))
    (path,) = spool_files(spool_folder(config))
    with path.open("ab") as file:
        file.write(b"0badc0de {torn")
    os.close(writer._file)
    assert follower.read(0) == clicks(1, 2)
    assert follower.read(0) == []
    follower.close()


def test_a_damaged_file_does_not_hide_the_others(tmp_path: Path, capsys) -> None:
    config = log_in(tmp_path)
    good, bad = (SpoolWriter(spool_folder(config)) for _ in range(2))
    follower = SpoolFollower(config)
    write(bad, 1)
    (path,) = spool_files(spool_folder(config))
    path.write_bytes(path.read_bytes().replace(b'"e1"', b'"e9"'))
    write(good, 2)
    assert follower.read(0) == clicks(2)
    assert "spool_file_not_followed" in "".join(capsys.readouterr())
    for thing in (follower, good, bad):
        thing.close()


def test_folded_files_are_kept_while_somebody_follows_and_removed_later(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    folder = spool_folder(config)
    writer, follower = SpoolWriter(folder), SpoolFollower(config)
    write(writer, 1)
    writer.close()
    merge_spool(config)
    (folded,) = folder.glob(f"*{FOLDED_SUFFIX}")
    assert follower.read(0) == clicks(1)
    merge_spool(config)
    assert folded.exists()
    os.utime(folded, (1, 1))
    merge_spool(config)
    assert not folded.exists()
    write(writer, 2)
    writer.close()
    follower.close()
    merge_spool(config)
    assert not list(folder.glob(f"*{FOLDED_SUFFIX}"))
    assert not spool_files(folder)


def test_who_was_away_for_long_reads_what_is_newer_from_the_tables(tmp_path: Path) -> None:
    config, clock = log_in(tmp_path), Stopwatch()
    folder = spool_folder(config)
    follower = SpoolFollower(config, read_s=clock)
    writer = SpoolWriter(folder)
    hour_us = 3_600_000_000
    write(writer, 1, hour_us, hour_us + 1)
    writer.close()
    merge_spool(config)
    for path in folder.glob(f"*{FOLDED_SUFFIX}"):
        path.unlink()
    clock.now_s = 20.0
    assert follower.read(hour_us) == []
    clock.now_s = 60.0
    assert follower.read(hour_us) == clicks(hour_us, hour_us + 1)
    follower.close()

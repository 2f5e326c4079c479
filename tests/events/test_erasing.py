"""Erasing users: a log that names them no more, whoever reads it, whenever a run is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import LogConfig
from recsys.errors import SpoolDamagedError
from recsys.events import rewriting
from recsys.events.backup import back_up_log
from recsys.events.erasure import Erasure, ask_to_erase, pending_erasures, without
from recsys.events.following import SpoolFollower
from recsys.events.frames import KINDS, event_frames
from recsys.events.merge import merge_spool
from recsys.events.rewriting import carry_out_erasures
from recsys.events.snapshot import LogSnapshot, read_newer, read_snapshot, read_tail, snapshot_of
from recsys.events.spool import SpoolWriter, spool_folder
from recsys.events.stats import log_stats
from recsys.events.warehouse import open_warehouse
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent, VisibleEvent

GONE = "anna-m"


def log_in(folder: Path) -> LogConfig:
    return LogConfig(path=str(folder / "log.duckdb"))


def stored(config: LogConfig, events: list[VisibleEvent]) -> None:
    with open_warehouse(config) as warehouse, warehouse.transaction():
        warehouse.write(event_frames(events))


def spooled(config: LogConfig, events: list[VisibleEvent]) -> SpoolWriter:
    writer = SpoolWriter(spool_folder(config))
    writer.append(events)
    writer.sync()
    return writer


def same(left: LogSnapshot, right: LogSnapshot) -> bool:
    return all(getattr(left, kind).equals(getattr(right, kind)) for kind in KINDS)


def without_name(events: list[VisibleEvent], until: int) -> list[VisibleEvent]:
    """What the log must read like, of ids that do not contain the user's."""
    kept = []
    for visible in events:
        event = visible.event
        if visible.visible_at <= until and getattr(event, "user_id", "") == GONE:
            if isinstance(event, UserEvent):
                continue
            event = replace(event, user_id="", session_id="")
            if isinstance(event, InteractionEvent):
                event = replace(event, attributes={})
        kept.append(VisibleEvent(event, visible.visible_at))
    return kept


USERS = st.sampled_from([GONE, "ben", ""])
INSTANTS = st.integers(1, 30)


@st.composite
def logs(draw: st.DrawFn) -> list[VisibleEvent]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        at, user, name = draw(INSTANTS), draw(USERS), f"e{number}"
        event = draw(
            st.sampled_from([
                InteractionEvent(name, at, user, "i", "click", "p1", "s1", None, {"page": "x"}),
                ImpressionEvent(name, at, user, ["i", "j"], "p1", "s1", {"q": "shoes"}),
                UserEvent(name, at, user or "ben", {"age": 3.0}),
                ItemEvent(name, at, "i", {"title": "t"}),
            ])
        )
        found.append(VisibleEvent(event, at))
    return found


@settings(deadline=None, max_examples=60)
@given(found=logs(), until=INSTANTS)
def test_every_row_of_the_user_up_to_then_names_nobody_and_nothing_else_changes(
    found: list[VisibleEvent], until: int
) -> None:
    erasure = Erasure(GONE, until, "salt", "name")
    frames = without(event_frames(found), [erasure])
    expected = event_frames(without_name(found, until))
    for kind in KINDS:
        assert frames[kind].sort("event_id").equals(expected[kind].sort("event_id"))


def test_the_log_reads_without_the_name_from_the_moment_on_in_which_that_was_asked_for(
    tmp_path: Path,
) -> None:
    config = log_in(tmp_path)
    found = [
        VisibleEvent(InteractionEvent(f"e{n}", n, (GONE, "ben")[n % 2], "i", "click"), n)
        for n in range(10)
    ]
    stored(config, found[:5])
    spooled(config, found[5:]).close()
    expected = snapshot_of(without_name(found, 7))
    ask_to_erase(config, [GONE], 7)
    assert same(read_snapshot(config), expected)
    assert same(read_tail(config, 0).tail, expected)
    merge_spool(config)
    assert same(read_newer(config, -1), expected)
    report = carry_out_erasures(config)
    assert (report.users, report.waiting, pending_erasures(config)) == (1, 0, [])
    after = read_snapshot(config)
    assert same(after, expected)
    assert after.erasures == 1
    assert carry_out_erasures(config).users == 0


def test_a_reader_that_saw_it_asked_for_and_carried_out_counts_it_once(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    stored(config, everything(GONE))
    ask_to_erase(config, [GONE], 10)
    path = next(spool_folder(config).glob("*.erasure"))
    asked = path.read_bytes()
    assert carry_out_erasures(config).users == 1
    path.write_bytes(asked)  # as if it was listed before and the tables were read after
    assert read_snapshot(config).erasures == 1
    ask_to_erase(config, ["ben"], 10)
    assert read_snapshot(config).erasures == 2


def everything(user: str) -> list[VisibleEvent]:
    shown = ImpressionEvent(
        f"list of {user}", 2, user, ["i"], f"p/{user}/1", "visit", {"who": user}
    )
    click = InteractionEvent(f"{user}:1", 3, user, "i", "click", f"p/{user}/1", "visit")
    about = UserEvent("about", 1, user, {"name": "Anna"})
    other = InteractionEvent("e9", 4, "ben", "i", "click", f"p/{user}/1")
    return [VisibleEvent(e, e.occurred_at) for e in (about, shown, click, other)]


def bytes_below(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_byte_names_the_user_afterwards_and_what_belongs_together_still_does(
    tmp_path: Path,
) -> None:
    config = log_in(tmp_path)
    stored(config, everything(GONE)[:2])
    writer = spooled(config, everything(GONE)[2:])
    follower = SpoolFollower(config)  # keeps folded files from being removed
    writer.close()
    merge_spool(config)
    assert GONE.encode() in bytes_below(tmp_path)
    ask_to_erase(config, [GONE], 10)
    report = carry_out_erasures(config)
    assert report.rows == {"items": 0, "users": 1, "impressions": 1, "interactions": 1}
    assert list(spool_folder(config).glob("*.folded"))
    assert GONE.encode() not in bytes_below(tmp_path)
    assert b"Anna" not in bytes_below(tmp_path)
    log = read_snapshot(config)
    assert log.impressions["impression_id"][0].startswith("erased-")
    assert set(log.interactions["impression_id"]) == set(log.impressions["impression_id"])
    follower.close()


def test_an_id_within_a_longer_word_is_left_alone(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    click = InteractionEvent("e12", 3, "1", "i", "click", "p 1 x")
    stored(config, [VisibleEvent(click, 3)])
    ask_to_erase(config, ["1"], 10)
    (row,) = read_snapshot(config).interactions.iter_rows(named=True)
    assert row["event_id"] == "e12"
    assert re.fullmatch(r"erased-[0-9a-f]{32}", row["impression_id"])


def test_a_file_that_a_server_goes_on_writing_keeps_the_erasure_open(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    writer = spooled(config, everything(GONE))
    ask_to_erase(config, [GONE], 10)
    report = carry_out_erasures(config, servers_s=0.05)
    assert (report.users, report.waiting) == (0, 1)
    assert set(read_snapshot(config).interactions["user_id"]) == {"", "ben"}
    assert log_stats(config).erasures_waiting == 1
    writer.close()
    assert carry_out_erasures(config).users == 1
    assert GONE.encode() not in bytes_below(tmp_path)


STEPS = ["merge_spool", "_rewrite_tables", "_rewrite_file", "_remove"]


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_ends_before_any_step_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    config = log_in(tmp_path)
    stored(config, everything(GONE)[:2])
    follower = SpoolFollower(config)
    spooled(config, everything(GONE)[2:]).close()
    ask_to_erase(config, [GONE], 10)
    expected = read_snapshot(config)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, step, killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out_erasures(config)
    assert same(read_snapshot(config), expected)
    assert carry_out_erasures(config).users == 1
    assert same(read_snapshot(config), expected)
    assert GONE.encode() not in bytes_below(tmp_path)
    follower.close()


ERASING = """
import sys
from recsys.config import LogConfig
from recsys.events.rewriting import carry_out_erasures
print(flush=True)
carry_out_erasures(LogConfig(path=sys.argv[1]))
"""


def test_kill_9_at_any_moment_leaves_a_log_that_reads_the_same(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    others = [
        VisibleEvent(InteractionEvent(f"o{n}", n, f"u{n % 50}", "i", "click"), n)
        for n in range(5_000)
    ]
    stored(config, [*everything(GONE), *others])
    ask_to_erase(config, [GONE], 10)
    expected = read_snapshot(config)
    for wait_s in (0.02, 0.06):
        process = subprocess.Popen(
            [sys.executable, "-c", ERASING, config.path], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait_s)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert same(read_snapshot(config), expected)
    carry_out_erasures(config)
    assert same(read_snapshot(config), expected)
    assert GONE.encode() not in bytes_below(tmp_path)


def test_followers_hear_of_an_erasure_once_and_of_none_that_was_before_them(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    ask_to_erase(config, ["before"], 10)
    now_s = [100.0]
    follower = SpoolFollower(config, read_s=lambda: now_s[0])
    follower.read(0)
    assert follower.erased() == []
    ask_to_erase(config, [GONE, "ben"], 10)
    follower.read(0)
    assert sorted(follower.erased()) == [GONE, "ben"]
    follower.read(0)
    assert follower.erased() == []
    carry_out_erasures(config)
    now_s[0] += 60.0
    follower.read(0)
    assert follower.n_erased == 3
    follower.close()


def test_a_back_up_made_meanwhile_does_not_know_the_user_either(tmp_path: Path) -> None:
    config = log_in(tmp_path / "log")
    stored(config, everything(GONE))
    ask_to_erase(config, [GONE], 10)
    back_up_log(config, tmp_path / "copy")
    assert same(read_snapshot(log_in(tmp_path / "copy")), read_snapshot(config))


def test_a_damaged_erasure_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    config = log_in(tmp_path)
    ask_to_erase(config, [GONE], 10)
    path = next(spool_folder(config).glob("*.erasure"))
    path.write_bytes(b'{"user')
    with pytest.raises(SpoolDamagedError, match=path.name):
        read_snapshot(config)

"""What commands say on the way where there is no terminal."""

from __future__ import annotations

import rich.progress

from recsys.cli.output import ProgressBars, ProgressLines


def test_a_line_now_and_then_says_what_how_far_and_how_long_still(capsys) -> None:
    instants = iter([0.0, 1.0, 4.0, 5.0, 11.0, 16.0, 30.0])
    tell = ProgressLines(every_s=10.0, clock=lambda: next(instants))
    tell("reading", 0, 1_000)
    tell("reading", 1_000, 1_000)  # was done too quickly to be mentioned
    tell("fitting", 0, 4_000)
    tell("fitting", 1_000, 4_000)
    tell("fitting", 2_000, 4_000)
    tell("fitting", 4_000, 4_000)
    said = capsys.readouterr().err.splitlines()
    assert said == ["fitting: 1,000 of 4,000, 0:00:18 left", "fitting: 4,000 of 4,000"]


def test_what_begins_again_under_its_name_is_timed_anew(capsys) -> None:
    instants = iter([0.0, 1.0, 9.0, 50.0, 60.0])
    tell = ProgressLines(every_s=10.0, clock=lambda: next(instants))
    tell("window", 0, 100)
    tell("window", 100, 100)
    tell("window", 0, 200)
    tell("window", 100, 200)
    assert capsys.readouterr().err.splitlines() == [
        "window: 0 of 200",
        "window: 100 of 200, 0:00:10 left",
    ]


def test_a_bar_that_begins_again_has_no_time_behind_it() -> None:
    progress = rich.progress.Progress(disable=True)
    bars = ProgressBars(progress)
    bars("window", 100, 100)
    finished_s = progress.tasks[0].finished_time
    bars("window", 10, 200)
    assert finished_s is not None
    assert progress.tasks[0].finished_time is None
    assert (progress.tasks[0].completed, progress.tasks[0].total) == (10, 200)

"""What commands say on the way where there is no terminal."""

from __future__ import annotations

from recsys.cli.output import ProgressLines


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

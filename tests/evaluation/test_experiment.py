"""Bundles side by side: what users did with their lists."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from recsys.cli.main import cli
from recsys.config import Config
from recsys.errors import TrainingError
from recsys.evaluation.experiment import compare_arms
from recsys.events.importing import import_events
from recsys.events.snapshot import snapshot_of
from recsys.schema import ImpressionEvent, InteractionEvent, VisibleEvent
from recsys.workspace import open_workspace

N_ITEMS = 10


def experiment(
    effect: float, *, n_users: int = 300, share: float = 0.5, seed: int = 0, extra: int = 0
) -> list[VisibleEvent]:
    """Show ten lists to everybody; the last five by one of two bundles, one of which adds clicks.

    Users differ in how much they click. `extra` users see lists of both bundles.
    """
    rng, events, at = np.random.default_rng(seed), [], 0
    keen = rng.beta(2, 8, n_users)
    is_new = rng.random(n_users) < share
    for turn in range(10):
        for user in range(n_users):
            at += 1_000_000
            arm = "new" if is_new[user] else "old"
            if user < extra and turn % 2:
                arm = "old" if is_new[user] else "new"
            name = f"{turn}-{user}"
            items = [f"i{n}" for n in range(N_ITEMS)]
            context = {"model_version": arm} if turn >= 5 else {}
            who = f"u{user}" if user != n_users - 1 else ""
            shown = ImpressionEvent(name, at, who, items, name, context=context)
            events.append(VisibleEvent(shown, at))
            chance = keen[user] + (effect if context and arm == "new" else 0.0)
            for item in np.flatnonzero(rng.random(N_ITEMS) < chance).tolist():
                at += 1
                click = InteractionEvent(
                    f"{name}-{item}", at, who, f"i{item}", "click", impression_id=name
                )
                events.append(VisibleEvent(click, at))
    return events


def test_an_effect_is_found_and_none_is_not(plain_workspace) -> None:
    for effect in (0.0, 0.05):
        found = compare_arms(plain_workspace, snapshot_of(experiment(effect)), names=["old", "new"])
        old, new = found.arms
        assert (old.name, new.name, old.differences) == ("old", "new", {})
        assert old.n_users + new.n_users == 299
        assert old.n_lists + new.n_lists <= 5 * 299
        assert set(new.metrics) == {"acted_on", "actions", "gain", "mrr"}
        mean, low, high = new.differences["actions"]
        assert low < N_ITEMS * effect < high
        assert (low > 0) == (effect > 0)
        assert mean == pytest.approx(new.metrics["actions"] - old.metrics["actions"], abs=0.3)
        assert found.n_unnamed in {4, 5}  # the last one may come after the end
        assert found.n_mixed == 0


def test_what_users_did_before_narrows_the_interval(plain_workspace) -> None:
    events = experiment(0.05)
    found = compare_arms(plain_workspace, snapshot_of(events), names=["old", "new"])
    late = events[next(n for n, e in enumerate(events) if getattr(e.event, "context", None)) :]
    without = compare_arms(plain_workspace, snapshot_of(late), names=["old", "new"])
    assert found.n_before == 299
    assert found.explained["actions"] > 0.4
    assert without.explained["actions"] < found.explained["actions"]

    def width(one) -> float:
        _, low, high = one.arms[1].differences["actions"]
        return high - low

    assert width(found) < 0.85 * width(without)


def test_intervals_hold_the_truth_about_as_often_as_they_say(plain_workspace) -> None:
    n_held = 0
    for seed in range(20):
        log = snapshot_of(experiment(0.03, n_users=80, seed=seed))
        found = compare_arms(plain_workspace, log, names=["old", "new"])
        _, low, high = found.arms[1].differences["actions"]
        n_held += low < N_ITEMS * 0.03 < high
    assert n_held >= 16


def test_users_who_saw_both_are_left_out(plain_workspace) -> None:
    found = compare_arms(plain_workspace, snapshot_of(experiment(0.0, extra=7)))
    assert found.n_mixed == 7
    assert sum(arm.n_users for arm in found.arms) == 292
    assert found.arms[0].n_lists >= found.arms[1].n_lists - 35


def test_a_split_that_is_not_as_configured_is_said(plain_workspace) -> None:
    variants = {"candidate": {"version": "new", "share": 0.5}}
    serving = {**plain_workspace.config.serving.model_dump(), "variants": variants}
    config = Config(**{**plain_workspace.config.model_dump(), "serving": serving})
    workspace = replace(plain_workspace, config=config)
    even = compare_arms(workspace, snapshot_of(experiment(0.0)))
    assert even.uneven > 0.01
    skewed = compare_arms(workspace, snapshot_of(experiment(0.0, share=0.3)))
    assert skewed.uneven < 1e-6
    assert compare_arms(plain_workspace, snapshot_of(experiment(0.0))).uneven is None


def test_what_cannot_be_compared_is_named(plain_workspace) -> None:
    log = snapshot_of(experiment(0.0, n_users=10))
    with pytest.raises(TrainingError, match=r"new \(\d+ lists\), old .*; expected lists of other"):
        compare_arms(plain_workspace, log, names=["old", "other"])
    with pytest.raises(TrainingError, match=r"context\.who of impressions: none; expected two"):
        compare_arms(plain_workspace, log, "who")
    clicks = [e for e in experiment(0.0, n_users=10) if isinstance(e.event, InteractionEvent)]
    with pytest.raises(TrainingError, match="no impressions in the log"):
        compare_arms(plain_workspace, snapshot_of(clicks))


def test_an_arm_that_nobody_named_saw_alone_cannot_be_compared(plain_workspace) -> None:
    events = []
    for at, (user, arm) in enumerate([("u", "old"), ("", "new"), ("v", "old"), ("", "new")], 1):
        shown = ImpressionEvent(f"{at}", at, user, ["a"], f"{at}", context={"model_version": arm})
        click = InteractionEvent(f"c{at}", at, user, "a", "click", impression_id=f"{at}")
        events += [VisibleEvent(shown, at), VisibleEvent(click, at)]
    with pytest.raises(TrainingError, match="new: nobody named saw its lists and no others"):
        compare_arms(plain_workspace, snapshot_of(events), names=["old", "new"])


def test_arms_that_never_met_cannot_be_compared(plain_workspace) -> None:
    events = []
    for at, arm in ((1, "old"), (2, "old"), (3, "new"), (4, "new")):
        shown = ImpressionEvent(f"{at}", at, "u", ["a"], f"{at}", context={"model_version": arm})
        click = InteractionEvent(f"c{at}", at, "u", "a", "click", impression_id=f"{at}")
        events += [VisibleEvent(shown, at), VisibleEvent(click, at)]
    with pytest.raises(TrainingError, match="one ended before another began"):
        compare_arms(plain_workspace, snapshot_of(events))


def test_the_command_prints_the_table_and_the_differences(
    plain_workspace, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    workspace = open_workspace(tmp_path / "w")
    path = tmp_path / "lists.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(60):
            arm = "new" if number % 2 else "old"
            shown = {
                "impression_id": f"p{number}",
                "user_id": f"u{number}",
                "item_ids": ["item1", "item2"],
                "context": {"model_version": arm},
            }
            stamp = {"event_id": f"x{number}", "occurred_at": f"2025-06-01T00:00:{number:02d}Z"}
            file.write(json.dumps({**stamp, "impression": shown}) + "\n")
    import_events(workspace.log_config, [path], rejects=tmp_path / "rejects.jsonl")
    command = ["models", "compare", "old", "new", "-w", str(tmp_path / "w")]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "new - old, MRR: " in result.stdout
    assert "95 % intervals over users" in result.stdout
    told = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert [arm["name"] for arm in told["arms"]] == ["old", "new"]

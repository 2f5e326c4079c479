"""Commands as people type them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from recsys.cli.evaluate import print_evaluation, print_rankings
from recsys.cli.main import app, cli
from recsys.evaluation.report import Evaluation
from recsys.evaluation.tables import Table
from recsys.workspace import open_workspace


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')

    def invoke(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout

    return invoke


@pytest.fixture
def folder(plain_workspace, tmp_path):
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    return str(tmp_path / "w")


def test_help_is_instant_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from recsys.cli.main import cli\n"
        "heavy = {'torch', 'transformers', 'lightgbm', 'duckdb', 'grpc', 'polars', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_init_makes_a_workspace_once(run, tmp_path, capsys) -> None:
    run("init", "--workspace", str(tmp_path / "new"))
    assert open_workspace(tmp_path / "new").config.serving.port == 50051
    with pytest.raises(SystemExit) as stopped:
        app(["init", "--workspace", str(tmp_path / "new")])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: workspace ")


def test_a_folder_that_is_no_workspace_is_one_line(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        app(["train", "--workspace", str(tmp_path)])
    assert "no recsys.toml; expected a folder with recsys.toml" in capsys.readouterr().err


def test_all_problems_of_a_configuration_are_reported_together(tmp_path, capsys) -> None:
    (tmp_path / "recsys.toml").write_text("[serving]\nprot = 1\nport = -1\n")
    with pytest.raises(SystemExit):
        app(["train", "--workspace", str(tmp_path)])
    message = capsys.readouterr().err
    assert "serving.prot: unknown key; did you mean serving.port?" in message
    assert "serving.port: found -1" in message


def test_evaluate_prints_the_contract_of_its_json(run, folder) -> None:
    found = json.loads(run("evaluate", "--workspace", folder, "--json"))
    kept = Path(folder) / "reports" / "evaluations" / f"{found['version']}.json"
    assert json.loads(kept.read_text(encoding="utf-8")) == found
    expected = {"random", "shown_order", "click_rate", "without_text", "full", "full_frozen"}
    assert set(found["rankings"]) == expected
    assert set(found["rankings"]["full"]) >= {"auc", "mrr", "ndcg@5", "ndcg@10"}
    assert set(found["differences"]) == expected - {"without_text"}
    mean, low, high = found["differences"]["random"]["ndcg@10"]
    assert low <= mean <= high < 0
    assert found["rankings"]["full"]["auc"] > 0.8


def test_the_table_has_a_line_for_each_ranking(run, folder) -> None:
    text = run("evaluate", "--workspace", folder)
    for title in ("random", "shown order", "click rate so far", "ranker without text"):
        assert title in text
    assert "nothing was read as text" in text
    page = Path(json.loads(run("report", "-w", folder, "--json"))["page"])
    assert "ranker without text" in page.read_text(encoding="utf-8")


def test_what_is_new_is_compared_with_every_baseline(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    values = dict.fromkeys(("auc", "mrr", "ndcg@10"), 0.5)
    difference = {"full": {"ndcg@10": (0.02, 0.01, 0.03)}}
    others = {"click_rate": difference, "popularity": difference}
    table = Table(3, {"full": values}, difference, others)
    print_rankings("Cold start", table, dict.fromkeys(values, "m"), cold=True)
    text = capsys.readouterr().out
    assert "nDCG@10 - click rate" in text
    assert "nDCG@10 - popularity" in text
    assert text.count("+0.0200 [+0.0100, +0.0300]") == 3
    print_rankings("All", table, dict.fromkeys(values, "m"))
    assert "popularity" not in capsys.readouterr().out


def test_what_ranks_worse_than_a_count_is_a_warning_and_few_lists_are_no_table(capsys) -> None:
    values = dict.fromkeys(("auc", "mrr", "ndcg@5", "ndcg@10"), 0.5)
    better, worse, unclear = ((0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (-0.02, -0.05, 0.01))
    others = {
        name: {"full": {"ndcg@10": found, "auc": found}}
        for name, found in (("click_rate", worse), ("popularity", unclear), ("plain", better))
    }
    segments = {"new_users": Table(3, {"full": values}, others["plain"], others)}
    found = Evaluation(
        "v", "standard", "shown", 9, 9, 0, 1, {"full": values}, others["plain"], others, segments,
        {}, [],
    )  # fmt: skip
    print_evaluation(found)
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("warning") == 1
    assert "worse than click rate so far: nDCG@10 -0.0200 [-0.0300, -0.0100]" in text
    assert "fewer than 3 interactions: 3 such lists, too few to tell in the test slice" in text


def test_rank_and_recommend_print_lists(run, folder) -> None:
    ranked = json.loads(
        run("rank", "item1", "item2", "--user", "user1", "--explain", "1", "-w", folder, "--json")
    )
    assert sorted(ranked["item_ids"]) == ["item1", "item2"]
    assert ranked["explanations"][0]["contributions"]
    assert "Why " in run("recommend", "--user", "user1", "--explain", "1", "-w", folder)
    assert run("recommend", "--session", "a visit", "-w", folder)


def test_what_is_known_of_a_request_is_said_as_json(run, folder) -> None:
    context = ("--context", '{"device": "phone", "hour": 8}')
    text = run("recommend", "--workspace", folder, "--user", "user1", "-k", "3", "--json", *context)
    assert len(json.loads(text)["item_ids"]) == 3
    for wrong in ("device=phone", '{"hour": null}', '{"tags": ["a", 1]}', '{"": 1}'):
        run("rank", "item1", "--workspace", folder, "--context", wrong, status=2)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


def test_every_command_that_ends_prints_json_for_machines() -> None:
    found = dict(commands(typer.main.get_command(cli)))
    without = {
        name
        for name, command in found.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == {"serve", "demo"}


def test_models_are_listed_activated_and_rolled_back(run, folder, capsys) -> None:
    first = json.loads(run("models", "list", "-w", folder, "--json"))[0]["version"]
    trained = json.loads(run("train", "-w", folder, "--json"))
    second, types = trained["version"], trained["types"]
    click = {"name": "click", "grade": 2.0, "listed": True}
    assert [{key: found[key] for key in click} for found in types] == [click]
    assert second in run("models", "list", "-w", folder)
    assert json.loads(run("models", "list", "-w", folder, "--json"))[1]["active"]
    assert first in run("models", "rollback", "-w", folder)
    text = run("models", "activate", second, "-w", folder, "--json")
    assert json.loads(text) == {"active": second}
    with pytest.raises(SystemExit):
        app(["models", "activate", "nonsense", "-w", folder])
    assert "no version 'nonsense'" in capsys.readouterr().err


def test_events_are_imported_counted_and_merged(run, folder, tmp_path) -> None:
    path = tmp_path / "more.jsonl"
    path.write_text(
        '{"event_id": "x1", "occurred_at": "2024-01-01T00:00:00Z", '
        '"interaction": {"user_id": "u", "item_id": "item1", "type": "click"}}\nnot json\n'
    )
    report = json.loads(run("events", "import", str(path), "-w", folder, "--json"))
    assert report["kinds"]["interactions"]["new"] == 1
    assert sum(report["rejected"].values()) == 1
    assert "known already" in run("events", "import", str(path), "-w", folder)
    assert json.loads(run("events", "stats", "-w", folder, "--json"))["rows"]["items"] == 80
    run("events", "merge", "-w", folder)


def test_an_import_says_from_when_events_are_and_what_was_wrong_first(run, tmp_path) -> None:
    folder, path = str(tmp_path / "w"), tmp_path / "events.jsonl"
    run("init", "-w", folder)
    line = (
        '{"event_id": "e", "occurred_at": %s, "interaction": {"user_id": 7, %s, "type": "click"}}'
    )
    path.write_text(line % ("1750000000", '"item_id": 1') + "\n" + line % ("1", '"item": 1'))
    result = CliRunner().invoke(cli, ["events", "import", str(path), "-w", folder])
    assert "from 1970-01-01 00:29:10 UTC to" in result.stdout
    assert "all of it is from 1970: were seconds or milliseconds" in result.stderr
    assert "unknown field `item` (first: events.jsonl, line 2: interaction)" in result.stdout
    stats = run("events", "stats", "-w", folder)
    assert "1970-01-01 00:29:10 UTC" in stats
    assert "100.0%" in stats
    path.write_text(line.replace('"e"', '"f"') % ('"2024-01-01T00:00:00Z"', '"item_id": 1'))
    path.write_text(path.read_text() + "\n" + line % ("1750000000", '"item_id": 1'))
    result = CliRunner().invoke(cli, ["events", "import", str(path), "-w", folder])
    assert "a part of it is from 1970" in result.stderr


def test_an_import_says_which_fields_items_have_and_which_are_read_as_text(run, tmp_path) -> None:
    folder, path = str(tmp_path / "w"), tmp_path / "items.jsonl"
    run("init", "-w", folder)
    item = (
        '{"event_id": "%d", "occurred_at": "2024-01-01T00:00:00Z", "item": {"item_id": "%d", '
        '"attributes": {"price": 3, "title": "Heat and dust", "sku": "A77301"%s}}}'
    )
    more = [item % (n, n, ', "blurb": "A town in the north."' * (n < 1)) for n in range(4)]
    path.write_text("\n".join(more))
    text = run("events", "import", str(path), "-w", folder)
    assert "fields of items: price, title, sku, blurb (25%)" in text
    assert "read as text: title, blurb (" in text
    found = json.loads(run("events", "import", str(path), "-w", folder, "--json"))
    assert found["item_fields"]["as_text"] == ["title", "blurb"]
    assert found["item_fields"]["shares"]["blurb"] == 0.25


def test_an_import_of_nothing_but_bad_records_fails(run, tmp_path) -> None:
    folder, path = str(tmp_path / "w"), tmp_path / "events.csv"
    run("init", "-w", folder)
    path.write_text("who,what,when\nu,i,3\n")
    text = run("events", "import", str(path), "-w", folder, status=1)
    assert "rejected 2: is not JSON" in text
    assert "events.csv does not begin with JSON; of a table the names of its columns" in text


def test_csv_is_read_as_its_columns_are_called(run, tmp_path) -> None:
    folder, path = str(tmp_path / "w"), tmp_path / "orders.csv"
    run("init", "-w", folder)
    path.write_text("klant,sku,datum,name\n7,i1,2024-05-01,Tea\n8,i2,2024-05-02,Cup\n")
    columns = ("--column", "user_id=klant", "--column", "occurred_at=datum")
    said = (*columns, "--type", "purchase", "--item-field", "name")
    text = run("events", "import", str(path), "-w", folder, *said)
    assert (
        "orders.csv: interactions of type 'purchase': klant as user_id, sku as item_id, datum as "
        "occurred_at; of the item: name"
    ) in text.replace("\n", " ")
    found = json.loads(run("events", "stats", "-w", folder, "--json"))
    assert found["interaction_types"] == {"purchase": 2}
    assert found["n_items"] == 2
    run("events", "import", str(path), "-w", folder, "--column", "klant", status=2)


def test_features_verify_finds_no_skew(run, folder) -> None:
    assert "0 mismatches" in run("features", "verify", "-w", folder, "--requests", "40")


def test_batch_scores_users_of_a_file(run, folder, tmp_path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("user1\n\nuser2\nuser1\n")
    out = tmp_path / "top.parquet"
    text = run(
        "batch", "score", "-w", folder, "--out", str(out), "--users", str(users), "--top-k", "3"
    )
    assert "6 rows of 2 users" in text


def test_batch_relates_items_of_a_file(run, folder, tmp_path) -> None:
    (tmp_path / "items.txt").write_text("item1\nitem2\n", encoding="utf-8")
    out, items = str(tmp_path / "related.jsonl"), str(tmp_path / "items.txt")
    options = ("--items", items, "-w", folder, "--top-k", "3", "--json")
    found = json.loads(run("batch", "related", "--out", out, *options))
    assert (found["n_items"], found["n_rows"]) == (2, 6)
    rows = [json.loads(line) for line in Path(out).read_text(encoding="utf-8").splitlines()]
    assert [row["seed_item_id"] for row in rows] == ["item1"] * 3 + ["item2"] * 3
    options = ("--seed", "item1", "-w", folder, "-k", "3", "--json")
    asked = json.loads(run("recommend", *options))
    assert asked["item_ids"] == [row["item_id"] for row in rows[:3]]


def test_shares_of_a_batch_are_all_users_once(run, folder, tmp_path) -> None:
    whole, found = str(tmp_path / "all.parquet"), []
    run("batch", "score", "-w", folder, "--out", whole, "--top-k", "2")
    for share in ("1/2", "2/2"):
        out = str(tmp_path / f"{share[0]}.parquet")
        arguments = ("batch", "score", "-w", folder, "--out", out, "--top-k", "2")
        report = json.loads(run(*arguments, "--shard", share, "--json"))
        assert report["n_users"] > 5
        found.append(pl.read_parquet(out))
    together = pl.concat(found).sort("user_id", "rank")
    assert together.equals(pl.read_parquet(whole).sort("user_id", "rank"))
    for wrong in ("0/2", "3/2", "x", "2"):
        run("batch", "score", "-w", folder, "--out", whole, "--shard", wrong, status=2)
    run("batch", "score", "-w", folder, "--out", whole, "--users", "missing.txt", status=2)


README_PLUGIN = """
import polars as pl
from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl

@hookimpl
def recsys_aggregates():
    return [count("item_clicks", "click", by="item")]

@hookimpl
def recsys_features():
    return [Feature(name="bargain", expr=(pl.col("item_clicks") + 1) / (pl.col("item.length") + 1))]
"""


def test_a_first_plugin_is_listed_trained_and_explained(run, folder) -> None:
    workspace = open_workspace(Path(folder))
    (workspace.folder / "plugins" / "bargain.py").write_text(README_PLUGIN)
    listed = json.loads(run("plugins", "list", "-w", folder, "--json"))
    assert next(p for p in listed if p["name"] == "bargain")["features"] == ["bargain"]
    assert next(p for p in listed if p["name"] == "popular")["others"] == ["source popular"]
    assert "format movielens" in next(p for p in listed if p["name"] == "films")["others"]
    assert "filter not_acted_on" in run("plugins", "list", "-w", folder)
    assert re.search(r"  click \([\d,]+\) counts as 2\n", run("train", "-w", folder))
    ranked = json.loads(run("rank", "item1", "item2", "--explain", "1", "-w", folder, "--json"))
    features = [part["feature"] for part in ranked["explanations"][0]["contributions"]]
    assert "bargain" in features

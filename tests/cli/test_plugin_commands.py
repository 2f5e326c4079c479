"""`recsys plugins new` and `check`, as people type them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from recsys.cli.main import app, cli
from recsys.cli.workspace import make_workspace
from recsys.testing import examine
from tests.conftest import SMALL, trained


@pytest.fixture
def folder(tmp_path):
    make_workspace(tmp_path / "w")
    return tmp_path / "w"


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def test_a_new_plugin_is_found_passes_the_check_and_its_own_tests(folder) -> None:
    text = run("plugins", "new", "warmth", "-w", str(folder))
    assert f"wrote {folder / 'plugins' / 'warmth.py'}" in text
    checked = json.loads(run("plugins", "check", "warmth", "-w", str(folder), "--json"))
    assert checked["passed"]
    assert [part["problem"] for part in checked["parts"] if part["problem"]] == []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(folder / "tests" / "test_warmth.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "10 passed" in done.stdout, done.stdout


def test_a_plugin_is_checked_on_the_log_of_its_workspace(plain_workspace) -> None:
    text = run("plugins", "check", "recency", "-w", str(plain_workspace.folder))
    assert "BROKEN" not in text
    assert text.count("own") >= 3
    assert "ms of CPU time for 500 candidates" in text


def test_a_plugin_that_costs_more_than_it_may_is_broken(plain_workspace) -> None:
    arguments = ("recency", "-w", str(plain_workspace.folder), "--max-ms", "0", "--json")
    checked = json.loads(run("plugins", "check", *arguments, status=1))
    problems = [part["problem"] for part in checked["parts"] if part["problem"]]
    assert len(problems) == 1
    assert problems[0].startswith("plugin recency, latency: 500 candidates take ")


def test_what_a_plugin_reads_is_compiled_before_the_watch_begins(
    plain_workspace, monkeypatch
) -> None:
    told = []
    compile_loops, watched = examine.compile_loops, examine.run_within
    monkeypatch.setattr(
        examine, "compile_loops", lambda s: (told.append(s.aggregates), compile_loops(s))
    )
    monkeypatch.setattr(examine, "run_within", lambda *a: (told.append("watch"), watched(*a))[1])
    run("plugins", "check", "recency", "-w", str(plain_workspace.folder))
    assert {aggregate.name for aggregate in told[0]} >= {"item_age_s"}
    assert set(told[1:]) == {"watch"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "Warmth"), "found the name 'Warmth'; expected lower-case letters"),
        (("new", "class"), "found the name 'class'; expected"),
        (("new", "recency"), "there is a plugin of this name in recsys; expected a new name"),
        (("check", "nobody"), "plugin nobody, check: no such plugin; `recsys plugins list`"),
    ],
)
def test_what_cannot_be_written_or_checked_is_one_line(folder, capsys, arguments, said) -> None:
    with pytest.raises(SystemExit) as stopped:
        app(["plugins", *arguments, "-w", str(folder)])
    assert stopped.value.code == 1
    assert said in capsys.readouterr().err


def test_nothing_is_overwritten(folder, capsys) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_warmth.py").write_text("mine")
    with pytest.raises(SystemExit):
        app(["plugins", "new", "warmth", "-w", str(folder)])
    assert "is there already; expected a new name" in capsys.readouterr().err
    assert not (folder / "plugins" / "warmth.py").exists()


def test_the_worth_of_a_plugin_is_printed_with_its_interval(world, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    # The tenth of the lists that validates by default is twenty of them.
    trained(tmp_path / "w", world, SMALL + "\n[split]\ntrain = 0.4\nvalidation = 0.4\n")
    text = run("plugins", "worth", "affinity", "-w", str(tmp_path / "w"))
    assert "with - without, 95 % interval" in text
    assert "share of the gain" in text
    assert "worth in nDCG@10: more than chance" in text
    found = json.loads(run("plugins", "worth", "affinity", "-w", str(tmp_path / "w"), "--json"))
    assert found["difference"]["ndcg@10"][1] > 0

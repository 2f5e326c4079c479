"""A plugin of somebody else's: installed as a distribution of its own, found, listed, checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.cli.workspace import make_workspace
from recsys.plugins.scaffold import write_package

PROJECT = Path(__file__).parent / "third_party"
RECSYS = [sys.executable, "-c", "from recsys.cli.main import app; app()"]


def install(project: Path, target: Path) -> dict[str, str]:
    """Install without any network; gives the environment in which it is installed."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    options = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*command, *options, str(project)], check=True, capture_output=True, text=True)
    return {**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: list[str], environment: dict[str, str], status: int = 0) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("third_party")
    shutil.copytree(PROJECT, folder / "project")
    return install(folder / "project", folder / "target")


def test_it_is_listed_by_its_entry_point_with_distribution_and_version(installed, tmp_path) -> None:
    make_workspace(tmp_path / "w")
    listed = json.loads(
        run([*RECSYS, "plugins", "list", "-w", str(tmp_path / "w"), "--json"], installed)
    )
    mine = next(plugin for plugin in listed if plugin["name"] == "weekday")
    assert mine["origin"] == "recsys-weekday"
    assert mine["version"] == "0.3.1"
    assert mine["features"] == ["weekday", "weekend_actions"]


def test_it_is_checked_by_the_command_and_by_the_contract_that_it_inherits(
    installed, tmp_path
) -> None:
    make_workspace(tmp_path / "w")
    command = [*RECSYS, "plugins", "check", "weekday", "-w", str(tmp_path / "w"), "--json"]
    checked = json.loads(run(command, installed))
    assert checked["passed"]
    assert {part["part"] for part in checked["parts"]} >= {"equality", "isolation", "latency"}
    tests = shutil.copytree(PROJECT / "tests", tmp_path / "tests")
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    assert "9 passed" in run(pytest_command, installed)


def test_a_package_that_was_just_written_installs_and_passes_its_own_tests(tmp_path) -> None:
    write_package(tmp_path, "warmth")
    project = tmp_path / "recsys-warmth"
    environment = install(project, tmp_path / "target")
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project / "tests")]
    assert "10 passed" in run(tests, environment)

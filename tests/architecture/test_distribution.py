"""The wheel holds both roots, the typing marker, every plugin with an entry point, and no tests."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("dist")
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_both_packages_and_the_licence(wheel_names):
    assert {"recsys/__init__.py", "recsys/py.typed", "recsys_plugins/__init__.py"} <= wheel_names
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)


def test_every_entry_point_is_in_the_wheel(wheel_names):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = [*project["entry-points"]["recsys.plugins"].values()]
    modules += [target.split(":")[0] for target in project["scripts"].values()]
    files = {module.replace(".", "/") + ".py" for module in modules}
    assert files - wheel_names == set()


def test_nothing_but_the_packages_is_in_the_wheel(wheel_names):
    roots = {name.split("/")[0] for name in wheel_names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {
        "recsys",
        "recsys_plugins",
    }


def test_constraints_are_exact_and_hold_every_requirement():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all("==" in line and "+" not in line and "@" not in line for line in pins)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    names = {spec.split(">")[0].split("=")[0].split("<")[0].lower() for spec in wanted}
    assert names - pinned == set()

"""What `recsys --help` and plugins import stays light: nothing that takes seconds to load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch", "transformers", "safetensors", "tensorboard", "lightgbm", "sklearn", "scipy", "duckdb",
    "pyarrow", "grpc", "google", "numba",
)  # fmt: skip
LIGHT_FILES = ("__init__", "errors", "hookspecs", "schema", "bundle/store", "cli/main")
LIGHT_PACKAGES = ("recsys/config", "recsys/plugins", "plugins/recsys_plugins")

PROBE = """
import importlib, sys
heavy = sys.argv[1].split(",")
for name in sys.argv[2:]:
    importlib.import_module(name)
    found = [module for module in heavy if module in sys.modules]
    if found:
        sys.exit(f"{name} imports {', '.join(found)}")
"""


def light_modules() -> list[str]:
    files = [ROOT / "recsys" / f"{name}.py" for name in LIGHT_FILES]
    for package in LIGHT_PACKAGES:
        files += sorted((ROOT / package).rglob("*.py"))
    return [module_name(path) for path in files if path.exists()]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "plugins" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_probe_notices_a_heavy_import():
    found = probe(["lightgbm"])
    assert found.returncode == 1
    assert "lightgbm imports lightgbm" in found.stderr


def test_light_modules_are_found():
    names = light_modules()
    assert {"recsys", "recsys.config", "recsys_plugins", "recsys.bundle.store"} <= set(names)


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_light_modules_import_nothing_heavy(order):
    names = light_modules()
    found = probe(names if order == "forward" else names[::-1])
    assert found.returncode == 0, found.stderr


def probe(names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), *names],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

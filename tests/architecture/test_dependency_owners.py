"""Each heavy dependency has owners; nobody else imports it, not even inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWNERS = {
    "duckdb": {"recsys/events", "recsys/features"},
    "torch": {"recsys/interest"},
    "transformers": {"recsys/interest"},
    "safetensors": {"recsys/interest"},
    "tensorboard": {"recsys/interest"},
    "peft": {"recsys/interest"},
    "lightgbm": {"recsys/ranking"},
    "grpc": {"recsys/serving", "recsys/cli", "recsys/v1"},
    "grpc_health": {"recsys/serving", "recsys/cli"},
    "grpc_reflection": {"recsys/serving", "recsys/cli"},
    "grpc_status": {"recsys/serving", "recsys/cli"},
    "google": {"recsys/serving", "recsys/cli", "recsys/v1"},
}
FORBIDDEN = ("pickle", "joblib", "pandas", "sklearn", "sentence_transformers")


def imported_roots(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def importers(dependency: str) -> set[str]:
    found = set()
    for folder in ("recsys", "plugins/recsys_plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            if dependency in imported_roots(path.read_text(encoding="utf-8")):
                parts = path.relative_to(ROOT).parts
                found.add("/".join(parts[:2]))
    return found


def test_imports_are_seen_wherever_they_stand():
    source = "import torch.nn as nn\ndef f():\n    from lightgbm import Booster\n"
    assert imported_roots(source) == {"torch", "lightgbm"}


@pytest.mark.parametrize("dependency", OWNERS)
def test_only_its_owners_import_a_heavy_dependency(dependency):
    assert importers(dependency) <= OWNERS[dependency]


@pytest.mark.parametrize("dependency", FORBIDDEN)
def test_nobody_imports_what_must_not_be_here(dependency):
    assert importers(dependency) == set()


def test_the_ranker_is_found_as_the_importer_of_lightgbm():
    assert importers("lightgbm") == {"recsys/ranking"}

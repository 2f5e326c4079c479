"""What pairs of a user and something take, and the least that any encoding of them could take."""

from __future__ import annotations

import math

import numpy as np

from recsys.features.online import OnlineState


def pairs_of_users(state: OnlineState) -> dict[str, float]:
    """Count pairs; the least is each user's set of codes and the entropy of every counter.

    Instants are taken to need 40 bits: seconds within some thousands of years, or milliseconds of a
    few decades.
    """
    _, arrays = state.record()
    n_pairs, n_bytes, bits = 0, 0, 0.0
    for by in {name.split("/")[0] for name in arrays if name.startswith("user*")}:
        own = {name[len(by) + 1 :]: a for name, a in arrays.items() if name.startswith(f"{by}/")}
        codes, sizes = own["blocks.codes"], own["blocks.sizes"]
        taken = codes >= 0
        n, n_codes = int(taken.sum()), int(codes.max(initial=-1)) + 1
        n_pairs, n_bytes = n_pairs + n, n_bytes + state.nbytes()[by]
        bits += sum(_log2_binomial(n_codes, size) for size in sizes.tolist())
        for name, cells in own.items():
            if name.endswith(".numbers") and cells.size:
                bits += n * _entropy(cells[: len(codes)][taken])
            if name.endswith(".marks") and cells.size:
                bits += n * 40 * cells.shape[1]
    n_users = len(state.users.ids)
    return {
        "per_user": round(n_pairs / n_users, 1),
        "bytes_each": round(n_bytes / n_pairs, 1),
        "least_bytes_each": round(bits / 8 / n_pairs, 2),
        "least_bytes_per_user": round(bits / 8 / n_users),
    }


def _log2_binomial(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def _entropy(values: np.ndarray) -> float:
    _, counts = np.unique(values, axis=0, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())

"""Ranking a whole catalogue for everybody: time and memory, beside a bare matrix product with top-k.

    python benchmarks/full_ranking.py    # writes benchmarks/results/full_ranking.json, a few minutes

Generated in the size of MovieLens-25M: 162,541 users with 25 million interactions in all, 62,423 items, vectors of 64.
Ours is `llm4rec.evaluate.ranking.rank` of a scorer that multiplies vectors: items seen are removed, targets are ranked
with ties against the model, and slates of ten are made with equal scores by item code. Bare is a product and a top-10
a chunk of the same size, and nothing else. Each runs in a process of its own with the same threads, by turns; ratios
are of medians. `peak_rss_gb` is the memory of our process, data included.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import numpy as np
import torch
from measure import peak_gb, store

from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.schema import FloatMatrix, History

USERS, ITEMS, INTERACTIONS, WIDTH = 162_541, 62_423, 25_000_095, 64


class Product:
    """Scores by inner products of fixed vectors."""

    name = "product"

    def __init__(self, users: FloatMatrix, items: FloatMatrix) -> None:
        self.users, self.items = torch.from_numpy(users), torch.from_numpy(items)

    def score(self, users: np.ndarray, histories: object) -> FloatMatrix:
        """Inner products, shape (len(users), items)."""
        scores: FloatMatrix = (self.users[users] @ self.items.T).numpy()
        return scores


def main() -> None:
    """Run both by turns and store the ratio; or, in a process of its own, one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=("ours", "bare"), help="run this one here and print its figures")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(ours() if options.one == "ours" else bare()))
        return
    started = time.monotonic()
    found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
    for _ in range(options.runs):
        for name, runs in found.items():
            done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout))
            print(name, runs[-1], flush=True)
    seconds = {name: median(run["seconds"] for run in runs) for name, runs in found.items()}
    figures = {
        "peak_rss_gb": max(run["peak_rss_gb"] for run in found["ours"]),
        "ratio_to_bare": round(seconds["bare"] / seconds["ours"], 3),
        "seconds": {name: [run["seconds"] for run in runs] for name, runs in found.items()},
        "users": USERS,
        "items": ITEMS,
        "threads": torch.get_num_threads(),
    }
    store("full_ranking", figures, time.monotonic() - started, [0])


def vectors() -> Product:
    """The same ones for both."""
    rng = np.random.default_rng(0)
    return Product(*(rng.normal(size=(rows, WIDTH)).astype(np.float32) for rows in (USERS, ITEMS)))


def ours() -> dict[str, float]:
    """Rank as the reports do."""
    scorer, rng = vectors(), np.random.default_rng(1)
    counts = rng.multinomial(INTERACTIONS, rng.dirichlet(np.ones(USERS)))
    histories = []
    for count in counts:
        item = rng.integers(ITEMS, size=min(count, ITEMS)).astype(np.int32)
        empty = np.zeros(len(item), np.int64)
        histories.append(History(item, empty, empty.astype(np.float32), empty.astype(np.int32)))
    targets = rng.integers(ITEMS, size=USERS).astype(np.int32)
    rows = EvaluationSet(np.arange(USERS, dtype=np.int32), histories, targets, ITEMS, "generated")
    started = time.monotonic()
    ranked = rank(scorer, rows, EvaluateConfig())
    seconds = time.monotonic() - started
    assert (ranked.items >= 0).all()
    return {"seconds": round(seconds, 2), "peak_rss_gb": round(peak_gb(), 2)}


def bare() -> dict[str, float]:
    """A product and a top-10 a chunk."""
    product, size = vectors(), EvaluateConfig().chunk_size
    started = time.monotonic()
    for first in range(0, USERS, size):
        (product.users[first : first + size] @ product.items.T).topk(10, dim=1)
    return {"seconds": round(time.monotonic() - started, 2), "peak_rss_gb": round(peak_gb(), 2)}


if __name__ == "__main__":
    main()

"""Our SASRec and iALS beside RecTools' SASRec and implicit's ALS: the same split, sizes and number of epochs.

    python -m venv PEERS
    PEERS/bin/pip install torch==2.13.0 "rectools[torch]==0.19.0"
    python benchmarks/parity.py --peers PEERS    # writes benchmarks/results/parity.json, some minutes

ML-100K, leave-one-out, full ranking, seen items removed. The peers run as they are, in their own environment, on files
with the same interactions; each model's ten best items are measured here. Ratios are ours over theirs in NDCG@10, means
over seeds; their intervals are of a paired bootstrap over users. What is alike is in `SASREC` and `ALS`; learning-rate
schedule, initial weights, dropout of attention and what a step's loss is a mean of are each side's own.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import HOME, store
from offline_runs import prepared, read_run, relative_interval

from llm4rec.baselines.config import IALSConfig, SASRecConfig
from llm4rec.baselines.ials import IALS
from llm4rec.baselines.sasrec import SASRec
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.schema import TEST, TRAIN, VALID, Corpus, History

SASREC: dict[str, Any] = {
    "embedding_size": 64,
    "num_blocks": 2,
    "num_heads": 1,
    "dropout": 0.3,
    "history_length": 200,
    "batch_size": 16,
    "epochs": 60,
    "learning_rate": 1e-3,
}
CUT = 10
"""Ranks that count."""
ALS: dict[str, Any] = {"factors": 128, "reg": 30.0, "alpha": 10.0, "iterations": 15}


def main() -> None:
    """Run both sides and store the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' virtual environment")
    parser.add_argument("--data", type=Path, default=HOME / "data", help="folder that holds ml-100k")
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "benchmarks", help="kept between calls")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    options.set, options.users = [], None
    started = time.monotonic()
    corpus, _ = read_run(prepared("ml-100k", options)[1])
    rows = EvaluationSet.build(corpus, TEST)
    gains = {"ours": ours(corpus, rows, options.seeds), "theirs": theirs(corpus, rows, options)}
    figures: dict[str, Any] = {}
    for name in ("sasrec", "ials"):
        own, other = gains["ours"][name], gains["theirs"][name]
        low, high = relative_interval(own - other, other)
        figures |= {
            f"{name}_ratio": round(float(own.mean() / other.mean()), 4),
            f"{name}_ratio_ci95": [round(1 + low, 4), round(1 + high, 4)],
        }
    figures["ndcg10"] = {
        side: {name: round(float(values.mean()), 4) for name, values in found.items()} for side, found in gains.items()
    }
    versions = [str(options.peers / "bin" / "pip"), "list", "--format=json"]
    listed = json.loads(subprocess.run(versions, capture_output=True, text=True, check=True).stdout)
    figures["peers"] = {p["name"]: p["version"] for p in listed if p["name"] in {"RecTools", "pm-implicit", "torch"}}
    store("parity", figures | {"sasrec": SASREC, "ials": ALS}, time.monotonic() - started, options.seeds)


def ours(corpus: Corpus, rows: EvaluationSet, seeds: list[int]) -> dict[str, np.ndarray]:
    """NDCG@10 of each user, a mean over seeds, of our baselines."""
    found: dict[str, list[np.ndarray]] = {"sasrec": [], "ials": []}
    for seed in seeds:
        for name, model in (
            ("sasrec", SASRec(SASRecConfig(**SASREC, patience=None, seed=seed))),
            ("ials", IALS(IALSConfig(**ALS, seed=seed))),
        ):
            found[name].append(ndcg(rank(model.fit(corpus), rows, EvaluateConfig()).target_rank, CUT))
            print(f"our {name}, seed {seed}: {found[name][-1].mean():.4f}", flush=True)
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def theirs(corpus: Corpus, rows: EvaluationSet, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The same of the peers, from the slates that they wrote."""
    found: dict[str, list[np.ndarray]] = {"sasrec": [], "ials": []}
    with tempfile.TemporaryDirectory() as folder:
        interactions(corpus.histories(TRAIN)).to_csv(f"{folder}/train.csv", index=False)
        interactions(corpus.histories(TRAIN, VALID)).to_csv(f"{folder}/history.csv", index=False)
        als = ALS | {"num_items": corpus.num_warm_items}
        Path(folder, "settings.json").write_text(json.dumps({"seeds": options.seeds, "sasrec": SASREC, "ials": als}))
        script = Path(__file__).with_name("parity_peers.py")
        subprocess.run([str(options.peers / "bin" / "python"), str(script), folder], check=True)
        for seed in options.seeds:
            for name, values in found.items():
                slates = json.loads(Path(folder, f"{name}-{seed}.json").read_text())["slates"]
                places = [
                    place(slates[str(user)], target) for user, target in zip(rows.users, rows.targets, strict=True)
                ]
                values.append(ndcg(np.array(places, np.int32), CUT))
                print(f"their {name}, seed {seed}: {values[-1].mean():.4f}", flush=True)
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def interactions(histories: list[History]) -> pd.DataFrame:
    """User, item and the order of each history."""
    parts = [
        pd.DataFrame({"user": user, "item": history.item, "order": np.arange(len(history))})
        for user, history in enumerate(histories)
    ]
    return pd.concat(parts, ignore_index=True)


def place(slate: list[int], target: int) -> int:
    """Where the target stands in a slate, from 0; beyond all ranks that count if it does not."""
    return slate.index(target) if target in slate else CUT


if __name__ == "__main__":
    main()

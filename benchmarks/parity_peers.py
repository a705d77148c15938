"""The peers of parity.py, in an environment of their own: RecTools' SASRec and implicit's ALS.

    PEERS/bin/python benchmarks/parity_peers.py FOLDER    # see parity.py, which calls it

Reads FOLDER/train.csv and history.csv (user, item, order) and FOLDER/settings.json; writes FOLDER/sasrec-SEED.json and
ials-SEED.json, the ten best items of each user of history.csv that he has not seen. Nothing of LLM4Rec is imported.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from lightning_fabric import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from scipy.sparse import csr_matrix

TOP_N = 10


def main() -> None:
    """Fit both with every seed and write their slates."""
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    train, history = (pd.read_csv(folder / f"{name}.csv") for name in ("train", "history"))
    for seed in settings["seeds"]:
        for name, fit in (("ials", ials), ("sasrec", sasrec)):
            started = time.monotonic()
            slates = fit(train, history, settings[name], seed)
            seconds = time.monotonic() - started
            (folder / f"{name}-{seed}.json").write_text(json.dumps({"slates": slates, "seconds": seconds}))
            print(f"{name}, seed {seed}: {seconds:.0f} s", flush=True)


def sasrec(train: pd.DataFrame, history: pd.DataFrame, settings: dict[str, float], seed: int) -> dict[int, list[int]]:
    """RecTools' SASRec with its own softmax loss and optimiser."""
    seed_everything(seed, workers=True)
    model = SASRecModel(
        item_net_block_types=(IdEmbeddingsItemNet,),
        n_factors=settings["embedding_size"],
        n_blocks=settings["num_blocks"],
        n_heads=settings["num_heads"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["history_length"],
        batch_size=settings["batch_size"],
        epochs=settings["epochs"],
        lr=settings["learning_rate"],
        loss="softmax",
        verbose=0,
    )
    model.fit(as_dataset(train))
    found = model.recommend(history["user"].unique(), as_dataset(history), k=TOP_N, filter_viewed=True)
    return found.groupby(Columns.User)[Columns.Item].agg(lambda items: items.tolist()).to_dict()


def as_dataset(frame: pd.DataFrame) -> Dataset:
    """Interactions as RecTools wants them, the order as a time."""
    renamed = frame.rename(columns={"user": Columns.User, "item": Columns.Item})
    renamed[Columns.Datetime] = pd.to_datetime(renamed.pop("order"), unit="s")
    return Dataset.construct(renamed.assign(**{Columns.Weight: 1.0}))


def ials(train: pd.DataFrame, history: pd.DataFrame, settings: dict[str, float], seed: int) -> dict[int, list[int]]:
    """Implicit's ALS, users folded in from their history."""
    users, items = history["user"].max() + 1, settings["num_items"]
    model = AlternatingLeastSquares(
        factors=settings["factors"],
        regularization=settings["reg"],
        alpha=settings["alpha"],
        iterations=settings["iterations"],
        random_state=seed,
    )
    matrices = [
        csr_matrix((np.ones(len(part), np.float32), (part["user"], part["item"])), shape=(users, items))
        for part in (train, history)
    ]
    model.fit(matrices[0], show_progress=False)
    asked = history["user"].unique()
    found, _ = model.recommend(asked, matrices[1][asked], N=TOP_N, recalculate_user=True)
    return dict(zip(asked.tolist(), found.tolist(), strict=True))


if __name__ == "__main__":
    main()

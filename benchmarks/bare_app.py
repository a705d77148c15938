"""The least that answers like the service: FastAPI under uvicorn, the same model, retrieval and ranking, and no more.

load.py starts it. Histories and states of users are in memory; nothing is written down, nobody gives feedback.
"""

import argparse

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from measure import HOME
from threadpoolctl import threadpool_limits

from llm4rec.artifacts import RunStore
from llm4rec.cluster.run_config import load_run
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.index.facts import display_titles, item_categories, item_prices, item_years
from llm4rec.recommend.slate import Catalogue, Wish, draw_slate
from llm4rec.schema import TEST, TRAIN, VALID


def main() -> None:
    """Open the run, and answer until ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="of the run")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="overrides")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    config = load_run(HOME / options.config, options.set, HOME)
    snapshot = Snapshot.open(RunStore(config.run.path), config)
    corpus, items = snapshot.corpus, snapshot.corpus.items
    catalogue = Catalogue(
        snapshot.index.vectors, snapshot.prices.price, item_years(items), item_categories(items), item_prices(items)
    )
    histories, titles, rng = corpus.histories(TRAIN, VALID, TEST), display_titles(items), np.random.default_rng(0)
    app = FastAPI()

    @app.get("/v1/recommendations/{user_id}")
    async def recommend(user_id: str, k: int = 10) -> dict[str, object]:
        user = corpus.user_codes.get(user_id)
        if user is None:
            raise HTTPException(404)
        history = histories[user]
        logits = snapshot.logits(snapshot.states[user][None], catalogue.vectors, [history])[0]
        wish = Wish(popularity_weight=float(snapshot.effects.user_weight[user]))
        slate = draw_slate(logits, history.item, config.recommend, catalogue, rng, wish, k=k)
        rows = zip(slate.codes.tolist(), slate.scores.tolist(), slate.propensity.tolist(), strict=True)
        shown = [
            {
                "item_id": corpus.item_ids[code],
                "title": titles[code],
                "score": float(score),
                "propensity": float(chance),
            }
            for code, score, chance in rows
        ]
        return {"model_version": snapshot.version, "items": shown}

    uvicorn.run(app, host=config.serve.host, port=config.serve.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()

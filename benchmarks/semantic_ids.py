"""Semantic ids: whether they are valid, and what writing them costs in accuracy against scoring every item.

    python benchmarks/semantic_ids.py    # after quality.py has trained llm4rec on ml-1m-seq, minutes of one core

ml-1m-seq, leave-one-out, seen items never written, the network that quality.py trained with seed 0, its gate shut on
both paths. Settings were chosen on the validation part. Written: the ten ids most probable after a beam search.
Rescored: the items that were written, in the order of their scores. Scored: all items. A decode is valid if every id it
ends in is that of an item of the catalogue which the user has not seen. Intervals are of bootstraps, paired over users.
"""

import time
from typing import Any

import numpy as np
import torch
from measure import store
from offline_runs import arguments, read_run, trained
from quality_runs import found_best, new_job
from trials import OURS

from llm4rec.evaluate.bootstrap import confidence_interval
from llm4rec.evaluate.metrics import hit_rate, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.model.generative import IdGenerator, learn_generator
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.config import RecommendConfig
from llm4rec.schema import TEST, VALID, Corpus, IntVector
from llm4rec.semantic_ids import GenerativeConfig
from llm4rec.train.states import MAX_STATES, train_states

TABLE = "ml-1m-seq"
BEAMS = RecommendConfig().beams
TOP, SAMPLES = 10, 10_000


def main() -> None:
    """Learn the head, write for every user, and store what came out."""
    options = arguments(__doc__, [OURS])
    started = time.monotonic()
    torch.set_num_threads(1)
    job = new_job(TABLE, OURS, found_best(TABLE, OURS), 0, options)
    corpus, features = read_run(job.run)
    scorer = trained(job, corpus, features)
    states = train_states(scorer, corpus, MAX_STATES, seed=0)
    vectors = scorer.item_vectors[: corpus.num_warm_items].float().cpu().numpy()
    config = GenerativeConfig()
    temperature = scorer.model.config.temperature
    generator = learn_generator(states, vectors, temperature, config, 0, lambda line: print(line, flush=True))
    learned = time.monotonic() - started
    found = {name: measure(generator, scorer, corpus, split) for name, split in (("valid", VALID), ("test", TEST))}
    test = found["test"]
    ratio = float(test["written"].mean() / test["scored"].mean())
    figures: dict[str, Any] = {
        "valid_ratio": float(np.mean([one["valid"].mean() for one in found.values()])),
        "decodes": sum(len(one["valid"]) for one in found.values()),
        "collisions": round(generator.ids.collisions, 4),
        "ndcg_ratio": round(ratio, 4),
        "ndcg10": {name: round(float(test[name].mean()), 4) for name in ("written", "rescored", "scored")},
        "hr10": {name: round(float(test[f"{name} hr"].mean()), 4) for name in ("written", "rescored", "scored")},
        "lost_ci95": [round(x, 4) for x in confidence_interval(test["scored"] - test["written"], SAMPLES, 0)],
        "validation_ndcg10": {
            name: round(float(found["valid"][name].mean()), 4) for name in ("written", "rescored", "scored")
        },
        "milliseconds_a_decode": round(1000 * float(np.median(test["seconds"])), 2),
        "seconds_to_learn": round(learned),
        "settings": config.model_dump() | {"beams": BEAMS},
        "states": len(states),
    }
    if options.trial:
        print(figures)
        return
    store("semantic_ids", figures, time.monotonic() - started, [0])


def measure(generator: IdGenerator, scorer: ModelScorer, corpus: Corpus, split: int) -> dict[str, np.ndarray]:
    """Of every user: NDCG and hit rate of the three orders, whether all ids were valid, and seconds."""
    rows = EvaluationSet.successive(corpus, split)
    states = scorer.user_states(rows.users, rows.histories)
    columns: dict[str, list[float]] = {}
    catalogue = {tuple(codes) for codes in generator.ids.codes.tolist()}
    for state, history, target in zip(states, rows.histories, rows.targets, strict=True):
        eligible = np.ones(generator.num_items, np.bool_)
        eligible[history.item] = False
        eligible[target] = True
        began = time.perf_counter()
        written = generator.write_ids(state, eligible, BEAMS)
        seconds = time.perf_counter() - began
        items = written.items
        scores = generator.vectors.numpy() @ state
        orders: dict[str, IntVector] = {
            "written": items,
            "rescored": items[np.argsort(-scores[items], kind="stable")],
            "scored": np.argsort(-np.where(eligible, scores, -np.inf), kind="stable")[:TOP].astype(np.int32),
        }
        valid = all(tuple(codes) in catalogue for codes in written.codes.tolist()) and eligible[items].all()
        one = {"valid": float(valid and len(items) > 0), "seconds": seconds}
        for name, order in orders.items():
            place = rank_of(order, int(target))
            one |= {name: float(ndcg(place, TOP)[0]), f"{name} hr": float(hit_rate(place, TOP)[0])}
        for name, value in one.items():
            columns.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in columns.items()}


def rank_of(order: IntVector, target: int) -> IntVector:
    """The place of the target from 0, beyond the slate where it is missing, shape (1,)."""
    places = np.flatnonzero(order[:TOP] == target)
    return np.array([places[0] if len(places) else TOP], np.int32)


if __name__ == "__main__":
    main()

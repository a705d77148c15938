"""What false feedback and false users make of everybody else's slates.

    python benchmarks/poisoning.py    # writes benchmarks/results/poisoning.json, half an hour

A burst: the model of quality.py for ML-1M, at work in this process without a server; log, engine and learner are the
service's. Twenty new users first look like real ones (each likes eight items of a real user's history), then get a
slate and like one item 500 times each as if it stood on it: 10,000 likes in all, every one with an id of its own. The
learner reads all of it. Exposure is in how many of 600 real users' slates of ten the item stands, without the policy's
chance; `lift` is exposure after over before. Ten items that stand in twelve slates or more, and ten that stand in none.
NDCG@10 is of those users' held-out choice, before and after.

In training (trigger_attack.py): on ML-100K one user in a hundred is fake: likes thirty popular items, then ten chosen
ones of middling popularity, whose titles have a made-up word put into them. Models trained with and without them are
compared by how often these ten stand in real users' slates of ten, and by NDCG@10 of real users. A second clean model,
of another seed, shows what chance does to both.
"""

import tempfile
import time
import uuid
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from load import CONFIG, TABLE
from measure import HOME, store
from served import arguments, finished_run
from threadpoolctl import threadpool_limits
from trigger_attack import trigger_attack

from llm4rec.artifacts import RunStore
from llm4rec.cluster.engine import Engine
from llm4rec.cluster.online import new_follower
from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.encode.text import TextEncoder
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog
from llm4rec.schema import TEST
from llm4rec.serve.contract import RecommendRequest

USERS, ATTACKERS, LIKES, DISGUISE, TARGETS, SHOWN = 600, 20, 500, 8, 10, 12


def main() -> None:
    """Attack, count, and store what came out."""
    options = arguments(__doc__).parse_args()
    began = time.monotonic()
    torch.set_num_threads(1)
    threadpool_limits(1)
    settings = [
        f"run.path={finished_run(TABLE, options)}",
        f"source.path={options.data / TABLE}",
        "run.refit=false",
        "recommend.temperature=0",
    ]
    config = load_run(HOME / CONFIG, settings, HOME)
    snapshot, text = Snapshot.open(RunStore(config.run.path), config), TextEncoder(config.encode)
    with tempfile.TemporaryDirectory() as logs:
        clean = new_engine(snapshot, config, text, Path(logs, "clean.db"))[0]
        before, quality = exposures(clean), accuracy(clean)
        shown = [item for item, count in before.items() if count >= SHOWN]
        hidden = [item for item in snapshot.corpus.item_ids if not before[item]]
        found: dict[str, list[dict[str, Any]]] = {}
        for kind, items in (("shown", sorted(shown)), ("hidden", hidden)):
            for number, target in enumerate(items[:: max(1, len(items) // TARGETS)][:TARGETS]):
                engine, log = new_engine(snapshot, config, text, Path(logs, f"{kind}{number}.db"))
                learnt = burst(engine, log, config, target, number)
                after = exposures(engine)[target]
                row = {"item": target, "before": before[target], "after": after, **learnt, "ndcg10": accuracy(engine)}
                found.setdefault(kind, []).append(row)
                print(kind, row, flush=True)
                log.close()
    trained = trigger_attack(Namespace(data=options.data, work=options.work, budget=float("inf"), parallel=1))
    lifts = [row["after"] / row["before"] for row in found["shown"]]
    rows = [row for kind in found.values() for row in kind]
    figures = {
        "max_lift": round(max(*lifts, trained["lift"]), 3),
        "lifts": [round(lift, 3) for lift in lifts],
        "most_exposures_of_hidden": max(row["after"] for row in found["hidden"]),
        "users": USERS,
        "ndcg10_clean": round(quality, 4),
        "ndcg10_worst": round(min(row["ndcg10"] for row in rows), 4),
        "likes": ATTACKERS * LIKES,
        "examples_learnt": max(row["examples"] for row in rows),
        "in_training": trained,
    }
    print(figures, flush=True)
    store("poisoning", figures, time.monotonic() - began)


def new_engine(snapshot: Snapshot, config: RunConfig, text: TextEncoder, path: Path) -> tuple[Engine, EventLog]:
    """The model with an empty log."""
    log = EventLog(f"sqlite:///{path}")
    return Engine(snapshot, config, log, text), log


def burst(engine: Engine, log: EventLog, config: RunConfig, target: str, seed: int) -> dict[str, Any]:
    """Fake users, disguised, like one item as often as they can; the learner reads it and the engine takes it over."""
    rng, corpus = np.random.default_rng(seed), engine.snapshot.corpus
    for _ in range(ATTACKERS):
        user = uuid.uuid4().hex
        history = engine.people.past(int(rng.integers(corpus.num_users)))
        disguise = [corpus.item_ids[code] for code in history[-DISGUISE:]]
        log.append_feedback([event(user, item) for item in disguise if item != target])
        request = RecommendRequest(user_id=user, k=10)
        slate = engine.rank(request, engine.retrieve(request)).logged
        log.record_exposures(slate)
        log.append_feedback([event(user, target, slate.slate_id) for _ in range(LIKES)])
    follower = new_follower(engine, log, config)
    while follower.catch_up():
        pass
    engine.take(0, follower.update_since("", 0))
    moved = np.linalg.norm(follower.learner.shift[corpus.item_codes[target]])
    return {"examples": follower.learner.examples, "moved": round(float(moved), 4)}


def event(user: str, item: str, slate_id: str | None = None) -> Feedback:
    """A like with an id of its own."""
    return Feedback(uuid.uuid4().hex, user, item, "like", slate_id=slate_id)


def exposures(engine: Engine) -> Counter[str]:
    """In how many real users' slates each item stands."""
    users = engine.snapshot.corpus.user_ids
    found: Counter[str] = Counter()
    for user in users[:: len(users) // USERS][:USERS]:
        request = RecommendRequest(user_id=user, k=10)
        slate = engine.rank(request, engine.retrieve(request)).logged
        found.update(shown.item_id for shown in slate.exposures)
    return found


def accuracy(engine: Engine) -> float:
    """NDCG@10 of what real users chose last, from their histories before it."""
    snapshot = engine.snapshot
    rows = EvaluationSet.build(snapshot.corpus, TEST).at_most(USERS)
    key = id(snapshot)
    if key not in STATES:
        STATES[key] = snapshot.scorer.user_states(rows.users, rows.histories)
    ranks = []
    for state, history, target in zip(STATES[key], rows.histories, rows.targets, strict=True):
        products = engine.shift.products(state, snapshot.index.vectors)
        logits = snapshot.logits_of(products[None], [history])[0][: snapshot.corpus.num_warm_items]
        wanted = logits[target]
        logits[history.item] = -np.inf
        logits[target] = wanted
        ranks.append(int((logits >= wanted).sum()) - 1)
    return float(ndcg(np.array(ranks), 10).mean())


STATES: dict[int, np.ndarray] = {}


if __name__ == "__main__":
    main()

"""Whether learning from each event as it comes pays: progressive NDCG@10 with and without, on one log in its order.

    python benchmarks/online.py    # writes benchmarks/results/online.json, ten minutes; states are kept for later calls

ML-100K, the model of quality.py's temporal table, trained on the first 80 % of the log. The last 20 % come one event
after the other in order of time: each is ranked among all items that its user has not had, by the model as trained
and by the model with what the events before it have taught, and then learnt from. Both read every user's history up to
the event. Figures are means over events; intervals are of a bootstrap over users. The learner's settings were chosen
on the first half of these events (docs/log.md), which the gate was fitted on as well, so the second half, `test`, is
the figure to believe. `noise`: the same events with items drawn by chance: what learning costs before it is undone.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from measure import store
from offline_runs import arguments, read_run, trained
from quality_runs import found_best, new_job
from trials import OURS

from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.model.scorer import ModelScorer
from llm4rec.online.config import LearnerConfig
from llm4rec.online.example import Example
from llm4rec.online.learner import Frozen, Learner
from llm4rec.recommend.gate import Gate, learn_gate
from llm4rec.schema import TEST, TRAIN, VALID, Corpus, FloatMatrix, FloatVector, History, IntVector

TABLE, SAMPLES = "ml-100k temporal", 10_000


@dataclass(frozen=True)
class Events:
    """Choices in order of time, N of them.

    Attributes:
        user: codes, shape (N,).
        item: codes, shape (N,).
        histories: of the user before the choice.
        states: h_u after that history, shape (N, D).
        linear: what the gate adds of the linear model, shape (N, I).
    """

    user: IntVector
    item: IntVector
    histories: list[History]
    states: FloatMatrix
    linear: FloatMatrix

    def __len__(self) -> int:
        return len(self.user)


def main() -> None:
    """Rank, learn, and store what came out."""
    options = arguments(__doc__, [OURS])
    began = time.monotonic()
    torch.set_num_threads(os.cpu_count() or 1)
    job = new_job(TABLE, OURS, found_best(TABLE, OURS), 0, options)
    corpus, features = read_run(job.run, "temporal")
    scorer = trained(job, corpus, features)
    gate = learn_gate(scorer, corpus)
    vectors = scorer.item_vectors[: corpus.num_warm_items].float().cpu().numpy()
    frozen = Frozen(vectors, gate.scale / scorer.model.config.temperature)
    parts = [events_of(scorer, gate, corpus, split) for split in (VALID, TEST)]
    config = LearnerConfig()
    figures = {"learner": config.model_dump(mode="json")}
    variants: dict[str, LearnerConfig] = {
        "all": config,
        "item vectors alone": config.model_copy(update={"user_rate": 0.0}),
        "adapters alone": config.model_copy(update={"item_rate": 0.0}),
    }
    for name, settings in variants.items():
        learner = Learner(frozen, settings)
        by_part = [progressive(learner, frozen, part, settings, lambda part, n: int(part.item[n])) for part in parts]
        figures[name] = {"last_20_percent": compared(parts, by_part), "test": compared(parts[1:], by_part[1:])}
        figures[name] |= {"rollbacks": learner.rollbacks}
        print(name, figures[name], flush=True)
    rng = np.random.default_rng(0)
    learner = Learner(frozen, config)
    noisy = [progressive(learner, frozen, part, config, lambda part, n: chance(rng, part, n, corpus)) for part in parts]
    figures["noise"] = {**compared(parts, noisy), "rollbacks": learner.rollbacks}
    whole, test = figures["all"]["last_20_percent"], figures["all"]["test"]
    store(
        "online",
        {
            "progressive_gain": whole["gain"],
            "ci95": whole["ci95"],
            "progressive_gain_test": test["gain"],
            "ci95_test": test["ci95"],
            **figures,
        },
        time.monotonic() - began,
        [0],
    )


def events_of(scorer: ModelScorer, gate: Gate, corpus: Corpus, split: int) -> Events:
    """The choices of a split in order of time, with all that the model makes of them."""
    rows = EvaluationSet.successive(corpus, split)
    whole = corpus.histories(TRAIN, VALID, TEST)
    times = [whole[user].timestamp[len(past)] for user, past in zip(rows.users, rows.histories, strict=True)]
    order = np.argsort(times, kind="stable")
    histories = [rows.histories[row] for row in order]
    states = scorer.user_states(rows.users[order], histories)
    linear = gate(np.zeros((len(order), corpus.num_warm_items), np.float32), histories)
    return Events(rows.users[order], rows.targets[order].astype(np.int32), histories, states, linear)


def progressive(
    learner: Learner, frozen: Frozen, events: Events, config: LearnerConfig, taught: Callable[[Events, int], int]
) -> tuple[FloatVector, FloatVector]:
    """NDCG@10 of each choice with and without what was learnt before it; `taught` says which item is learnt instead."""
    with_learning, without = np.empty(len(events), np.float32), np.empty(len(events), np.float32)
    for number in range(len(events)):
        state, user_id = events.states[number], str(events.user[number])
        adapter = learner.adapters.get(user_id)
        moved = state if adapter is None else state + adapter.value
        known = np.unique(events.histories[number].item)
        known = known[known < len(frozen.vectors)]
        for figures, vectors, h in ((with_learning, learner.moved, moved), (without, frozen.vectors, state)):
            logits = np.float32(frozen.sharpness) * (vectors @ h) + events.linear[number]
            figures[number] = found_at(logits, known, int(events.item[number]))
        item = taught(events, number)
        if item < len(frozen.vectors) and item not in known:
            learner.learn(Example(user_id, item, True, state, None, known))
    return with_learning, without


def found_at(logits: FloatVector, known: IntVector, item: int) -> float:
    """NDCG@10 of an item among those not known; 0 of a cold one, which has no logit here."""
    if item >= len(logits):
        return 0.0
    wanted = logits[item]
    logits = logits.copy()
    logits[known] = -np.inf
    logits[item] = wanted  # one that was had before counts among those that were not
    rank = (logits >= wanted).sum() - 1
    return float(ndcg(np.array([rank]), 10)[0])


def chance(rng: np.random.Generator, events: Events, number: int, corpus: Corpus) -> int:
    """Any item that the user has not had."""
    had = events.histories[number].item
    return int(rng.choice(np.setdiff1d(np.arange(corpus.num_warm_items), had)))


def compared(parts: list[Events], figures: list[tuple[FloatVector, FloatVector]]) -> dict[str, object]:
    """Means over all events of some parts, and the interval of their difference."""
    users = np.concatenate([part.user for part in parts])
    with_learning, without = (np.concatenate([pair[side] for pair in figures]) for side in (0, 1))
    gained = np.bincount(users, with_learning - without)
    counts = np.bincount(users)
    gained, counts = gained[counts > 0], counts[counts > 0]
    rng = np.random.default_rng(0)
    draws = rng.integers(len(counts), size=(SAMPLES, len(counts)))
    means = gained[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "events": len(users),
        "users": len(counts),
        "ndcg10": round(float(with_learning.mean()), 5),
        "ndcg10_frozen": round(float(without.mean()), 5),
        "gain": round(float(with_learning.mean() - without.mean()), 5),
        "ci95": [round(float(low), 5), round(float(high), 5)],
    }


if __name__ == "__main__":
    main()

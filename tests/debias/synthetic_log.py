"""A log from a known structural model: item quality drives both popularity and outcome, so the naive slope is biased.

quality -> exposure, promotion -> exposure, exposure -> popularity at the time -> outcome <- quality.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llm4rec.schema import TEST, TRAIN, Corpus, Interactions, Modality

QUALITY_SLOPE = 1.0


@dataclass(frozen=True)
class World:
    corpus: Corpus
    features: dict[str, Modality]
    average_effect: float
    group_effect: dict[str, float]


def build_world(seed: int, num_users: int = 300, num_items: int = 90, length: int = 40) -> World:
    """Items of three observed kinds; women answer popularity twice as strongly as men."""
    rng = np.random.default_rng(seed)
    quality = rng.integers(-1, 2, num_items)
    appeal = 0.8 * quality + rng.normal(0, 0.7, num_items)
    ranks = appeal + rng.gumbel(size=(num_users, num_items))
    item = np.argsort(-ranks, axis=1)[:, :length]
    rng.permuted(item, axis=1, out=item)
    time = np.sort(rng.permutation(num_users * length).reshape(num_users, length), axis=1)
    split = np.full((num_users, length), TRAIN)
    split[:, -1] = TEST
    female = rng.random(num_users) < 0.5
    user = np.repeat(np.arange(num_users), length)
    item, time, split = item.ravel(), time.ravel(), split.ravel()
    treatment = standardised_popularity(item, time, split == TRAIN, num_items)
    effect = np.where(female, 0.4, 0.2)
    disposition = rng.normal(0, 0.3, num_users) + 0.5 * female
    noise = rng.normal(0, 0.5, len(user))
    value = 3 + effect[user] * treatment + QUALITY_SLOPE * quality[item] + disposition[user] + noise
    corpus = make_corpus(user, item, time, value, split, ["F" if f else "M" for f in female], num_items)
    kinds = (quality[:, None] == np.array([-1, 0, 1])).astype(np.float32)
    truth = float(effect[user[split == TRAIN]].mean())
    features = {"categories": Modality(kinds, np.ones(num_items, bool))}
    return World(corpus, features, truth, {"F": 0.4, "M": 0.2})


def standardised_popularity(item: np.ndarray, time: np.ndarray, train: np.ndarray, num_items: int) -> np.ndarray:
    """The treatment by its definition, row after row: log(1 + earlier train count) in item standard deviations."""
    seen = np.zeros(num_items)
    earlier = np.zeros(len(item))
    for row in np.argsort(time):
        earlier[row] = seen[item[row]]
        seen[item[row]] += train[row]
    logs = np.log1p(seen[seen > 0])
    return (np.log1p(earlier) - logs.mean()) / logs.std()


def make_corpus(
    user: np.ndarray,
    item: np.ndarray,
    time: np.ndarray,
    value: np.ndarray,
    split: np.ndarray,
    gender: list[str | None],
    num_items: int,
) -> Corpus:
    """A corpus of parallel arrays that are sorted by user and time."""
    interactions = Interactions(
        user=np.asarray(user, np.int32),
        item=np.asarray(item, np.int32),
        timestamp=np.asarray(time, np.int64),
        value=np.asarray(value, np.float32),
        event=np.zeros(len(user), np.int32),
        split=np.asarray(split, np.int32),
    )
    items = pa.table({"item_id": [f"i{code}" for code in range(num_items)], "title": ["x"] * num_items})
    users = pa.table({"user_id": [f"u{code}" for code in range(len(gender))], "gender": pa.array(gender, pa.string())})
    return Corpus(interactions, items, users, ("rating",), num_items)

"""The index stage: item vectors of the trained model, the evidence store, and the prices of places on slates."""

import logging
from dataclasses import replace

import numpy as np

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.encode import embed
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.debias.estimate import read_effects
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.result import train_popularity
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.passages import build_passages
from llm4rec.index.vectors import ItemIndex
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.prices import MAX_CHANCES, Prices, chances, fit_prices
from llm4rec.schema import VALID, Corpus, FloatVector, read_features
from llm4rec.train.state import read_model

log = logging.getLogger("llm4rec")


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Model + corpus + effects -> index."""
    inputs = {name: store.open(name) for name in ("corpus", "features", "effects", "model")}

    def build(writer: ArtifactWriter) -> None:
        corpus = Corpus.read(inputs["corpus"], config.run.split)
        model = read_model(inputs["model"], read_features(inputs["features"], corpus.item_ids))
        scorer = ModelScorer(model, model.shape.attributes.encode_table(corpus.users))
        ItemIndex.build(scorer.item_vectors.float().numpy()).write(writer)
        weight = read_effects(inputs["effects"]).user_weight
        _prices(scorer, corpus, weight, config.index.debias_loss).write(writer)
        passages = build_passages(corpus, config.index)
        EvidenceStore.build(passages, embed([passage.text for passage in passages], config.encode)).write(writer)

    return run_stage(
        store,
        "index",
        config={"index": config.index, "encode": config.encode, "split": config.run.split},
        inputs={name: artifact.hash for name, artifact in inputs.items()},
        seed=config.run.seed,
        build=build,
    )


def _prices(scorer: ModelScorer, corpus: Corpus, weight: FloatVector, max_loss: float) -> Prices:
    """Prices by the users of the validation split, evenly spread if they are many; cold items have the lowest."""
    users = EvaluationSet.build(corpus, VALID)
    rows = np.linspace(0, len(users) - 1, min(len(users), MAX_CHANCES // users.num_items)).round().astype(int)
    codes, histories = users.users[rows], [users.histories[row] for row in rows]
    scores = scorer.score(codes, histories)
    targets = users.targets[rows]
    for row, history, target in zip(scores, histories, targets, strict=True):
        wanted = row[target]
        row[history.item] = -np.inf
        row[target] = wanted
    popularity = train_popularity(corpus)
    found = fit_prices(chances(scores, 1.0), targets, weight[codes], popularity, max_loss)
    log.info("index: prices of places, on the validation split: %s", _in_words(found.changes))
    cold = np.full(corpus.num_items - corpus.num_warm_items, found.price.min(initial=0), np.float32)
    return replace(found, price=np.concatenate([found.price, cold]))


def _in_words(changes: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * change:+.1f} %" for name, change in changes.items())

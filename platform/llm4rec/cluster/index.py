"""The index stage: item vectors of the trained model, repair, gate, prices of places, evidence store, explainer."""

import functools
import logging
import os

import numpy as np
import torch

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.encode import embed
from llm4rec.cluster.explainer import learn_explainer
from llm4rec.cluster.grounding import Described, Grounding
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.session import free_cpus
from llm4rec.cluster.stage import INDEX, MODEL, run_stage
from llm4rec.debias.result import read_effects
from llm4rec.errors import ConfigError
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.tune import Adapter
from llm4rec.index.approximate import ApproximateIndex, is_large
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.passages import build_passages
from llm4rec.index.reviews import review_sentences
from llm4rec.index.user_states import write_states
from llm4rec.index.vectors import ItemIndex
from llm4rec.model.generative import IdGenerator, learn_generator
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.gate import Gate, Gated, learn_gate
from llm4rec.recommend.prices import learn_prices
from llm4rec.recommend.repairs import learn_repair
from llm4rec.schema import (
    ITEM,
    REVIEW,
    SPLIT_COLUMNS,
    TEST,
    TEXT,
    TRAIN,
    VALID,
    VALUE,
    Corpus,
    Features,
    FloatMatrix,
    read_features,
)
from llm4rec.semantic_ids import GenerativeConfig
from llm4rec.train.state import read_model
from llm4rec.train.states import MAX_STATES, train_states

log = logging.getLogger("llm4rec")

TAUGHT_BY = ("generator", "tune", "num_passages", "num_anchors", "history_verb")
"""The settings of explanations that what is learnt depends on; others only say how it is served."""
LAYOUT = "prices, gate, reviews, states"
"""What else the files hold since the first version; an index without it is built again."""
STATES_AT_ONCE = 2000
"""Users between two lines that tell how far it is."""


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Model + corpus + effects -> index.

    Raises:
        ConfigError: no model reads the texts of the evidence.
    """
    if config.encode.text_model is None:
        raise ConfigError("encode.text_model is null, but evidence is found by its text; name a model")
    inputs = {name: store.open(name) for name in ("corpus", "features", "effects", MODEL)}

    def build(writer: ArtifactWriter) -> None:
        corpus = Corpus.read(inputs["corpus"], config.run.split)
        features = read_features(inputs["features"], corpus.item_ids)
        model = read_model(inputs[MODEL], features)
        scorer = ModelScorer(model, model.shape.attributes.encode_table(corpus.users))
        write_scoring(writer, scorer, corpus, config)
        # Histories tell what a repair or an adversary takes out of states.
        hidden = bool(config.index.repaired or model.config.protected)
        gate = Gate.shut(corpus.num_warm_items) if hidden else learn_gate(scorer, corpus)
        log.info(
            "index: the linear model weighs %.3f, decay %g, +%.3f nats a choice on the validation split",
            gate.weight,
            gate.linear.decay,
            gate.gain,
        )
        gate.write(writer)
        weight = read_effects(inputs["effects"]).user_weight
        prices = learn_prices(Gated(scorer, gate), corpus, weight, config.index.debias_loss)
        log.info("index: prices of places, on the validation split: %s", _in_words(prices.changes))
        prices.write(writer)
        write_users(writer, scorer, corpus, config)
        passages = build_passages(corpus, config.index, _reviews(inputs["corpus"], corpus, config))
        evidence = EvidenceStore.build(passages, embed([passage.text for passage in passages], config.encode))
        evidence.write(writer)
        if config.explain.tune is not None:
            _learn_explainer(scorer, corpus, evidence, features, config).write(writer)

    return run_stage(
        store,
        INDEX,
        config={
            "index": config.index,
            "encode": config.encode,
            "split": config.run.split,
            "layout": LAYOUT,
            **taught_by(config.explain),
        },
        inputs={name: artifact.hash for name, artifact in inputs.items()},
        seed=config.run.seed,
        build=build,
    )


def write_scoring(writer: ArtifactWriter, scorer: ModelScorer, corpus: Corpus, config: RunConfig) -> None:
    """Item vectors, an approximate index of many, and the repair of states, which the scorer learns and applies."""
    _use_free_cpus()
    vectors = scorer.item_vectors.float().numpy()
    ItemIndex.build(vectors).write(writer)
    if is_large(len(vectors), config.index.exact_up_to):
        log.info("index: %d items, more than are scored one by one; learning an approximate index", len(vectors))
        ApproximateIndex.build(vectors, config.run.seed).write(writer)
    if config.index.repaired:
        scorer.repaired = scorer.model.shape.attributes.places(config.index.repaired, "index.repaired")
        scorer.repair = learn_repair(scorer, corpus, config.index.repair)
        scorer.repair.write(writer)


def write_users(writer: ArtifactWriter, scorer: ModelScorer, corpus: Corpus, config: RunConfig) -> None:
    """What is learnt from states of users: semantic ids, where they are asked for; and their states now."""
    if config.index.generative is not None:
        _learn_ids(scorer, corpus, config.index.generative, config.run.seed).write(writer)
    write_states(writer, user_states(scorer, corpus) if config.index.user_states else scorer.no_states)


def user_states(scorer: ModelScorer, corpus: Corpus) -> FloatMatrix:
    """h_u of every user after all that is known of them, shape (U, D)."""
    histories, users = corpus.histories(TRAIN, VALID, TEST), np.arange(corpus.num_users, dtype=np.int32)
    parts = np.array_split(users, max(1, len(users) // STATES_AT_ONCE))
    found = [scorer.no_states]
    for number, part in enumerate(parts, start=1):
        found.append(scorer.user_states(part, [histories[user] for user in part]))
        log.info("index: states of users, part %d/%d", number, len(parts))
    return np.concatenate(found)


def _use_free_cpus() -> None:
    """Let the model compute with all of them: faiss, whose home is this stage, has set it to one thread."""
    torch.set_num_threads(min(free_cpus(), os.cpu_count() or 1))


def _learn_ids(scorer: ModelScorer, corpus: Corpus, config: GenerativeConfig, seed: int) -> IdGenerator:
    states = train_states(scorer, corpus, MAX_STATES, seed)
    temperature = scorer.model.config.temperature
    tell = functools.partial(log.info, "index: %s")
    found = learn_generator(states, scorer.item_vectors.float().numpy(), temperature, config, seed, tell)
    log.info("index: %.1f %% of the items share their codes from content", 100 * found.ids.collisions)
    return found


def _reviews(artifact: Artifact, corpus: Corpus, config: RunConfig) -> dict[int, list[str]]:
    """What satisfied users wrote in training, by item code; nothing where the log has no reviews."""
    train = corpus.part(TRAIN)
    if not config.index.num_reviews or not len(train):
        return {}
    column = SPLIT_COLUMNS[config.run.split]
    parts = artifact.read_parts("interactions", [ITEM, VALUE, REVIEW, column])
    return review_sentences(parts, column, float(train.value.mean(dtype=np.float64)), config.index)


def taught_by(config: ExplainConfig) -> dict[str, str]:
    """What the explainer depends on, nothing where none is taught."""
    return {} if config.tune is None else {"explain": config.model_dump_json(include=set(TAUGHT_BY))}


def _learn_explainer(
    scorer: ModelScorer, corpus: Corpus, evidence: EvidenceStore, features: Features, config: RunConfig
) -> Adapter:
    items = Described.of(corpus, scorer.item_vectors.float().numpy(), features[TEXT].vectors)
    grounding = Grounding(evidence, items, config.explain)
    tell = functools.partial(log.info, "index: %s")
    return learn_explainer(scorer, corpus, grounding, items, config.explain, config.run.seed, tell)


def _in_words(changes: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * change:+.1f} %" for name, change in changes.items())

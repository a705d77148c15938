"""The refit stage: the model that was measured goes on learning, from all that was held out, and then answers.

What a split holds out is the newest that is known of users and items. Figures need it; whoever is served gains nothing
by its being left out. The refit is of the same network and makes one more pass over all interactions; nothing can be
measured on it any more.
"""

import logging
from typing import Any

import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.index import write_scoring, write_users
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.cluster.stage import INDEX, MODEL, REFIT_INDEX, REFIT_MODEL, REFIT_WEIGHTS, run_stage
from llm4rec.cluster.train import settings_hash, train
from llm4rec.debias.estimate import estimate_weights
from llm4rec.debias.result import write_weights
from llm4rec.errors import ArtifactError, ConfigError
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.gate import Gated
from llm4rec.schema import TEST, Corpus, read_features
from llm4rec.train.refit import refit_config
from llm4rec.train.state import read_model

log = logging.getLogger("llm4rec")

FOUND = "refit.json"
"""How well either model foresees what was held out; and of which index it is a refit, so that its hash, the version of
the model that answers, tells versions apart that differ in that one alone."""
TOP_N = 10
MIN_CHOICES = 50
"""Of fewer that both models foresee nothing follows."""
IN_ORDER = "jobs/train.py and jobs/index.py before jobs/refit.py"


def run(store: RunStore, config: RunConfig) -> Artifact | None:
    """Corpus + features + effects + model + index -> refit/weights, refit/model, refit/index; None where not asked for.

    Raises:
        ConfigError: the model was trained with other settings.
        ArtifactError: the index is of another model, or what has been learnt now is foreseen worse than before, by more
            than `serve.canary_loss`.
    """
    if not config.run.refit:
        log.info("refit: run.refit is false: the model that was measured answers")
        return None
    if store.open(MODEL).manifest.get("config_hash") != settings_hash(config):
        raise ConfigError(f"the model of {store.location} was trained with other settings; run {IN_ORDER}")
    weigh(store, config)
    learn(store, config)
    return index(store, config)


def learn(store: RunStore, config: RunConfig) -> Artifact:
    """Train refit/model."""
    own = config.model_copy(update={"train": refit_config(config.train)})
    return train(store, own, REFIT_MODEL, ("corpus", "features", "effects", MODEL, REFIT_WEIGHTS))


def weigh(store: RunStore, config: RunConfig) -> Artifact:
    """Write refit/weights, of all interactions."""
    inputs = {name: store.open(name) for name in ("corpus", "features")}

    def build(writer: ArtifactWriter) -> None:
        corpus = Corpus.read(inputs["corpus"], config.run.split).as_train()
        features = read_features(inputs["features"], corpus.item_ids)
        remote: Any = ray.remote(estimate_weights).options(num_cpus=1)
        write_weights(writer, ray.get(remote.remote(corpus, features, config.debias, config.run.seed)))

    return run_stage(
        store,
        REFIT_WEIGHTS,
        config={"debias": config.debias},
        inputs={name: artifact.hash for name, artifact in inputs.items()},
        seed=config.run.seed,
        build=build,
    )


def index(store: RunStore, config: RunConfig) -> Artifact:
    """Write refit/index, what differs from the index of the measured model: prices, evidence, explainer are that one's.

    Raises:
        ArtifactError: as `run` does.
    """
    inputs = {name: store.open(name) for name in ("corpus", "features", MODEL, INDEX, REFIT_MODEL)}
    if inputs[INDEX].manifest["inputs"][MODEL] != inputs[MODEL].hash:
        raise ArtifactError(f"{inputs[INDEX].path} was made of another model than there is now; run {IN_ORDER}")

    def build(writer: ArtifactWriter) -> None:
        measured = Snapshot.open(store, config, measured=True, with_near=False)
        corpus = measured.corpus.as_train()
        scorer = ModelScorer(read_model(inputs[REFIT_MODEL], measured.features), measured.scorer.attributes)
        write_scoring(writer, scorer, corpus, config)
        gate = measured.gate.of(corpus)
        gate.write(writer)
        rows = EvaluationSet.build(measured.corpus, TEST).at_most(config.serve.canary_users)
        both = {"refit": Gated(scorer, gate), "measured": Gated(measured.scorer, measured.gate)}
        found = {
            name: float(ndcg(rank(model, rows, config.evaluate).target_rank, TOP_N).mean())
            for name, model in both.items()
        }
        _require_no_worse(found, len(rows), config.serve.canary_loss)
        write_users(writer, scorer, corpus, config)
        writer.write_json(FOUND, {"index": inputs[INDEX].hash, "choices": len(rows), f"ndcg@{TOP_N}": found})

    return run_stage(
        store,
        REFIT_INDEX,
        config={
            "index": config.index,
            "canary": [config.serve.canary_users, config.serve.canary_loss],
            "remove_seen": config.evaluate.remove_seen,
        },
        inputs={name: artifact.hash for name, artifact in inputs.items()},
        seed=config.run.seed,
        build=build,
    )


def _require_no_worse(found: dict[str, float], choices: int, max_loss: float) -> None:
    log.info(
        "refit: NDCG@%d %.4f on %d choices that it has learnt of now, %.4f before",
        *(TOP_N, found["refit"], choices, found["measured"]),
    )
    if choices >= MIN_CHOICES and found["refit"] < (1 - max_loss) * found["measured"]:
        raise ArtifactError(
            f"the refit foresees {choices} choices that it has learnt of worse than the model that had not: "
            f"NDCG@{TOP_N} {found['refit']:.4f}, not {found['measured']:.4f}; set run.refit to false to "
            "serve the model that was measured"
        )

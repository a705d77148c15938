"""Everything of a finished run that scoring needs, opened and verified together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import INDEX, MODEL, REFIT_INDEX, REFIT_MODEL
from llm4rec.debias.result import Effects, read_effects
from llm4rec.errors import ArtifactError
from llm4rec.index.approximate import ApproximateIndex, read_near
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.user_states import read_states
from llm4rec.index.vectors import ItemIndex
from llm4rec.model.generative import IdGenerator
from llm4rec.model.repair import Repair
from llm4rec.model.scorer import ModelScorer
from llm4rec.online.learner import Frozen
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.gate import Gate
from llm4rec.recommend.prices import Prices
from llm4rec.recommend.slate import Narrow
from llm4rec.schema import Corpus, Features, FloatMatrix, FloatVector, History, read_features
from llm4rec.train.state import DESCRIPTION, read_model

REQUIRED = ("corpus", "features", "effects", MODEL, INDEX)
"""The artifacts a snapshot is made of; one that answers after a refit, of those of the refit too."""

VERSION_LENGTH = 12


@dataclass(frozen=True)
class Snapshot:
    """One consistent version of the recommender.

    Attributes:
        corpus: interactions, users and items.
        features: content vectors by modality.
        effects: what debiasing learned.
        scorer: the trained model.
        gate: how much a linear item-item model is heard beside it.
        index: item vectors.
        near: finds the items that compete for a slate, where the catalogue is too large to score all.
        id_generator: writes semantic ids, where `index.generative` asks for it.
        evidence: passages that reasons may rest on.
        prices: what places on slates cost where popularity is corrected for.
        states: h_u of every user after all the corpus knows, shape (U, D), or (0, D) where they were not computed.
        curve: the learning curve of training.
        version: names the model in every answer.
    """

    corpus: Corpus
    features: Features
    effects: Effects
    scorer: ModelScorer
    gate: Gate
    index: ItemIndex
    near: ApproximateIndex | ItemIndex | None
    id_generator: IdGenerator | None
    evidence: EvidenceStore
    prices: Prices
    states: FloatMatrix
    curve: list[dict[str, float]]
    version: str

    @classmethod
    def open(cls, store: RunStore, config: RunConfig, *, measured: bool = False, with_near: bool = True) -> "Snapshot":
        """Open all artifacts of a run.

        Args:
            store: of the run.
            config: as it was made with.
            measured: the model that figures are of, in the place of the refit that answers.
            with_near: whether to hold the approximate index of a large catalogue, if there is one.

        Raises:
            ArtifactError: one is missing, damaged, or does not fit the others.
        """
        artifacts = {name: store.open(name) for name in REQUIRED}
        answers, trained = artifacts[INDEX], artifacts[MODEL]
        if config.run.refit and not measured:
            answers, trained = answering_index(store, config), store.open(REFIT_MODEL)
        corpus = Corpus.read(artifacts["corpus"], config.run.split)
        features = read_features(artifacts["features"], corpus.item_ids)
        model = read_model(trained, features)
        scorer = ModelScorer(model, model.shape.attributes.encode_table(corpus.users))
        if config.index.repaired:
            scorer.repaired = model.shape.attributes.places(config.index.repaired, "index.repaired")
            scorer.repair = Repair.read(answers, config.index.repair)
        index = ItemIndex.read(answers, num_items=corpus.num_items, width=model.config.embedding_size)
        near = read_near(answers, index, config.index.exact_up_to) if with_near else None
        id_generator = None
        if config.index.generative is not None:
            id_generator = IdGenerator.read(answers, index.vectors, model.config.temperature)
        return cls(
            corpus=corpus,
            features=features,
            effects=read_effects(artifacts["effects"]),
            scorer=scorer,
            gate=Gate.read(answers, corpus.num_warm_items),
            index=index,
            near=near,
            id_generator=id_generator,
            evidence=EvidenceStore.read(artifacts[INDEX]),
            prices=Prices.read(artifacts[INDEX], corpus.num_items),
            states=read_states(answers, corpus.num_users),
            curve=artifacts[MODEL].read_json(DESCRIPTION)["curve"],
            version=version_of(answers),
        )

    def logits(self, states: FloatMatrix, vectors: FloatMatrix, histories: Sequence[History]) -> FloatMatrix:
        """Scores of users' states (B, D) for items' vectors (I, D), those of the corpus first, shape (B, I).

        Args:
            states: h_u.
            vectors: e_i.
            histories: what the states were made of, B of them.
        """
        return self.logits_of(states @ vectors.T, histories)

    def logits_of(self, products: FloatMatrix, histories: Sequence[History]) -> FloatMatrix:
        """Scores from <h_u, e_i> of B users and at least I items, shape (B, at least I)."""
        return self.gate(products / np.float32(self.scorer.model.config.temperature), histories)

    @property
    def frozen(self) -> Frozen:
        """What learning online starts from: the corpus's item vectors and how sharply logits tell them apart."""
        return Frozen(self.index.vectors, self.gate.scale / self.scorer.model.config.temperature)


def answering_index(store: RunStore, config: RunConfig) -> Artifact:
    """The index of the model that answers: of the refit where there is to be one.

    Raises:
        ArtifactError: it is missing or damaged, or the refit is of another model or index than the run has now.
    """
    if not config.run.refit:
        return store.open(INDEX)
    refit = store.open(REFIT_INDEX)
    for name in (INDEX, REFIT_MODEL):
        if refit.manifest["inputs"][name] != store.recorded_hash(name):
            raise ArtifactError(f"{refit.path} was made of another {name} than there is now; run {refit.job} again")
    return refit


def answering_version(store: RunStore, config: RunConfig) -> str:
    """The version of the model that answers, by the manifest of its index.

    Raises:
        ArtifactError: it has no index.
    """
    name = REFIT_INDEX if config.run.refit else INDEX
    return (store.recorded_hash(name) or store.open(name).hash)[:VERSION_LENGTH]  # to open what is not there says so


def for_version(store: RunStore, config: RunConfig, version: str) -> RunConfig:
    """The configuration with which a run has a version, a refit's or a measured model's; as it was where it has not."""
    for refit, name in ((True, REFIT_INDEX), (False, INDEX)):
        if (store.recorded_hash(name) or "").startswith(version):
            return config.model_copy(update={"run": config.run.model_copy(update={"refit": refit})})
    return config


def version_of(index: Artifact) -> str:
    """The name of the model that an index was made of, with all that is learnt from it."""
    return index.hash[:VERSION_LENGTH]


def narrow_by(generator: IdGenerator | None, state: FloatVector, config: RecommendConfig) -> Narrow | None:
    """Who competes for the slate of a user with a state, shape (D,); None where all do."""
    if config.candidates_from == "scores":
        return None
    assert generator is not None, "the configuration was checked"
    return lambda eligible, k: generator.write_ids(state, eligible, max(k, config.beams)).items

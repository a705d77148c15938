"""The objective's terms, each seen to teach what it is for."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from llm4rec.model.inputs import PADDING
from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TEST, TRAIN, Corpus
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import TorchEngine, train_epoch
from llm4rec.train.objective import objective
from llm4rec.train.windows import KnownOutcomes, build_windows
from tests.baselines.loops import loops_corpus
from tests.corpora import random_features, tiny_recommender

FAST = {"batch_size": 16, "learning_rate": 2e-2, "backbone_learning_rate": 1e-3, "precision": "fp32"}


def corpus_with_gender() -> Corpus:
    """Women walk loop 0, men the others, so a history gives the gender away."""
    corpus = loops_corpus()
    first = corpus.interactions.item[np.searchsorted(corpus.interactions.user, np.arange(corpus.num_users))]
    gender = np.where(first < first.max() // 4 + 1, "F", "M")
    return replace(corpus, users=corpus.users.append_column("gender", pa.array(gender)))


def trained(
    corpus: Corpus, folder: Path, epochs: int, outcomes: KnownOutcomes | None = None, seed: int = 0, **settings
) -> Recommender:
    torch.manual_seed(seed)
    model = settings.pop("model")
    network = tiny_recommender(corpus, random_features(corpus.num_items), folder, **model)
    config = TrainConfig.model_validate({**FAST, "epochs": epochs, "model": network.config, **settings})
    attributes = network.shape.attributes.encode_table(corpus.users)
    weight = np.ones(len(corpus.interactions), np.float32)
    windows = build_windows(corpus, network.shape.history, attributes, weight, outcomes)
    engine = TorchEngine(network, config, epochs * windows.num_steps(config.batch_size))
    for epoch in range(epochs):
        train_epoch(engine, windows.batches(config.batch_size, seed=0, epoch=epoch), config)
    return network.eval()


def test_of_items_that_nobody_had_in_training_content_alone_is_learnt(tmp_path: Path) -> None:
    corpus = loops_corpus()
    log, unseen = corpus.interactions, [1, 6]
    split = np.where(np.isin(log.item, unseen), TEST, log.split).astype(log.split.dtype)
    corpus = replace(corpus, interactions=replace(log, split=split))
    network = trained(corpus, tmp_path, 3, model={})
    assert network.shape.by_content_alone == tuple(unseen)
    ids = network.items.id_emb.weight.detach()
    assert (ids == 0).all(dim=1).nonzero().flatten().tolist() == unseen
    vectors = network.item_vectors()
    content = torch.nn.functional.normalize(network.items.from_content(*network._content(), corpus.num_items), dim=-1)
    assert torch.equal(vectors[unseen], content[unseen]) and not torch.allclose(vectors[0], content[0], atol=0.01)


def test_no_choice_is_made_among_items_that_nobody_had_in_training(tmp_path: Path) -> None:
    corpus = loops_corpus()
    log, unseen = corpus.interactions, np.arange(corpus.num_warm_items) < 2
    corpus = replace(corpus, interactions=replace(log, split=np.where(unseen[log.item], TEST, log.split)))
    network = tiny_recommender(corpus, random_features(corpus.num_items), tmp_path).eval()
    config = TrainConfig.model_validate({**FAST, "causal_weight": 0.0, "model": network.config})
    attributes = network.shape.attributes.encode_table(corpus.users)
    windows = build_windows(corpus, network.shape.history, attributes, np.ones(len(log), np.float32))
    (batch,) = islice(windows.batches(16, seed=0, epoch=0), 1)
    outputs, target = network(batch.history, batch.attributes), torch.from_numpy(batch.target)
    kept = target != PADDING
    expected = torch.nn.functional.cross_entropy(outputs.scores[kept][:, 2:], target[kept] - 2)
    torch.testing.assert_close(objective(network, outputs, batch, config), expected, rtol=1e-5, atol=1e-6)
    reduced = outputs._replace(items=outputs.items.bfloat16())
    torch.testing.assert_close(objective(network, reduced, batch, config), expected, rtol=2e-2, atol=2e-2)


def attacker_auc(corpus: Corpus, network: Recommender) -> float:
    """Of a logistic regression on the states of half of the users, asked about the other half."""
    attributes = network.shape.attributes.encode_table(corpus.users)
    users = np.arange(corpus.num_users, dtype=np.int32)
    states = ModelScorer(network, attributes).user_states(users, corpus.histories(TRAIN))
    female = np.array(corpus.users["gender"].to_pylist()) == "F"
    attacker = LogisticRegression(C=100, max_iter=2000).fit(states[::2], female[::2])
    return float(roc_auc_score(female[1::2], attacker.decision_function(states[1::2])))


def test_the_adversary_hides_what_histories_give_away(tmp_path: Path) -> None:
    """Over several seeds: a fresh attacker on 30 users is a noisy judge."""
    corpus, aucs = corpus_with_gender(), {0.0: [], 1.0: []}
    slow = {"model": {"protected": ["gender"]}, "rank_weight": 0.1, "learning_rate": 5e-3}
    for strength, found in aucs.items():
        for seed in range(3):
            network = trained(corpus, tmp_path, 30, seed=seed, adversary_weight=strength, **slow)
            found.append(attacker_auc(corpus, network))
    assert np.mean(aucs[1.0]) < np.mean(aucs[0.0]) - 0.05, aucs


def test_protected_attributes_train_in_bfloat16(tmp_path: Path) -> None:
    how = {"adversary_weight": 1.0, "parity_weight": 1.0, "precision": "bf16"}
    network = trained(corpus_with_gender(), tmp_path, 1, model={"protected": ["gender"]}, **how)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def popular_shares(corpus: Corpus, network: Recommender) -> tuple[float, float]:
    """The softmax mass of popular items, mean over women and over men."""
    attributes = network.shape.attributes.encode_table(corpus.users)
    windows = build_windows(corpus, network.shape.history, attributes, np.ones(len(corpus.interactions), np.float32))
    with torch.no_grad():
        scores = network(windows.history, windows.attributes).scores
    mass = (scores.softmax(-1) @ torch.from_numpy(windows.popular).float()).numpy()
    kept, female = windows.target >= 0, np.array(corpus.users["gender"].to_pylist()) == "F"
    shares = (mass * kept).sum(axis=1) / kept.sum(axis=1)
    return float(shares[female].mean()), float(shares[~female].mean())


def test_the_parity_penalty_evens_out_the_exposure_of_popular_items(tmp_path: Path) -> None:
    corpus, model = corpus_with_gender(), {"protected": ["gender"]}
    women, men = popular_shares(corpus, trained(corpus, tmp_path, 4, model=model))
    fair_women, fair_men = popular_shares(corpus, trained(corpus, tmp_path, 4, model=model, parity_weight=100.0))
    assert abs(women - men) > 0.2
    assert abs(fair_women - fair_men) < abs(women - men) / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["naive", "weighted", "doubly_robust"])
def test_outcomes_are_learnt(tmp_path: Path, kind: str, precision: str) -> None:
    """Items of even code end well; what is imputed says nothing."""
    corpus = loops_corpus()
    even = np.arange(corpus.num_items) % 2 == 0
    good = even[corpus.interactions.item]
    tables = np.ones((corpus.num_users, 1), np.float32), np.zeros((corpus.num_items, 1), np.float32)
    known = KnownOutcomes(good, *tables)
    how = {"rank_weight": 0.0, "outcome_loss": kind, "precision": precision}
    network = trained(corpus, tmp_path, 12, known, model={"outcome": True}, **how)
    attributes = network.shape.attributes.encode_table(corpus.users)
    windows = build_windows(corpus, network.shape.history, attributes, np.ones(len(good), np.float32), known)
    with torch.no_grad():
        outcomes = network(windows.history, windows.attributes).outcomes.numpy()
    kept = windows.target >= 0
    odds = np.take_along_axis(outcomes, np.maximum(windows.target, 0)[..., None], axis=2)[..., 0][kept]
    assert roc_auc_score(windows.outcomes.good[kept], odds) > 0.95


@pytest.mark.parametrize(
    "settings",
    [
        {"outcome_loss": "naive", "rank_weight": 0.0},
        {"outcome_loss": "weighted", "rank_weight": 0.0},
        {"outcome_loss": "doubly_robust", "rank_weight": 0.0},
        {"model": {"protected": ["gender"]}, "adversary_weight": 2.0, "rank_weight": 0.0},
        {"model": {"protected": ["gender"]}, "adversary_weight": 2.0, "causal_weight": 0.5},
    ],
)
def test_the_mean_over_the_parts_of_a_batch_is_its_loss(tmp_path: Path, settings: dict[str, object]) -> None:
    """So that the number of workers, or of parts, changes nothing; parts have unequally many targets."""
    corpus, rng = corpus_with_gender(), np.random.default_rng(0)
    model = {"outcome": True, "dropout": 0.0, "modality_dropout": 0.0} | settings.get("model", {})
    network = tiny_recommender(corpus, random_features(corpus.num_items), tmp_path, **model)
    config = TrainConfig.model_validate(settings | {"model": network.config, "zero_stage": 2})
    good = rng.random(len(corpus.interactions)) < 0.4
    known = KnownOutcomes(good, rng.random((corpus.num_users, 2)), rng.random((corpus.num_items, 2)))
    attributes = network.shape.attributes.encode_table(corpus.users)
    weight = rng.random(len(good)).astype(np.float32)
    windows = build_windows(corpus, network.shape.history, attributes, weight, known)
    target = windows.target.copy()
    target[::2, 2:] = PADDING
    windows = replace(windows, target=target)

    def loss(parts: int) -> float:
        batches = list(islice(windows.batches(50, seed=0, epoch=0, parts=parts), parts))
        losses = [objective(network, network(part.history, part.attributes), part, config) for part in batches]
        return float(torch.stack(losses).mean())

    assert loss(4) == pytest.approx(loss(1), rel=1e-5)


def test_windows_carry_each_targets_own_outcome(tmp_path: Path) -> None:
    corpus = loops_corpus()
    network = tiny_recommender(corpus, random_features(corpus.num_items), tmp_path)
    good = np.arange(len(corpus.interactions)) % 3 == 0
    known = KnownOutcomes(good, np.arange(corpus.num_users)[:, None] * 1.0, np.ones((corpus.num_items, 1)))
    ones = np.ones(len(good), np.float32)
    windows = build_windows(corpus, network.shape.history, np.zeros((corpus.num_users, 0), int), ones, known)
    train = corpus.interactions.split == TRAIN
    log = corpus.interactions
    by_target = dict(zip(zip(log.user[train], log.item[train], strict=True), good[train], strict=True))
    owners = windows.outcomes.users[:, 0].astype(int)
    for row, user in enumerate(owners):
        for item, flag in zip(windows.target[row], windows.outcomes.good[row], strict=True):
            if item >= 0 and list(corpus.histories(TRAIN)[user].item).count(item) == 1:
                assert by_target[user, item] == bool(flag)
    batch = next(windows.batches(4, seed=1, epoch=0))
    assert batch.outcomes.good.shape == batch.target.shape and len(batch.outcomes.users) == 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank_weight": 0}, "leaves nothing to learn"),
        ({"adversary_weight": 1}, "need model.protected"),
        ({"parity_weight": 1}, "need model.protected"),
        ({"adversary_weight": 1, "zero_stage": 3, "model": {"protected": ["gender"]}}, "needs zero_stage 0, 1 or 2"),
        ({"warmup_fraction": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainConfig.model_validate(settings)

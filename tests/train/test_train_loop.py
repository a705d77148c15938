"""The loop: it learns what can be learned, stops when it should, and names a batch that breaks it."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.errors import DataError
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.inputs import PADDING
from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import VALID, Corpus
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import Progress, TorchEngine, fit, in_words, parameter_groups, train_epoch, warmup_then_decay
from llm4rec.train.windows import Windows, build_windows
from tests.baselines.loops import loops_corpus
from tests.corpora import random_features, tiny_recommender

FAST = TrainConfig(epochs=6, batch_size=8, learning_rate=2e-2, backbone_learning_rate=3e-3, precision="fp32")


def setting(folder: Path, **model: object) -> tuple[Corpus, Recommender, Windows]:
    torch.manual_seed(0)
    corpus = loops_corpus()
    network = tiny_recommender(corpus, random_features(corpus.num_items), folder, **model)
    weight = np.ones(len(corpus.interactions), np.float32)
    attributes = network.shape.attributes.encode_table(corpus.users)
    return corpus, network, build_windows(corpus, network.shape.history, attributes, weight)


def validation_ndcg(corpus: Corpus, network: Recommender) -> float:
    scorer = ModelScorer(network, network.shape.attributes.encode_table(corpus.users))
    return float(ndcg(rank(scorer, EvaluationSet.build(corpus, VALID), EvaluateConfig()).target_rank, 10).mean())


@pytest.mark.parametrize("suits", [False, True])
def test_the_machine_decides_on_numbers_where_nothing_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suits: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": suits})
    _, network, windows = setting(tmp_path)
    batch = next(windows.batches(4, seed=0, epoch=0))
    outputs = TorchEngine(network, TrainConfig(), 1)(batch.history, batch.attributes)
    assert outputs.items.dtype == (torch.bfloat16 if suits else torch.float32)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fit_learns_a_pattern(tmp_path: Path, precision: str) -> None:
    config = FAST.model_copy(update={"precision": precision})
    corpus, network, windows = setting(tmp_path)
    engine = TorchEngine(network, config, config.epochs * windows.num_steps(config.batch_size))
    before, kept, lines = validation_ndcg(corpus, network), [], []
    progress = fit(
        engine,
        windows,
        config,
        seed=0,
        validate=lambda: validation_ndcg(corpus, network),
        on_best=lambda: kept.append(len(kept)),
        log=lines.append,
    )
    losses = [entry["loss"] for entry in progress.curve]
    assert losses[0] < 2 * math.log(corpus.num_warm_items) and losses[-1] < 0.6 * losses[0]
    assert before < 0.5 and progress.best_ndcg > 0.8  # each item has one right successor
    assert len(lines) == progress.epoch and f"{losses[-1]:.4f}" in lines[-1]
    assert 1 <= len(kept) <= progress.epoch
    assert progress.curve[progress.best_epoch]["valid_ndcg@10"] == progress.best_ndcg


def test_the_same_seed_gives_the_same_curve(tmp_path: Path) -> None:
    curves = []
    for _ in range(2):
        _, network, windows = setting(tmp_path, dropout=0.2, modality_dropout=0.2)
        engine = TorchEngine(network, FAST, 8)
        losses: list[float] = []
        train_epoch(engine, windows.batches(8, seed=0, epoch=0), FAST, losses.append)
        curves.append(losses)
    assert curves[0] == curves[1]


def test_a_loss_that_is_not_finite_names_users_and_items_of_the_batch(tmp_path: Path) -> None:
    corpus, network, windows = setting(tmp_path)
    with torch.no_grad():
        network.users.narrow.bias[0] = float("nan")
    first = next(windows.batches(8, seed=0, epoch=0))
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    with pytest.raises(DataError) as caught:
        train_epoch(TorchEngine(network, FAST, 10), windows.batches(8, seed=0, epoch=0), FAST)
    message = str(caught.value)
    assert "the loss is nan in a batch of the users" in message and "train.learning_rate" in message
    for user in first.user:
        assert user in message and user in corpus.user_ids
    assert corpus.item_ids[first.history.item[0, 0]] in message
    for name, p in network.named_parameters():
        torch.testing.assert_close(p, weights[name], equal_nan=True, rtol=0, atol=0)


def spoil(network: Recommender) -> None:
    """Let the next gradient be infinite where the loss is not."""
    network.users.narrow.bias.register_hook(lambda gradient: gradient * float("inf"))


def test_a_gradient_that_is_not_finite_names_users_of_all_parts_of_the_step(tmp_path: Path) -> None:
    _, network, windows = setting(tmp_path)
    config = FAST.model_copy(update={"accumulation": 2})
    spoil(network)
    first = list(islice(windows.batches(8, seed=0, epoch=0, parts=2), 2))
    steps: list[float] = []
    with pytest.raises(
        DataError, match="the loss is finite and its gradient is not, in a batch of the users"
    ) as caught:
        train_epoch(
            TorchEngine(network, config, 10), windows.batches(8, seed=0, epoch=0, parts=2), config, steps.append
        )
    assert all(user in str(caught.value) for part in first for user in part.user) and steps == []


def test_many_names_are_counted_not_listed(tmp_path: Path) -> None:
    _, network, windows = setting(tmp_path)
    with torch.no_grad():
        network.users.narrow.bias[0] = float("nan")
    with pytest.raises(DataError, match="and 20 more with the items"):
        train_epoch(TorchEngine(network, FAST, 10), windows.batches(40, seed=0, epoch=0), FAST)


def test_each_step_is_reported_once_whatever_its_parts(tmp_path: Path) -> None:
    for parts in (1, 2):
        _, network, windows = setting(tmp_path)
        config = FAST.model_copy(update={"accumulation": parts})
        losses: list[float] = []
        engine = TorchEngine(network, config, windows.num_steps(16))
        train_epoch(engine, windows.batches(16, seed=0, epoch=0, parts=parts), config, losses.append)
        assert len(losses) == windows.num_steps(16)


def test_parts_of_a_step_add_up_to_it(tmp_path: Path) -> None:
    """Windows of unequal lengths: a mean of the parts' own means would be another loss."""
    found = []
    for parts in (1, 3):
        _, network, windows = setting(tmp_path, dropout=0.0, modality_dropout=0.0)
        target = windows.target.copy()
        target[::2, 2:] = PADDING
        windows = replace(windows, target=target, weight=np.random.default_rng(0).random(target.shape, np.float32))
        config = FAST.model_copy(update={"accumulation": parts, "causal_weight": 0.5, "gradient_clipping": 1e9})
        losses: list[float] = []
        engine = TorchEngine(network, config, windows.num_steps(12))
        train_epoch(engine, windows.batches(12, seed=0, epoch=0, parts=parts), config, losses.append)
        found.append((losses, [p.detach().clone() for p in network.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def test_an_epoch_goes_on_where_it_was_left(tmp_path: Path) -> None:
    _, _, windows = setting(tmp_path)
    whole = [batch.user.tolist() for batch in windows.batches(8, seed=0, epoch=3)]
    rest = [batch.user.tolist() for batch in windows.batches(8, seed=0, epoch=3, first_step=5)]
    assert rest == whole[5:] != []


def record(progress: Progress, ndcg_10: float) -> bool:
    progress.advance(1.0)
    return progress.record(ndcg_10, 2.0)


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps() -> None:
    progress = Progress()
    for loss in (1.0, 2.0, 6.0):
        progress.advance(loss)
    progress.record(0.5, 2.0)
    assert progress.curve == [{"epoch": 0, "loss": 3.0, "valid_ndcg@10": 0.5, "seconds": 2.0}]
    assert (progress.epoch, progress.step, progress.total_loss) == (1, 0, 0.0)


def test_early_stopping_by_hand() -> None:
    config = TrainConfig(epochs=10, patience=2)
    progress, better = Progress(), []
    for ndcg_10 in (0.1, 0.3, 0.3, 0.2):  # equal is not better
        assert not progress.finished(config)
        better.append(record(progress, ndcg_10))
    assert better == [True, True, False, False]
    assert progress.finished(config) and (progress.epoch, progress.best_epoch, progress.best_ndcg) == (4, 1, 0.3)
    assert [entry["epoch"] for entry in progress.curve] == [0, 1, 2, 3]


def test_where_nothing_is_validated_the_last_epoch_is_the_best_and_patience_is_not_asked() -> None:
    config, progress = TrainConfig(epochs=3, patience=1), Progress()
    for _ in range(3):
        assert not progress.finished(config)
        progress.advance(1.0)
        assert progress.record(None, 2.0)
    assert progress.finished(config) and progress.best_epoch == 2
    assert progress.curve[-1] == {"epoch": 2, "loss": 1.0, "seconds": 2.0}
    assert in_words(progress.curve[-1]) == "loss 1.0000"


def test_training_ends_with_the_epochs() -> None:
    config, progress = TrainConfig(epochs=3, patience=2), Progress()
    for ndcg_10 in (0.1, 0.2, 0.3):
        assert not progress.finished(config)
        record(progress, ndcg_10)
    assert progress.finished(config)


def test_a_validation_of_zero_is_better_than_none() -> None:
    progress = Progress()
    assert record(progress, 0.0)
    assert not record(progress, 0.0)


def test_the_learning_rate_by_hand() -> None:
    factor = warmup_then_decay(TrainConfig(warmup_fraction=0.2), 20)
    assert [factor(step) for step in (0, 1, 3, 4, 12, 19, 20, 99)] == [0.25, 0.5, 1, 1, 0.5, 1 / 16, 0, 0]
    assert warmup_then_decay(TrainConfig(warmup_fraction=0), 10)(0) == 1
    assert 0 <= warmup_then_decay(TrainConfig(), 1)(0) <= 1


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_every_trainable_parameter_is_in_one_group(tmp_path: Path, lora_rank: int) -> None:
    _, network, _ = setting(tmp_path, lora_rank=lora_rank)
    backbone, rest = parameter_groups(network, FAST)
    assert (backbone["lr"], rest["lr"]) == (3e-3, 2e-2)
    grouped = [id(p) for group in (backbone, rest) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in network.parameters() if p.requires_grad}
    assert {id(p) for p in backbone["params"]} <= {id(p) for p in network.users.backbone.parameters()}

"""Models of sequences: who sees what, windows, losses, early stopping."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loops import LENGTH, loops_corpus
from pydantic import ValidationError

from llm4rec.baselines.bert4rec import BERT4Rec
from llm4rec.baselines.config import BERT4RecConfig, HSTUConfig, SASRecConfig, SequenceConfig
from llm4rec.baselines.hstu import HSTUBlock, HSTUNetwork
from llm4rec.baselines.sasrec import SASRec
from llm4rec.baselines.sequence import IGNORED, PADDING, SequenceNetwork, cut_windows
from llm4rec.baselines.sequence_loss import sampled_bce_loss
from llm4rec.baselines.transformer import Transformer
from llm4rec.baselines.validation import Validation
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import mean_by_user, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.schema import TRAIN, VALID

TINY = {"embedding_size": 8, "num_blocks": 1, "num_heads": 2, "history_length": 5, "batch_size": 16}


WIDE = {"embedding_size": 8, "num_blocks": 2, "num_heads": 2, "dropout": 0.0, "history_length": 5}


def causal_network(name: str) -> SequenceNetwork:
    torch.manual_seed(0)
    network = (
        HSTUNetwork(9, HSTUConfig(**WIDE)) if name == "hstu" else Transformer(9, SequenceConfig(**WIDE), causal=True)
    )
    return network.eval()


@pytest.mark.parametrize("name", ["transformer", "hstu"])
def test_later_items_do_not_reach_earlier_states(name):
    network = causal_network(name)
    tokens = torch.tensor([[9, 0, 1, 2, 3]])
    changed = torch.tensor([[9, 0, 1, 7, 8]])
    before, after = network(tokens), network(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@pytest.mark.parametrize("name", ["transformer", "hstu", "both ways"])
def test_padding_changes_nothing(name):
    torch.manual_seed(0)
    both_ways = Transformer(9, SequenceConfig(**WIDE), causal=False).eval()
    network = both_ways if name == "both ways" else causal_network(name)
    alone, beside = torch.tensor([[4, 0, 9]]), torch.tensor([[4, 0, 9, PADDING, PADDING], [1, 2, 3, 4, 9]])
    torch.testing.assert_close(network(beside)[0, :3], network(alone)[0])


def test_without_a_causal_mask_both_sides_are_seen():
    torch.manual_seed(0)
    network = Transformer(9, SequenceConfig(**WIDE), causal=False).eval()
    states = [network(torch.tensor([[9, *rest]]))[0, 0] for rest in ([1, 2], [1, 3])]
    assert not torch.allclose(*states)


def test_hstu_block_by_hand():
    """One head, two positions: each part of the formula in numpy."""
    torch.manual_seed(0)
    block = HSTUBlock(HSTUConfig(embedding_size=2, history_length=3, dropout=0.0)).eval()
    torch.nn.init.normal_(block.distance_bias)
    states = torch.randn(1, 2, 2)

    def silu(x):
        return x / (1 + np.exp(-x))

    def normed(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    x = states[0].numpy()
    weight, offset = (parameter.detach().numpy() for parameter in (block.split.weight, block.split.bias))
    u, v, q, k = np.split(silu(normed(x) @ weight.T + offset), 4, axis=1)
    bias = block.distance_bias.detach().numpy()[0]
    a = silu(q @ k.T + np.array([[bias[0], 0], [bias[1], bias[0]]])) / 4 * np.array([[1, 0], [1, 1]])
    out, shift = block.out.weight.detach().numpy(), block.out.bias.detach().numpy()
    np.testing.assert_allclose(block(states)[0].detach(), x + (normed(a @ v) * u) @ out.T + shift, rtol=1e-4, atol=1e-5)


def test_hstu_scores_are_cosines_over_the_temperature():
    network = causal_network("hstu")
    network.temperature = 0.1
    states = network(torch.tensor([[9, 0, 1]]))[0]
    items = network.item_emb.weight[:9]
    expected = torch.cosine_similarity(states[:, None], items[None], dim=-1) / 0.1
    torch.testing.assert_close(network.logits(states), expected)


def test_hstu_knows_positions_and_drops_in_training():
    network = causal_network("hstu")
    tokens = torch.tensor([[9, 0, 1]])
    before = network(tokens)
    with torch.no_grad():
        network.position_emb.weight[2] += 1
    after = network(tokens)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])
    block = HSTUBlock(HSTUConfig(embedding_size=4, dropout=0.5))
    states = torch.randn(1, 3, 4)
    assert not torch.equal(block.train()(states), block.train()(states))
    assert torch.equal(block.eval()(states), block.eval()(states))


def test_positions_of_both_ways_count_from_the_end():
    """A longer history leaves the newest items where they were: only what stands before them is added."""
    torch.manual_seed(0)
    network = Transformer(9, SequenceConfig(**WIDE), causal=False).eval()
    found = []
    network.position_emb.register_forward_hook(lambda module, inputs, output: found.append(inputs[0].tolist()))
    network(torch.tensor([[3, 4, 9, PADDING], [1, 3, 4, 9]]))
    assert found[0][0][:3] == [2, 1, 0]
    assert found[0][1] == [3, 2, 1, 0]


def test_bert4rec_hides_what_it_asks_for():
    model, rng = BERT4Rec(BERT4RecConfig(mask_share=0.3, last_share=0.5)), np.random.default_rng(0)
    window, shares, last_only = np.arange(10, 20, dtype=np.int32), [], 0
    for _ in range(2000):
        tokens, targets = model.example(window, 50, rng)
        hidden = tokens == 50
        assert hidden.any()
        np.testing.assert_array_equal(targets, np.where(hidden, window, IGNORED))
        np.testing.assert_array_equal(tokens[~hidden], window[~hidden])
        shares.append(hidden.mean())
        last_only += hidden.sum() == 1 and hidden[-1]
    assert np.mean(shares) == pytest.approx((0.3 + 0.1) / 2, abs=0.01)
    assert last_only / 2000 == pytest.approx(0.5, abs=0.05)


def test_bert4rec_asks_for_the_item_after_the_newest():
    model = BERT4Rec(BERT4RecConfig(history_length=3))
    assert model.question(np.array([5, 6, 7, 8], np.int32), 50).tolist() == [6, 7, 8, 50]
    assert model.question(np.array([], np.int32), 50).tolist() == [50]


@pytest.mark.parametrize("size", [1, 4, 5, 6, 17])
def test_windows_cover_a_history_once(size):
    rng = np.random.default_rng(0)
    for _ in range(10):
        windows = cut_windows(np.arange(size, dtype=np.int32), 5, rng)
        np.testing.assert_array_equal(np.concatenate(windows), np.arange(size))
        assert max(len(window) for window in windows) <= 5


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="num_heads 3 must divide embedding_size 64"):
        SASRecConfig(num_heads=3)


def test_progress_tells_epoch_loss_and_validation():
    lines: list[str] = []
    SASRec(SASRecConfig(**TINY, epochs=4, validate_every=2)).fit(loops_corpus(), progress=lines.append)
    assert len(lines) == 2
    assert lines[0].startswith("sasrec epoch 2/4 loss ")
    assert "valid ndcg@10" in lines[1]


def test_validation_rows_are_not_used_to_stop_when_trained_on():
    lines: list[str] = []
    SASRec(SASRecConfig(**TINY, epochs=2)).fit(loops_corpus(), (TRAIN, VALID), progress=lines.append)
    assert lines
    assert not any("valid" in line for line in lines)


def test_fit_leaves_the_callers_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SASRec(SASRecConfig(**TINY, epochs=1)).fit(loops_corpus())
    torch.testing.assert_close(torch.rand(3), expected)


def test_early_stopping_keeps_the_best_weights():
    corpus = loops_corpus()
    validation = Validation.of(corpus, patience=2)
    assert validation is not None
    network = torch.nn.Linear(1, 1)
    perfect = np.zeros((corpus.num_users, corpus.num_warm_items), np.float32)
    perfect[np.arange(corpus.num_users), corpus.part(VALID).item] = 1
    nothing = np.zeros_like(perfect)

    torch.nn.init.constant_(network.weight, 1.0)
    assert validation.measure(lambda users, histories: perfect.copy(), network) == 1.0
    torch.nn.init.constant_(network.weight, 2.0)
    assert validation.measure(lambda users, histories: nothing.copy(), network) == 0.0
    assert not validation.should_stop
    assert validation.measure(lambda users, histories: perfect * np.nan, network) == 0.0  # diverged
    assert validation.should_stop
    validation.restore_best(network)
    assert network.weight.item() == 1.0


@pytest.mark.parametrize("rows", [None, 90])
def test_early_stopping_measures_what_the_evaluation_does(rows):
    """With several choices a user, some of them of items that have been seen."""
    corpus = loops_corpus()
    place = np.tile(np.arange(LENGTH), corpus.num_users)
    valid = (place >= LENGTH - 2) | (place >= LENGTH - 4) & (corpus.interactions.user % 3 == 0)
    split = np.where(valid, VALID, TRAIN).astype(np.int32)
    corpus = replace(corpus, interactions=replace(corpus.interactions, split=split))
    scores = np.random.default_rng(0).random((corpus.num_users, corpus.num_warm_items)).astype(np.float32)
    scorer = SimpleNamespace(name="", score=lambda users, histories: scores[users].copy())
    chosen = EvaluationSet.successive(corpus, VALID)
    chosen = chosen if rows is None else chosen.at_most(rows)
    expected = mean_by_user(chosen.users, ndcg(rank(scorer, chosen, EvaluateConfig()).target_rank, 10)).mean()
    validation = Validation.of(corpus, 1, rows)
    assert validation.measure(scorer.score, torch.nn.Linear(1, 1)) == pytest.approx(expected, rel=1e-6)
    assert 0 < expected < 1 and len(chosen) > len(np.unique(chosen.users))


def test_every_position_that_scoring_uses_is_trained():
    """A full history scores at position `history_length`, so windows must reach it."""
    model = SASRec(SASRecConfig(**TINY, dropout=0.0, epochs=1, learning_rate=0.1, patience=None))
    corpus = loops_corpus()
    model.fit(corpus, (TRAIN, VALID))
    positions = model._network.position_emb.weight.detach()
    assert len(positions) == TINY["history_length"] + 1
    # One step of Adam moves every trained weight by about the learning rate, far beyond the 0.02 it started within.
    assert (positions.abs().amax(dim=1) > 0.05).all()


SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])
TARGETS = torch.tensor([0, 2])


@pytest.mark.parametrize(("calibration", "beta"), [(0.0, 1.0), (1.0, 0.5), (0.75, 0.625)])
def test_gbce_by_hand(monkeypatch, calibration, beta):
    """One negative of two others: alpha = 1/2."""
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor([[1], [0]]))
    p = torch.sigmoid(SCORES)
    told = beta * torch.log(p[0, 0]) + torch.log(1 - p[0, 1]) + beta * torch.log(p[1, 2]) + torch.log(1 - p[1, 0])
    torch.testing.assert_close(sampled_bce_loss(SCORES, TARGETS, 1, calibration), -told / 4)


@pytest.mark.parametrize("num_negatives", [2, 40])
def test_calibrated_scores_are_those_of_all_negatives(num_negatives):
    """At t = 1 the best scores with few or many negatives are those of binary cross entropy on the whole catalogue."""
    torch.manual_seed(0)
    num_items, rows = 20, 4000
    frequency = torch.softmax(torch.randn(num_items), dim=0)
    targets = torch.multinomial(frequency, rows, replacement=True)
    scores = torch.zeros(num_items, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        sampled_bce_loss(scores.expand(rows, -1), targets, num_negatives, 1.0).backward()
        optimizer.step()
    odds = torch.bincount(targets, minlength=num_items) / rows * num_items / (num_items - 1)
    torch.testing.assert_close(torch.exp(scores.detach()), odds, rtol=0.2, atol=0.01)


def test_the_name_says_which_loss():
    assert [SASRec(SASRecConfig(loss=loss)).name for loss in ("softmax", "bce", "gbce")] == [
        "sasrec",
        "sasrec_bce",
        "gsasrec",
    ]

"""The outcome head and the adversary: what they add, and that nothing is there that was not asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.errors import ConfigError
from llm4rec.model.adversary import Adversary
from llm4rec.model.outcome import OutcomeHead
from llm4rec.schema import Corpus
from tests.corpora import history, random_features, tiny_recommender

PAST = history(0, 1, 2, 3, 1)


def test_outcomes_by_hand() -> None:
    head = OutcomeHead(2, 3)
    with torch.no_grad():
        head.scale.fill_(2.0)
        head.user.weight.copy_(torch.tensor([[1.0, -1.0]]))
        head.user.bias.fill_(0.5)
        head.item.weight.copy_(torch.tensor([[0.0, 3.0]]))
        head.item_bias.copy_(torch.tensor([0.0, 0.0, 0.25]))
        items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        state = torch.tensor([[[0.0, 1.0]]])
        found = head(state @ items.T, state, items)
    torch.testing.assert_close(found, torch.tensor([[[-0.5, 2 + 3 - 0.5, 1.6 + 2.4 + 0.25 - 0.5]]]))


def test_a_network_predicts_outcomes_only_if_it_is_asked_to(corpus: Corpus, tmp_path: Path) -> None:
    history_batch, attributes = None, np.array([[1, 1]])
    for asked in (False, True):
        model = tiny_recommender(corpus, random_features(5), tmp_path, outcome=asked).eval()
        history_batch = model.shape.history.encode([PAST])
        outputs = model(history_batch, attributes)
        assert (outputs.outcomes is not None) == asked
        assert any(name.startswith("outcome.") for name, _ in model.named_parameters()) == asked
    assert outputs.outcomes.shape == outputs.scores.shape == (1, 6, 4)


def test_the_adversary_learns_from_the_truth_and_the_states_to_tell_nothing() -> None:
    torch.manual_seed(0)
    adversary, states = Adversary(4, {"gender": 3}), torch.randn(8, 2, 4, requires_grad=True)
    codes, kept = torch.randint(0, 3, (8, 1)), torch.ones(8, 2, dtype=torch.bool)
    kept[0, 1] = False
    gradients = {}
    for strength in (0.0, 1.0, 2.5):
        adversary.zero_grad()
        states.grad = None
        adversary.loss(states, codes, kept, strength).backward()
        own = torch.zeros_like(states) if states.grad is None else states.grad.clone()
        gradients[strength] = own, next(adversary.parameters()).grad.clone()
    assert not gradients[0.0][0].any() and gradients[1.0][0].any() and not gradients[1.0][0][0, 1].any()
    torch.testing.assert_close(gradients[2.5][0], 2.5 * gradients[1.0][0])
    for strength in (1.0, 2.5):  # the adversary is trained by its own loss alone
        torch.testing.assert_close(gradients[strength][1], gradients[0.0][1])


def test_states_that_tell_nothing_are_where_the_pull_ends() -> None:
    adversary = Adversary(4, {"gender": 2})
    states, kept = torch.randn(6, 1, 4, requires_grad=True), torch.ones(6, 1, dtype=torch.bool)
    with torch.no_grad():
        for parameter in adversary.parameters():
            parameter.zero_()  # answers one half to everybody
    adversary.loss(states, torch.tensor([[0], [1]] * 3), kept, 1.0).backward()
    assert not states.grad.any()


def test_protected_attributes_are_not_read(corpus: Corpus, tmp_path: Path) -> None:
    model = tiny_recommender(corpus, random_features(5), tmp_path, protected=["gender"]).eval()
    names = model.shape.attributes.names
    place, batch = names.index("gender"), model.shape.history.encode([PAST])
    codes = np.ones((1, len(names)), np.int64)
    other_gender, other_else = codes.copy(), codes.copy()
    other_gender[0, place] = 2
    other_else[0, 1 - place] = 2
    with torch.no_grad():
        plain, gender, other = (model(batch, c).scores for c in (codes, other_gender, other_else))
    torch.testing.assert_close(plain, gender, rtol=0, atol=0)
    assert (plain - other).abs().max() > 1e-4


def test_an_unknown_protected_attribute_is_named(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no user attribute 'shoe size'"):
        tiny_recommender(corpus, random_features(5), tmp_path, protected=["shoe size"])

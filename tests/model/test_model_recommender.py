"""The whole network on a real SmolLM2 layer: time runs one way, padding is silence, content places cold items."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.errors import ConfigError
from llm4rec.model.backbone import load_backbone
from llm4rec.model.config import ModelConfig
from llm4rec.model.items import feature_tensors
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import EMPTY_HISTORY, Corpus, History
from tests.corpora import history, random_features, shape_of, tiny_recommender

PAST = history(0, 1, 2, 3, 1)


def scores(model: Recommender, histories: list[History], user: int = 0) -> torch.Tensor:
    attributes = np.full((len(histories), 2), user, np.int64)
    with torch.no_grad():
        return model(model.shape.history.encode(histories), attributes).scores


def test_scores_are_cosines_over_the_temperature_for_every_position_and_warm_item(recommender: Recommender) -> None:
    found = scores(recommender, [PAST, history(2)])
    assert found.shape == (2, 6, 4)
    assert found.abs().max() <= 1 / 0.07 + 1e-3
    torch.testing.assert_close(recommender.item_vectors().norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("changed_at", range(5))
def test_a_later_item_never_changes_an_earlier_position(recommender: Recommender, changed_at: int) -> None:
    items = PAST.item.copy()
    items[changed_at] = (items[changed_at] + 1) % 4
    values = PAST.value.copy()
    values[changed_at] = 5.0
    other = History(items, PAST.timestamp, values, PAST.event)
    before, after = scores(recommender, [PAST])[0], scores(recommender, [other])[0]
    torch.testing.assert_close(after[: changed_at + 1], before[: changed_at + 1], rtol=0, atol=1e-5)
    assert (after[changed_at + 1] - before[changed_at + 1]).abs().max() > 1e-3


def test_events_values_times_and_attributes_are_read(recommender: Recommender) -> None:
    plain = scores(recommender, [PAST])[0, -1]
    event = History(PAST.item, PAST.timestamp, PAST.value, np.ones(5, np.int32))
    slow = history(*PAST.item, times=[0, 10**6, 2 * 10**6, 3 * 10**6, 4 * 10**6])
    rated = history(*PAST.item, values=[5.0] * 5)
    for other in (event, slow, rated):
        assert (scores(recommender, [other])[0, -1] - plain).abs().max() > 1e-4
    assert (scores(recommender, [PAST], user=1)[0, -1] - plain).abs().max() > 1e-4


def test_padding_does_not_change_a_state(recommender: Recommender) -> None:
    scorer = ModelScorer(recommender, np.zeros((1, 2), np.int64))
    attributes = np.array([[1, 1], [0, 2], [2, 0]])
    short = [EMPTY_HISTORY, history(2), history(3, 0)]
    alone = np.vstack([scorer.states([h], a[None]) for h, a in zip(short, attributes, strict=True)])
    batched = scorer.states([*short, PAST], np.vstack([attributes, [[0, 0]]]))[:3]
    np.testing.assert_allclose(batched, alone, atol=1e-4)


def test_the_scorer_is_the_forward_pass_at_the_last_position(recommender: Recommender) -> None:
    histories, attributes = [PAST, EMPTY_HISTORY, history(2, 1)], np.array([[1, 1], [0, 0], [2, 2]])
    scorer = ModelScorer(recommender, attributes, batch_size=2)
    found = scorer.score(np.array([2, 0, 1], np.int32), [histories[n] for n in (2, 0, 1)])
    with torch.no_grad():
        forward = recommender(recommender.shape.history.encode(histories), attributes).scores.numpy()
    expected = [forward[2, 2], forward[0, 5], forward[1, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_only_the_newest_items_are_read(recommender: Recommender) -> None:
    scorer = ModelScorer(recommender, np.zeros((1, 2), np.int64))
    long = history(*([3] * 20), *PAST.item, 0, times=list(range(20)) + [100, 160, 220, 280, 340, 400])
    kept = history(*PAST.item, 0)
    none = np.zeros((1, 2), np.int64)
    np.testing.assert_allclose(scorer.states([long], none), scorer.states([kept], none), atol=1e-5)


def test_cold_items_get_their_content_and_warm_ones_an_id_on_top(recommender: Recommender) -> None:
    tensors = feature_tensors(random_features(5, {"text": [3]}))
    with torch.no_grad():
        content, whole = recommender.items.from_content(*tensors, 5), recommender.items(*tensors)
    torch.testing.assert_close(whole[4], content[4])
    torch.testing.assert_close(whole[:4] - content[:4], recommender.items.id_emb.weight.detach())
    ids = (whole[:4] - content[:4]).norm(dim=1)
    assert recommender.shape.by_content_alone == (2,)  # nobody had it in the train split
    assert ids[2] == 0 and ids[[0, 1, 3]].min() > 0.1


def test_a_shape_survives_json(recommender: Recommender) -> None:
    assert Shape.from_json(recommender.shape.to_json()) == recommender.shape


def test_retrieved_evidence_is_read_unless_turned_off(corpus: Corpus, tmp_path: Path) -> None:
    features = random_features(5)
    model = tiny_recommender(corpus, features, tmp_path).eval()
    before = scores(model, [PAST])
    model.retrieved = model.retrieved.flip(0)
    assert (scores(model, [PAST]) - before).abs().max() > 1e-4
    without = tiny_recommender(corpus, features, tmp_path, num_retrieved=0)
    assert without.users.evidence is None and without.retrieved.shape == (5, 0)
    assert torch.isfinite(scores(without.eval(), [PAST])).all()


def test_evidence_of_an_item_is_the_mean_of_its_neighbours_however_often_it_is_read(
    corpus: Corpus, tmp_path: Path
) -> None:
    model = tiny_recommender(corpus, random_features(5), tmp_path).eval()
    read: list[torch.Tensor] = []
    model.users.register_forward_pre_hook(lambda users, given: read.append(given[1]))
    model.retrieved = torch.tensor([[4, 3], [0, 2], [1, 3], [2, 2], [0, 1]])
    items = torch.randn(5, 16)
    model.user_states(items, model.shape.history.encode([history(2, 0, 2)]), np.array([[1, 1]]))
    expected = torch.stack([(items[1] + items[3]) / 2, (items[4] + items[3]) / 2, (items[1] + items[3]) / 2])
    assert torch.allclose(read[0][0], expected)


def test_gradients_reach_every_trainable_parameter_that_the_batch_uses(corpus: Corpus, tmp_path: Path) -> None:
    model = tiny_recommender(corpus, random_features(5), tmp_path).train()
    model(model.shape.history.encode([PAST]), np.array([[1, 1]])).scores[0, -1, 0].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    # the last position's state has read all of them
    parts = (
        "items.fusion.project.text",
        "items.id_emb",
        "users.widen",
        "users.evidence",
        "users.gap_emb",
        "users.start",
    )
    for part in parts:
        assert any(p.grad.any() for name, p in model.named_parameters() if name.startswith(part)), part


def test_lora_trains_its_update_and_leaves_the_backbone_frozen(corpus: Corpus, tmp_path: Path) -> None:
    model = tiny_recommender(corpus, random_features(5), tmp_path, lora_rank=2)
    backbone = dict(model.users.backbone.named_parameters())
    trained = {name for name, p in backbone.items() if p.requires_grad}
    assert trained and trained == {name for name in backbone if "lora_" in name}
    before = {name: p.detach().clone() for name, p in backbone.items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()(model.shape.history.encode([PAST]), np.array([[1, 1]])).scores[0, -1, 0].backward()
    optimizer.step()
    changed = {name for name, p in backbone.items() if not torch.equal(p, before[name])}
    assert changed and changed <= trained
    full = tiny_recommender(corpus, random_features(5), tmp_path).users.backbone
    assert all(p.requires_grad for p in full.parameters())


def test_alpha_over_rank_scales_the_update_of_lora_also_below_one(corpus: Corpus, tmp_path: Path) -> None:
    model = tiny_recommender(corpus, random_features(5), tmp_path, lora_rank=2, lora_alpha=0.5)
    layers = [module for module in model.users.backbone.modules() if hasattr(module, "lora_A")]
    assert layers and all(layer.scaling == {"default": 0.25} for layer in layers)


def test_a_backbone_that_is_not_there_or_too_shallow_is_named(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.num_layers: .* has 2 layers, 3 were asked for"):
        tiny_recommender(corpus, random_features(5), tmp_path, num_layers=3)
    for pretrained in (True, False):
        with pytest.raises(ConfigError, match="train.model.backbone '/no/such/folder' cannot be loaded"):
            load_backbone(ModelConfig(backbone="/no/such/folder", pretrained=pretrained))


@pytest.mark.slow
def test_the_pretrained_backbone_keeps_its_first_layers(corpus: Corpus) -> None:
    features = random_features(5)
    config = ModelConfig(num_layers=2, embedding_size=16, history_length=6)
    model = Recommender(config, shape_of(corpus, features, 6), features).eval()
    backbone = model.users.backbone
    assert (len(backbone.layers), backbone.config.num_hidden_layers, backbone.config.hidden_size) == (2, 2, 576)
    norms = [layer.input_layernorm.weight for layer in backbone.layers]
    assert all((norm - 1).abs().max() > 0.1 for norm in norms)  # random weights would have ones here
    assert all(p.dtype == torch.float32 for p in backbone.parameters())
    assert torch.isfinite(scores(model, [PAST])).all()


def test_the_same_seed_builds_the_same_network(corpus: Corpus, tmp_path: Path) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(4)
        networks.append(tiny_recommender(corpus, random_features(5), tmp_path).eval())
    torch.testing.assert_close(scores(networks[0], [PAST]), scores(networks[1], [PAST]), rtol=0, atol=0)


def test_content_alone_is_enough_for_an_item_without_text(recommender: Recommender) -> None:
    vectors = recommender.item_vectors().detach()
    assert torch.isfinite(vectors).all()
    scorer = ModelScorer(recommender, np.zeros((1, 2), np.int64))
    assert np.isfinite(scorer.score(np.array([0], np.int32), [history(3)])).all()

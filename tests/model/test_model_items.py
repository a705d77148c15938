"""The item tower: ids, content, and the one standing in for the other."""

import torch

from llm4rec.model.config import ModelConfig
from llm4rec.model.items import ItemTower


def tower(id_dropout: float) -> ItemTower:
    config = ModelConfig(embedding_size=8, fusion_size=8, id_dropout=id_dropout, modality_dropout=0.0)
    torch.manual_seed(0)
    return ItemTower(config, {"text": 4}, {}, num_items=50, num_warm_items=40)


def vectors(id_dropout: float, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of 50 items, of which the first ten have no content; and those from content alone."""
    items = tower(id_dropout).train(training)
    content, present = {"text": torch.randn(50, 4)}, {"text": torch.arange(50) >= 10}
    return items(content, present), items.from_content(content, present, 50)


def test_dropped_ids_leave_content_alone_and_items_without_content_their_ids() -> None:
    whole, content = vectors(0.5, training=True)
    alone = (whole == content).all(dim=1)
    assert not alone[:10].any(), "without content the id is all there is"
    assert 5 <= alone[10:40].sum() <= 25
    assert alone[40:].all(), "cold items have no id"


def test_items_that_nobody_had_are_placed_by_content_alone() -> None:
    config = ModelConfig(embedding_size=8, fusion_size=8, modality_dropout=0.0)
    items = ItemTower(config, {"text": 4}, {}, num_items=50, num_warm_items=40, by_content_alone=(3, 39)).eval()
    content, present = {"text": torch.randn(50, 4)}, {"text": torch.ones(50, dtype=torch.bool)}
    alone = (items(content, present) == items.from_content(content, present, 50)).all(dim=1)
    assert alone.nonzero().flatten().tolist() == [3, 39, *range(40, 50)]


def test_ids_are_dropped_in_training_only_and_only_when_asked() -> None:
    for found, content in (vectors(0.5, training=False), vectors(0.0, training=True)):
        assert not (found[:40] == content[:40]).all(dim=1).any()


def test_a_dropped_id_gets_no_gradient() -> None:
    items = tower(0.5).train()
    content, present = {"text": torch.randn(50, 4)}, {"text": torch.ones(50, dtype=torch.bool)}
    found = items(content, present)
    alone = (found == items.from_content(content, present, 50)).all(dim=1)[:40]
    found.sum().backward()
    assert items.id_emb.weight.grad is not None
    assert (items.id_emb.weight.grad.abs().sum(dim=1) == 0).equal(alone)

"""Which items stand as evidence for an item, by hand and against the plain definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.model import retrieval
from llm4rec.model.retrieval import nearest, retrieve
from llm4rec.schema import Modality


def modality(*rows: list[float] | None, shape: tuple[int, ...] | None = None) -> Modality:
    """Rows of numbers; None where the item has none."""
    width = len(next(row for row in rows if row is not None))
    vectors = np.array([row or [0.0] * width for row in rows], np.float32)
    return Modality(vectors, np.array([row is not None for row in rows]), shape)


def test_nearest_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0.0], [10.0, 1.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    present = torch.tensor([True, True, True, True, False])
    assert nearest(vectors, present, 2).tolist() == [[1, 3], [0, 3], [3, 1], [1, 0], [4, 4]]
    assert nearest(vectors, present, 0).shape == (5, 0)


def test_an_item_is_not_its_own_neighbour_and_ties_go_to_the_lower_code() -> None:
    same = torch.ones(4, 3)
    assert nearest(same, torch.ones(4, dtype=torch.bool), 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_a_small_catalogue_is_filled_up_with_the_item_itself() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 1.0], [9.0, 9.0]])
    assert nearest(vectors, torch.tensor([True, True, False]), 3).tolist() == [[1, 0, 0], [0, 1, 1], [2, 2, 2]]
    assert nearest(vectors, torch.tensor([True, False, False]), 1).tolist() == [[0], [1], [2]]
    assert nearest(vectors, torch.zeros(3, dtype=torch.bool), 1).tolist() == [[0], [1], [2]]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 2**16), st.data())
def test_nearest_is_a_full_stable_sort(num_items: int, count: int, seed: int, data: st.DataObject) -> None:
    # coordinates of few values make many equal cosines
    vectors = torch.randint(0, 3, (num_items, 2), generator=torch.Generator().manual_seed(seed)).float()
    present = torch.tensor(data.draw(st.lists(st.booleans(), min_size=num_items, max_size=num_items)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "COSINES", 20)
        found = nearest(vectors, present, count)
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    for item in range(num_items):
        others = [n for n in range(num_items) if present[n] and n != item] if present[item] else []
        expected = sorted(others, key=lambda n: (-float(unit[item] @ unit[n]), n))[:count]
        assert len(found[item]) == count and found[item].tolist()[len(expected) :] == [item] * (count - len(expected))
        cosines = [float(unit[item] @ unit[n]) for n in found[item].tolist()[: len(expected)]]
        assert cosines == pytest.approx([float(unit[item] @ unit[n]) for n in expected], abs=1e-6)


def test_text_alone_decides_where_there_is_text() -> None:
    features = {"text": modality([1, 0], [0, 1], [1, 0.1]), "image": modality([1, 0], [1, 0], [0, 1])}
    assert retrieve(features, 3, 1).tolist() == [[2], [2], [0]]


def test_without_text_all_modalities_decide_together() -> None:
    image, numbers = modality([3, 0], [1, 0], [0, 1], None), modality([1, 0], [0, 1], [1, 0], [5, 0])
    # with item 0: item 1 has (1 + 0) / 2, item 2 has (0 + 1) / 2, item 3 has 1 / sqrt(2 * 1)
    assert retrieve({"image": image, "numbers": numbers}, 4, 3).tolist()[0] == [3, 1, 2]
    assert retrieve({"image": image}, 4, 1).tolist() == [[1], [0], [0], [3]]


def test_a_series_of_frames_counts_with_its_mean_frame() -> None:
    mel = modality([2, 0, 0, 2], [1, 1, 1, 1], [0, 4, 0, 0], shape=(2, 2))
    assert retrieve({"mel": mel}, 3, 1).tolist() == [[1], [0], [0]]


def test_without_any_content_every_item_stands_for_itself() -> None:
    assert retrieve({}, 3, 2).tolist() == [[0, 0], [1, 1], [2, 2]]

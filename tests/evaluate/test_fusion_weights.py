"""Weights by group of items, by hand."""

import json

import numpy as np
import pytest

from llm4rec.evaluate.fusion_weights import MAX_SETS, modality_sets, popularity_thirds, summarise

NAMES = ["image", "text"]
ALPHA = np.array([[0.2, 0.8], [0.0, 1.0], [0.4, 0.6], [0.0, 0.0], [1.0, 0.0]], np.float32)
PRESENT = ALPHA > 0
POPULARITY = np.array([5, 9, 1, 5], np.int32)  # item 4 is cold


def test_thirds_by_hand() -> None:
    # by popularity: 1, then 0 and 3 (tied), then 2; thirds of four items have 2, 1 and 1
    assert popularity_thirds(POPULARITY, 5).tolist() == [
        "most popular third",
        "most popular third",
        "least popular third",
        "middle third",
        "cold",
    ]
    assert popularity_thirds(np.zeros(0, np.int32), 2).tolist() == ["cold", "cold"]


def test_means_by_hand() -> None:
    found = summarise(ALPHA, PRESENT, NAMES, POPULARITY)
    assert list(found) == ["all items", "popularity", "modalities"]
    every = found["all items"]["all items"]
    assert every["items"] == 5
    assert every["weights"] == pytest.approx({"image": 1.6 / 3, "text": 2.4 / 3})
    assert every["coverage"] == pytest.approx({"image": 0.6, "text": 0.6})
    groups = found["popularity"]
    assert list(groups) == ["most popular third", "middle third", "least popular third", "cold"]
    assert groups["most popular third"]["weights"] == pytest.approx({"image": 0.2, "text": 0.9})
    assert groups["middle third"] == {
        "items": 1,
        "weights": {"image": None, "text": None},
        "coverage": {"image": 0, "text": 0},
    }
    assert groups["cold"]["weights"] == {"image": 1.0, "text": None}
    sets = found["modalities"]
    assert list(sets) == ["image + text", "image", "no modality", "text"]
    assert sets["image + text"]["weights"] == pytest.approx({"image": 0.3, "text": 0.7})
    assert [group["items"] for group in sets.values()] == [2, 1, 1, 1]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_item_is_in_one_group_of_a_kind() -> None:
    rng = np.random.default_rng(0)
    present = rng.random((400, 5)) < 0.5
    found = summarise(present / 5, present, list("abcde"), rng.integers(0, 9, 390).astype(np.int32))
    for groups in found.values():
        assert sum(group["items"] for group in groups.values()) == 400
    assert len(found["modalities"]) == MAX_SETS + 1 and list(found["modalities"])[-1] == "other sets"


def test_the_largest_sets_keep_their_names() -> None:
    rows = [[bool(code >> bit & 1) for bit in range(4)] for code in range(16) for _ in range(16 - code)]
    labels = modality_sets(np.array(rows), list("abcd")).tolist()
    assert labels.count("no modality") == 16 and labels.count("a") == 15 and labels.count("other sets") == 4 + 3 + 2 + 1


def test_without_modalities_there_is_nothing_to_say() -> None:
    assert summarise(np.zeros((3, 0), np.float32), np.zeros((3, 0), bool), [], POPULARITY[:3]) == {}

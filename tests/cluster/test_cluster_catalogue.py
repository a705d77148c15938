"""The live catalogue: changes make a new one, codes never change their meaning."""

import math
from dataclasses import replace

import numpy as np
import pytest

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.entry import Entry
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.model.generative import GenerativeHead, IdGenerator
from llm4rec.semantic_ids import SemanticIds
from tests.cluster.new_item import RECORD, TEXT_VECTOR, VECTOR, put


@pytest.fixture
def catalogue(snapshot: Snapshot) -> LiveCatalogue:
    return LiveCatalogue.of(snapshot)


def check_aligned(catalogue: LiveCatalogue) -> None:
    ranking = catalogue.ranking
    parts = (catalogue.item_ids, catalogue.records, catalogue.titles, ranking.vectors, ranking.price)
    parts += (ranking.years, ranking.categories, catalogue.text_vectors, catalogue.withdrawn)
    assert {len(part) for part in parts} == {len(catalogue)}
    assert catalogue.codes == {item_id: code for code, item_id in enumerate(catalogue.item_ids)}
    assert {a.dtype for a in (ranking.vectors, ranking.price, ranking.years, catalogue.text_vectors)} == {
        np.dtype(np.float32)
    }


def test_the_catalogue_of_the_corpus(catalogue: LiveCatalogue) -> None:
    check_aligned(catalogue)
    assert catalogue.item_ids == ["a", "b", "c", "d", "cold"]
    assert catalogue.titles == ["Alien (1979)", "Babe (1995)", "Casablanca (1942)", "Dune", "Eraserhead"]
    assert catalogue.ranking.categories == [("Horror",), ("Comedy", "Drama"), ("Drama",), (), ()]
    assert catalogue.ranking.years[:3].tolist() == [1979, 1995, 1942] and math.isnan(catalogue.ranking.years[3])
    assert catalogue.records[0] == {
        "title": "Alien (1979)",
        "text": "",
        "categories": ["Horror"],
        "numbers": {"year": 1979.0},
    }
    assert catalogue.records[4] == {"title": "Eraserhead", "text": "", "categories": [], "numbers": {}}
    assert all(catalogue.has(item_id) for item_id in catalogue.item_ids) and not catalogue.has("new")


def test_a_new_item_takes_the_next_code_and_has_the_lowest_price(catalogue: LiveCatalogue) -> None:
    changed = put(catalogue, "new")
    check_aligned(changed)
    assert changed.codes["new"] == 5 and changed.has("new")
    assert changed.titles[5] == "Solaris (1972)" and changed.records[5] == RECORD
    assert (changed.ranking.years[5], changed.ranking.categories[5]) == (1972, ("Drama", "Sci-Fi"))
    assert changed.ranking.price[5] == np.float32(-0.2)
    np.testing.assert_array_equal(changed.ranking.vectors[5], VECTOR)
    np.testing.assert_array_equal(changed.text_vectors[5], TEXT_VECTOR)
    assert changed.item_ids[:5] == catalogue.item_ids


def test_a_replaced_item_keeps_its_code_and_price(catalogue: LiveCatalogue) -> None:
    changed = put(catalogue, "b")
    check_aligned(changed)
    assert len(changed) == 5 and changed.codes["b"] == 1
    assert changed.titles[1] == "Solaris (1972)" and changed.records[1] == RECORD
    assert (changed.ranking.years[1], changed.ranking.categories[1]) == (1972, ("Drama", "Sci-Fi"))
    np.testing.assert_array_equal(changed.ranking.vectors[1], VECTOR)
    np.testing.assert_array_equal(changed.ranking.price, catalogue.ranking.price)
    np.testing.assert_array_equal(changed.ranking.vectors[[0, 2, 3, 4]], catalogue.ranking.vectors[[0, 2, 3, 4]])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: put(c, "b"),
        lambda c: put(c, "new"),
        lambda c: c.withdraw(["b"]),
    ],
)
def test_a_change_leaves_the_catalogue_that_a_request_holds_alone(catalogue: LiveCatalogue, change) -> None:
    titles, vectors = list(catalogue.titles), catalogue.ranking.vectors.copy()
    change(catalogue)
    assert catalogue.titles == titles and len(catalogue) == 5 and catalogue.has("b")
    np.testing.assert_array_equal(catalogue.ranking.vectors, vectors)


def test_a_withdrawn_item_keeps_its_code_and_comes_back_when_put(catalogue: LiveCatalogue) -> None:
    gone = catalogue.withdraw(["b"])
    check_aligned(gone)
    assert not gone.has("b") and gone.withdrawn.tolist() == [False, True, False, False, False]
    back = put(gone, "b")
    assert back.has("b") and back.codes["b"] == 1 and not gone.has("b")


def test_ids_are_written_of_items_put_since_training(snapshot: Snapshot) -> None:
    vectors = snapshot.index.vectors
    ids = SemanticIds.fit(vectors, 1, 3, seed=0)
    generator = IdGenerator(GenerativeHead(ids.centres, 8, 0.1), ids, vectors, len(vectors))
    catalogue = LiveCatalogue.of(replace(snapshot, id_generator=generator))
    changed = put(put(catalogue, "new"), "b")
    assert catalogue.id_generator is generator and changed.id_generator is not None
    found = changed.id_generator.write_ids(VECTOR, ~changed.withdrawn, beams=10)
    assert sorted(found.items.tolist()) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(changed.id_generator.vectors.numpy(), changed.ranking.vectors)


def test_an_item_put_twice_has_the_id_of_one_put_once_as_it_is_now(snapshot: Snapshot) -> None:
    """As a restarted service has it, which reads what is stored: the newest record of each item."""
    vectors = snapshot.index.vectors
    ids = SemanticIds.fit(vectors, 1, 3, seed=0)
    generator = IdGenerator(GenerativeHead(ids.centres, 8, 0.1), ids, vectors, len(vectors))
    catalogue = LiveCatalogue.of(replace(snapshot, id_generator=generator))
    twice = put(put(catalogue, "new", vector=vectors[0]), "new", vector=vectors[2])
    once = put(catalogue, "new", vector=vectors[2])
    assert twice.id_generator is not None and once.id_generator is not None
    np.testing.assert_array_equal(twice.id_generator.ids.codes, once.id_generator.ids.codes)


def test_many_changes_at_once_are_those_one_after_the_other(snapshot: Snapshot) -> None:
    vectors = snapshot.index.vectors
    ids = SemanticIds.fit(vectors, 1, 3, seed=0)
    generator = IdGenerator(GenerativeHead(ids.centres, 8, 0.1), ids, vectors, len(vectors))
    catalogue = LiveCatalogue.of(replace(snapshot, id_generator=generator))
    records = {
        "b": RECORD,
        "z": {"title": "Zardoz", "text": "", "categories": ["Odd"], "numbers": {"year": 1974.0, "price": 2.5}},
        "cold": {"title": "Now warm", "text": "words of it", "categories": [], "numbers": {}},
        "m": RECORD | {"title": "M"},
    }
    entries = [
        Entry.of(item_id, record, np.float32(place + 1) * VECTOR, np.float32(place) * TEXT_VECTOR)
        for place, (item_id, record) in enumerate(records.items())
    ]
    together, singly = catalogue.put(entries), catalogue
    for entry in entries:
        singly = singly.put([entry])
    check_aligned(together)
    assert together.item_ids == singly.item_ids == ["a", "b", "c", "d", "cold", "z", "m"]
    assert together.records == singly.records and together.titles == singly.titles
    assert together.ranking.categories == singly.ranking.categories
    for name in ("vectors", "price", "years", "sale_price"):
        np.testing.assert_array_equal(getattr(together.ranking, name), getattr(singly.ranking, name))
    np.testing.assert_array_equal(together.text_vectors, singly.text_vectors)
    for words in ("words of it", "Zardoz", "a planet"):
        np.testing.assert_array_equal(together.words.score(words), singly.words.score(words))
        assert together.words.score(words).any()
    assert together.read("odd films").filters == singly.read("odd films").filters
    assert together.read("odd films").filters.all_categories == ("Odd",)
    assert together.id_generator is not None and singly.id_generator is not None
    np.testing.assert_array_equal(together.id_generator.ids.codes, singly.id_generator.ids.codes)
    assert catalogue.put([]) is catalogue


def test_an_item_with_a_title_alone(catalogue: LiveCatalogue) -> None:
    bare = {"title": "Bare", "text": "", "categories": [], "numbers": {}}
    changed = put(put(catalogue, "bare", bare), "bare2", bare)
    check_aligned(changed)
    assert changed.titles[5:] == ["Bare", "Bare"] and changed.ranking.categories[5:] == [(), ()]
    assert np.isnan(changed.ranking.years[5:]).all()

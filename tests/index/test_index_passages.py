"""Passages and the evidence store, on a corpus small enough to count by hand."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError, DataError
from llm4rec.index.config import IndexConfig
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.facts import display_titles, item_prices, item_years
from llm4rec.index.flat import build_flat, write_flat
from llm4rec.index.neighbours import liked_together
from llm4rec.index.passages import Passage, build_passages
from llm4rec.schema import TEST, TRAIN, VALID, Corpus, Interactions

CONFIG = IndexConfig(min_support=2, num_neighbours=2, min_cosine=0.1)

# user, item, value, split: users 0-2 like items 0 and 1; user 3 likes item 0 and dislikes item 2; item 3 is unseen.
TRAINING = [(0, 0, 5), (0, 1, 5), (1, 0, 4), (1, 1, 4), (2, 0, 5), (2, 1, 4), (3, 0, 4), (3, 2, 1)]
HELD_OUT = [(0, 2, 5, VALID), (1, 2, 5, VALID), (0, 3, 5, TEST), (1, 3, 5, TEST)]


def make_corpus(rows):
    rows = sorted(rows)
    user, item, value, split = (np.array(column) for column in zip(*rows, strict=True))
    interactions = Interactions(
        user.astype(np.int32),
        item.astype(np.int32),
        np.arange(len(rows)),
        value.astype(np.float32),
        np.zeros(len(rows), np.int32),
        split.astype(np.int32),
    )
    items = pa.table(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["Alien", 'The "Big" One', "Cold (1950)", "Dusk"],
            "categories": pa.array([["Horror", "Sci-Fi"], ["Drama"], [], None], pa.list_(pa.string())),
            "numbers": [{"year": 1979.0}, {"year": 1990.0}, {"year": None}, None],
        }
    )
    return Corpus(interactions, items, pa.table({"user_id": ["u", "v", "w", "x"]}), ("rating",), 3)


LETTERS = ["a", "b", "c", "d"]
CORPUS = make_corpus([(*row, TRAIN) for row in TRAINING] + HELD_OUT)


def texts(passages):
    return {passage.passage_id: passage.text for passage in passages}


def test_passages_say_what_the_training_part_says():
    assert texts(build_passages(CORPUS, CONFIG)) == {
        "facts:a": '"Alien (1979)" is filed under Horror and Sci-Fi.',
        "popularity:a": '"Alien (1979)": rated by 4 people, 4.5 on average.',
        "similar_users:a": 'People who liked "Alien (1979)" also liked "The \'Big\' One (1990)".',
        "facts:b": "\"The 'Big' One (1990)\" is filed under Drama.",
        "popularity:b": "\"The 'Big' One (1990)\": rated by 3 people, 4.3 on average.",
        "similar_users:b": 'People who liked "The \'Big\' One (1990)" also liked "Alien (1979)".',
        "facts:c": 'The title is "Cold (1950)".',
        "popularity:c": '"Cold (1950)": rated by 1 person, 1.0 on average.',
        "facts:d": 'The title is "Dusk".',
    }


def test_subjects_are_the_other_items_named():
    subjects = {p.passage_id: p.subjects for p in build_passages(CORPUS, CONFIG)}
    assert subjects["similar_users:a"] == ('The "Big" One (1990)',)
    assert subjects["facts:a"] == subjects["popularity:a"] == ()


def test_nothing_of_the_held_out_parts_enters():
    assert build_passages(CORPUS, CONFIG) == build_passages(make_corpus([(*r, TRAIN) for r in TRAINING]), CONFIG)
    leaked = dataclasses.replace(
        CORPUS, interactions=dataclasses.replace(CORPUS.interactions, split=np.zeros(12, np.int32))
    )
    assert build_passages(leaked, CONFIG) != build_passages(CORPUS, CONFIG)


def test_values_that_do_not_vary_are_not_averaged():
    passages = texts(build_passages(make_corpus([(0, 0, 1, TRAIN), (1, 0, 1, TRAIN)]), CONFIG))
    assert passages["popularity:a"] == '"Alien (1979)": chosen by 2 people.'


def test_who_comes_back_is_one_person():
    again = [(0, 0, 1, TRAIN)] * 50 + [(1, 0, 1, TRAIN)]
    assert texts(build_passages(make_corpus(again), CONFIG))["popularity:a"] == '"Alien (1979)": chosen by 2 people.'
    rated = [(0, 0, 5, TRAIN), (0, 0, 2, TRAIN), (1, 0, 5, TRAIN)]
    mean = texts(build_passages(make_corpus(rated), CONFIG))["popularity:a"]
    assert mean == '"Alien (1979)": rated by 2 people, 4.0 on average.'


def test_similarity_is_the_cosine_of_the_sets_of_likers():
    # Likers: a = {0, 1, 2, 3}, b = {0, 1, 2}; cosine = 3 / sqrt(12) = 0.866.
    train = CORPUS.part(TRAIN)
    strict = CONFIG.model_copy(update={"min_cosine": 0.87})
    assert [n.tolist() for n in liked_together(train, 4, LETTERS, CONFIG)] == [[1], [0], [], []]
    assert [n.tolist() for n in liked_together(train, 4, LETTERS, strict)] == [[], [], [], []]
    rare = CONFIG.model_copy(update={"min_support": 4})
    assert not any(len(n) for n in liked_together(train, 4, LETTERS, rare))


def test_neighbours_are_ordered_and_limited_and_count_a_user_once():
    # Everybody likes 0, three like 1, two like 2; user 0 likes item 2 twice.
    rows = [(u, 0, 1, TRAIN) for u in range(4)] + [(u, 1, 1, TRAIN) for u in range(3)]
    rows += [(0, 2, 1, TRAIN), (0, 2, 1, TRAIN), (1, 2, 1, TRAIN)]
    found = liked_together(make_corpus(rows).part(TRAIN), 4, LETTERS, CONFIG)
    assert found[0].tolist() == [1, 2]
    assert found[2].tolist() == [1, 0]  # 2/sqrt(6) before 2/sqrt(8)
    one = liked_together(make_corpus(rows).part(TRAIN), 4, LETTERS, CONFIG.model_copy(update={"num_neighbours": 1}))
    assert one[2].tolist() == [1]


def test_of_one_thing_that_is_there_twice_nothing_is_said_twice():
    # Everybody likes everything: 0 and 2 are the same film, and so are 1 and 3.
    train = make_corpus([(u, i, 1, TRAIN) for u in range(4) for i in range(4)]).part(TRAIN)
    found = liked_together(train, 4, ["Alien", "Heat", "Alien", "Heat"], CONFIG)
    assert [n.tolist() for n in found] == [[1], [0], [1], [0]]
    one = liked_together(train, 4, ["Alien", "Heat", "Alien", "M"], CONFIG.model_copy(update={"num_neighbours": 1}))
    assert [n.tolist() for n in one] == [[1], [0], [1], [0]]


def test_years_come_from_numbers_or_title():
    assert item_years(CORPUS.items).tolist()[:3] == [1979, 1990, 1950]
    assert np.isnan(item_years(CORPUS.items)[3])
    pairs = pa.array([[("year", 1999.0)]], pa.map_(pa.string(), pa.float64()))
    assert display_titles(pa.table({"title": ["M"], "numbers": pairs})) == ["M (1999)"]


@pytest.mark.parametrize("number", [1e39, -1e39, 1e300, -1.0, 10_000.0])
def test_a_number_that_is_no_year_is_none(number):
    items = pa.table({"title": ["M", "M (1931)"], "numbers": [{"year": number, "price": number}] * 2})
    assert display_titles(items) == ["M", "M (1931)"]
    assert np.isnan(item_years(items)[0]) and item_years(items)[1] == 1931
    assert np.isnan(item_prices(items)).all() == (abs(number) > 1e38)


def test_very_long_titles_are_cut():
    items = pa.table({"title": ["x" * 50_000], "numbers": [{"year": 1999.0}]})
    assert display_titles(items) == ["x" * 110 + "... (1999)"]


PASSAGES = [
    Passage("facts:b", 1, "facts", "b is", ()),
    Passage("facts:a", 0, "facts", "a is", ()),
    Passage("similar_users:a", 0, "similar_users", "a and b", ("b",)),
]
VECTORS = np.array([[0, 5], [3, 0], [1, 1]], np.float32)


def test_retrieval_is_by_cosine_among_the_items_asked_for():
    store = EvidenceStore.build(PASSAGES, VECTORS)
    found = store.retrieve(np.array([0, 2], np.float32), [0], 5)
    assert [evidence.passage for evidence in found] == [PASSAGES[2], PASSAGES[1]]
    assert [evidence.score for evidence in found] == pytest.approx([0.5**0.5, 0.0])
    assert [e.passage for e in store.retrieve(np.array([0, 2], np.float32), [1, 0, 1], 1)] == [PASSAGES[0]]
    assert store.retrieve(np.array([0, 2], np.float32), [7], 3) == []
    assert store.retrieve(np.array([0, 2], np.float32), [], 3) == []
    assert store.about(0) == PASSAGES[1:]


def test_unusable_retrievals_are_refused():
    store = EvidenceStore.build(PASSAGES, VECTORS)
    with pytest.raises(DataError, match="width"):
        store.retrieve(np.zeros(3, np.float32), [0], 1)
    with pytest.raises(DataError, match="top_n"):
        store.retrieve(np.zeros(2, np.float32), [0], 0)
    with pytest.raises(DataError, match="2 vectors"):
        EvidenceStore.build(PASSAGES, VECTORS[:2])


def test_a_store_comes_back_as_it_was_written(tmp_path):
    runs = RunStore(str(tmp_path))
    with runs.write("index", {}) as writer:
        EvidenceStore.build(PASSAGES, VECTORS).write(writer)
    store = EvidenceStore.read(runs.open("index"), width=2)
    assert store.passages == PASSAGES
    query = np.array([1, 0], np.float32)
    assert store.retrieve(query, [0, 1], 3) == EvidenceStore.build(PASSAGES, VECTORS).retrieve(query, [0, 1], 3)
    with pytest.raises(ArtifactError, match="expected 384"):
        EvidenceStore.read(runs.open("index"), width=384)


def test_a_store_with_too_few_vectors_is_refused(tmp_path):
    runs = RunStore(str(tmp_path))
    with runs.write("index", {}) as writer:
        EvidenceStore.build(PASSAGES, VECTORS).write(writer)
        write_flat(writer, "evidence.faiss", build_flat(VECTORS[:2]))
    with pytest.raises(ArtifactError, match="holds 2 vectors, expected 3"):
        EvidenceStore.read(runs.open("index"))

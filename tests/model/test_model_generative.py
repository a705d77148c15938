"""The head that writes semantic ids: valid whatever happens, exact by hand, and close to the scores it learns from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError, DataError
from llm4rec.model.generative import GenerativeHead, IdGenerator, learn_generator
from llm4rec.schema import FloatMatrix
from llm4rec.semantic_ids import GenerativeConfig, SemanticIds

NUM_ITEMS, WIDTH, TAU = 40, 8, 0.1
SMALL = GenerativeConfig(levels=2, codebook_size=4, hidden_size=16, steps=300)


def unit(rng: np.random.Generator, count: int) -> FloatMatrix:
    vectors = rng.normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit(np.random.default_rng(0), NUM_ITEMS)
STATES = unit(np.random.default_rng(1), 500)
EVERYTHING = np.ones(NUM_ITEMS, np.bool_)


def untrained() -> IdGenerator:
    torch.manual_seed(0)
    ids = SemanticIds.fit(VECTORS, 2, 4, seed=0)
    head = GenerativeHead(ids.centres, 16, TAU)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return IdGenerator(head, ids, VECTORS, NUM_ITEMS)


@pytest.fixture(scope="module")
def learned() -> IdGenerator:
    return learn_generator(STATES, VECTORS, TAU, SMALL, seed=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 499), st.lists(st.integers(0, NUM_ITEMS - 1), max_size=NUM_ITEMS), st.integers(1, 50))
def test_only_eligible_items_of_the_catalogue_are_written_and_each_once(row, refused, beams):
    eligible = EVERYTHING.copy()
    eligible[refused] = False
    found = untrained().write_ids(STATES[row], eligible, beams)
    assert eligible[found.items].all()
    assert len(set(found.items.tolist())) == len(found.items) == min(beams, eligible.sum())
    assert (np.diff(found.log_probability) <= 0).all()


def test_probabilities_of_all_items_are_one_together():
    found = untrained().write_ids(STATES[0], EVERYTHING, NUM_ITEMS)
    assert sorted(found.items.tolist()) == list(range(NUM_ITEMS))
    assert np.exp(found.log_probability.astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)


def test_the_probability_of_an_item_is_the_product_of_its_codes_chances():
    generator, state = untrained(), STATES[3]
    found = generator.write_ids(state, EVERYTHING, NUM_ITEMS)
    codes, head, h = generator.ids.codes, generator.head, torch.from_numpy(state)
    for item, log_probability in zip(found.items[:8], found.log_probability[:8], strict=True):
        total = 0.0
        for level in range(2):
            alike = (codes[:, :level] == codes[item, :level]).all(axis=1)
            with torch.no_grad():
                begun = head.begun(torch.from_numpy(codes[item, :level]).long())
                logits = head(h, begun, level)[np.unique(codes[alike, level])]
                total += float(head(h, begun, level)[codes[item, level]] - logits.logsumexp(0))
        group = (codes[:, :2] == codes[item, :2]).all(axis=1)
        scores = VECTORS @ state / TAU
        total += scores[item] - np.log(np.exp(scores[group]).sum())
        assert log_probability == pytest.approx(total, abs=1e-4)


def test_nothing_eligible_gives_nothing():
    found = untrained().write_ids(STATES[0], np.zeros(NUM_ITEMS, np.bool_), 5)
    assert len(found.items) == len(found.log_probability) == 0


def test_it_learns_the_order_of_scores(learned):
    shared, before = 0, 0
    for state in STATES[:50]:
        best = set(np.argsort(-(VECTORS @ state))[:5].tolist())
        shared += len(best & set(learned.write_ids(state, EVERYTHING, 10).items[:5].tolist()))
        before += len(best & set(untrained().write_ids(state, EVERYTHING, 10).items[:5].tolist()))
    assert shared > 0.7 * 250 > before


def test_a_new_item_is_written_without_training(learned):
    state = STATES[7]
    more = learned.put([NUM_ITEMS], state[None])
    assert more.num_items == NUM_ITEMS + 1
    assert NUM_ITEMS in more.write_ids(state, np.ones(NUM_ITEMS + 1, np.bool_), 10).items[:5]


def test_what_is_written_is_the_id_of_the_item():
    generator = untrained()
    found = generator.write_ids(STATES[0], EVERYTHING, 15)
    np.testing.assert_array_equal(found.codes, generator.ids.codes[found.items])


def test_a_replaced_item_keeps_its_id_and_is_found_by_its_new_vector():
    before = untrained()
    after = before.put([3], STATES[:1])
    np.testing.assert_array_equal(after.ids.codes, before.ids.codes)
    chance = {}
    for name, generator in (("before", before), ("after", after)):
        found = generator.write_ids(STATES[0], EVERYTHING, NUM_ITEMS)
        chance[name] = found.log_probability[found.items.tolist().index(3)]
    assert chance["after"] > chance["before"]


def test_the_same_seed_learns_the_same(learned):
    again = learn_generator(STATES, VECTORS, TAU, SMALL, seed=0)
    for one, other in zip(learned.head.parameters(), again.head.parameters(), strict=True):
        assert torch.equal(one, other)


def test_wrong_shapes_are_told():
    with pytest.raises(DataError, match=r"must have shapes \(8,\) and \(40,\), got \(8,\) and \(39,\)"):
        untrained().write_ids(STATES[0], EVERYTHING[1:], 5)


def test_reads_back_what_was_written(tmp_path: Path, learned):
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        learned.write(writer)
    found = IdGenerator.read(store.open("index"), VECTORS, TAU).write_ids(STATES[0], EVERYTHING, 10)
    np.testing.assert_array_equal(found.items, learned.write_ids(STATES[0], EVERYTHING, 10).items)
    with pytest.raises(ArtifactError, match=r"40 semantic ids for 39 items; run jobs/index\.py again"):
        IdGenerator.read(store.open("index"), VECTORS[1:], TAU)


def test_an_index_without_a_head_says_what_to_do(tmp_path: Path):
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        writer.write_json("other.json", {})
    with pytest.raises(ArtifactError, match=r"no generative head; run jobs/index\.py again"):
        IdGenerator.read(store.open("index"), VECTORS, TAU)

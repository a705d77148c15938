"""What a snapshot scores with: the network and, where its gate is open, the linear model."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from llm4rec.cluster.snapshot import Snapshot, narrow_by
from llm4rec.model.generative import GenerativeHead, IdGenerator
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.gate import Gate, Linear
from llm4rec.semantic_ids import SemanticIds
from tests.corpora import history


def test_logits_are_of_the_network_where_the_gate_is_shut(snapshot: Snapshot) -> None:
    state = snapshot.index.vectors[:1]
    temperature = snapshot.scorer.model.config.temperature
    found = snapshot.logits(state, snapshot.index.vectors, [history(0)])
    np.testing.assert_allclose(found, state @ snapshot.index.vectors.T / temperature, rtol=1e-5)


def test_an_open_gate_lets_the_linear_model_turn_an_order_round(snapshot: Snapshot) -> None:
    weights = np.zeros((4, 4), np.float32)
    state, past = snapshot.index.vectors[:1], [history(3)]
    before = snapshot.logits(state, snapshot.index.vectors, past)[0]
    worst = int(before[:3].argmin())
    weights[3, worst] = 1.0
    gate = Gate(1.0, 1000.0, Linear(csr_matrix(weights), 1.0), 0.1)
    after = replace(snapshot, gate=gate).logits(state, snapshot.index.vectors, past)[0]
    assert after.argmax() == worst
    assert after[worst] == pytest.approx(before[worst] + 1000)
    np.testing.assert_allclose(np.delete(after, worst), np.delete(before, worst), rtol=1e-5)


def test_only_semantic_ids_narrow(snapshot: Snapshot) -> None:
    vectors = snapshot.index.vectors
    ids = SemanticIds.fit(vectors, 1, 3, seed=0)
    generator = IdGenerator(GenerativeHead(ids.centres, 8, 0.1), ids, vectors, len(vectors))
    eligible = np.array([True, False, True, True, True])
    assert narrow_by(generator, vectors[0], RecommendConfig()) is None
    narrow = narrow_by(generator, vectors[0], RecommendConfig(candidates_from="semantic_ids", beams=1))
    assert narrow is not None
    assert len(narrow(eligible, 1)) == 1 and eligible[narrow(eligible, 1)].all()
    found = narrow(eligible, 3).tolist()
    assert len(set(found)) == 3 and 1 not in found

"""Variants of a run's model in its report: which there are, and what each is compared with."""

from copy import copy
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from llm4rec.cluster.ablation import Ablations
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import Labels
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer, rank
from llm4rec.evaluate.report import OURS, Ablation
from llm4rec.evaluate.result import ModelResult, measure
from llm4rec.model.repair import Repair
from llm4rec.recommend.gate import Gate, Gated, Linear
from llm4rec.recommend.prices import Prices
from llm4rec.recommend.scorers import OfStates
from llm4rec.schema import TEST

CONFIG = EvaluateConfig(top_n=2, bootstrap_samples=10, min_group_size=1)
GROUPS = {"gender": np.array(["F", "M"]), "age": np.array(["20", "20"])}
GAPS = {f"{gap}@2{of}" for gap in ("dp_gap", "eo_gap") for of in ("", "/gender", "/age")}


def variants(snapshot: Snapshot, groups: dict[str, Labels]) -> tuple[ModelResult, dict[str, Ablation]]:
    rows = EvaluationSet.build(snapshot.corpus, TEST)
    states = snapshot.scorer.user_states(rows.users, rows.histories)
    network: Scorer = OfStates.of(states, snapshot.scorer, rows)
    ours = Gated(network, snapshot.gate)
    whole = measure(OURS, rank(ours, rows, CONFIG), snapshot.corpus, CONFIG, seconds=1.0)
    return whole, Ablations(snapshot, rows, CONFIG, groups).run(whole, ours, network)


def free(snapshot: Snapshot) -> Snapshot:
    """The same with nothing to pay."""
    return replace(snapshot, prices=Prices(np.zeros_like(snapshot.prices.price), {}))


def test_nothing_to_change_is_no_variant(snapshot: Snapshot) -> None:
    assert variants(free(snapshot), GROUPS)[1] == {}


def test_debiased_slates_are_beside_the_model_as_it_is(snapshot: Snapshot) -> None:
    whole, found = variants(snapshot, GROUPS)
    assert list(found) == ["debias 0", "debias 0.5", "debias 1"]
    assert found.pop("debias 0") == Ablation(whole, None)
    for variant in found.values():
        assert variant.unchanged is whole
        assert set(variant.result.overall) >= GAPS and "ild@2" in variant.result.per_user
        assert not [name for name in variant.result.overall if name.startswith("attacker")]


def test_without_text_and_groups_there_are_the_other_figures(snapshot: Snapshot) -> None:
    features = {name: modality for name, modality in snapshot.features.items() if name != "text"}
    _, found = variants(replace(snapshot, features=features), {})
    result = found["debias 1"].result
    assert "ild@2" not in result.per_user and not GAPS & set(result.overall)
    assert {"ndcg@2", "mrr"} <= set(result.per_user)


def test_a_gate_that_hears_something_is_taken_away(snapshot: Snapshot) -> None:
    weights = np.zeros((snapshot.corpus.num_warm_items,) * 2, np.float32)
    weights[:, 3] = 99.0  # user 0's next item goes with everything
    gated = replace(free(snapshot), gate=Gate(1.0, 1.0, Linear(csr_matrix(weights), 1.0), 0.0))
    whole, found = variants(gated, GROUPS)
    assert list(found) == ["network alone"] and found["network alone"].unchanged is whole
    _, alone = variants(snapshot, GROUPS)
    unheard = alone["debias 0"].result.per_user["ndcg@2"]
    assert found["network alone"].result.per_user["ndcg@2"].tolist() == unheard.tolist()
    assert whole.per_user["ndcg@2"][0] == 1


def test_repairs_are_beside_the_states_as_they_are(snapshot: Snapshot) -> None:
    scorer = copy(snapshot.scorer)
    names = scorer.model.shape.attributes.names
    codes = scorer.attributes[:, [names.index("gender")]]
    scorer.repaired = [names.index("gender")]
    scorer.repair = Repair.fit(snapshot.states, codes, [4], 1.0)
    _, found = variants(replace(free(snapshot), scorer=scorer), GROUPS)
    assert list(found) == [f"repair {strength:g}" for strength in (0, 0.25, 0.5, 0.75, 1)]
    before = found["repair 0"]
    assert before.unchanged is None
    assert all(found[name].unchanged is before.result for name in list(found)[1:])
    assert all(set(variant.result.overall) >= GAPS for variant in found.values())
    assert variants(replace(free(snapshot), scorer=scorer), {"age": GROUPS["age"]})[1] == {}

"""metrics.json keeps its contract; the page shows what it was given, escaped, and nothing else."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from llm4rec.errors import Llm4RecError
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.extras import ExampleSlate, ReportExtras
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import RankedLists
from llm4rec.evaluate.report import Ablation, build_metrics, render_html, slice_results
from llm4rec.evaluate.result import measure

CONFIG = EvaluateConfig(top_n=3, bootstrap_samples=100, min_group_size=1, popular_share=0.4)
VECTORS = np.eye(6, dtype=np.float32)
FUSION = {
    "all items": {
        "all items": {
            "items": 1234,
            "weights": {"<i>text</i>": 0.75, "image": None},
            "coverage": {"<i>text</i>": 0.875, "image": 0},
        }
    }
}
CAUSAL = {
    "warnings": ["the <u>log</u> is short"],
    "popularity_effect": {"by_group": {"gender": [{"group": "<F>", "effect": 0.1, "ci95": [0.0, 0.2]}]}},
    "exposure_effect": {
        "treatment": "event 'top'",
        "overlap": {"share": 0.8, "histogram": {"edges": [0, 0.5, 1], "exposed": [0.2, 0.8], "others": [0.7, 0.3]}},
        "balance": [{"covariate": "<i>age</i>", "raw": 0.4, "weighted": 0.02}],
    },
}
GROUPS = {"gender": np.array(["F", "M"])}
VOID = {"meta", "path", "use", "br", "img", "link", "rect", "circle", "line"}


def result(corpus, name, ranks, slates=((4, 3, 2), (0, 1, 2)), **options):
    slates = np.array(slates, np.int32)
    ranked = RankedLists(np.array(ranks, np.int32), slates, np.zeros(slates.shape, np.float32))
    return measure(name, ranked, corpus, CONFIG, seconds=1.234, **options)


@pytest.fixture(scope="module")
def results(corpus):
    rich = {"text_vectors": VECTORS, "groups": GROUPS}
    return [result(corpus, "popular", [2, 3], **rich), result(corpus, "llm4rec", [0, 1], **rich)]


@pytest.fixture(scope="module")
def metrics(corpus, results):
    return build_metrics(results, EvaluationSet.build(corpus), CONFIG, split="leave_one_out", fusion=FUSION)


def test_metrics_by_hand(metrics):
    ours = metrics["models"]["llm4rec"]
    assert ours["ndcg@3"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert ours["hr@3"] == 1
    assert ours["mrr"] == pytest.approx(0.75)
    # Training interactions: item 0 two, item 1 two, the rest none.
    assert ours["arp@3"] == pytest.approx((0 + 4 / 3) / 2)
    assert ours["coverage@3"] == 1
    assert ours["ild@3"] == pytest.approx(1)
    discount = 1 / np.log2(3)
    exposure = (1 + discount) / (1.5 + discount)  # of items 0 and 1 in the second slate, of nobody in the first
    assert ours["dp_gap@3"] == pytest.approx(exposure / 2)
    assert ours["dp_gap@3/gender"] == ours["dp_gap@3"]
    assert ours["seconds"] == 1.23


def test_metrics_json_has_the_published_keys(metrics, corpus):
    assert list(metrics) == ["protocol", "split_hash", "models", "ablations", "significance", "fusion"]
    assert metrics["split_hash"] == EvaluationSet.build(corpus).split_hash
    for figures in metrics["models"].values():
        for name in ("ndcg@3", "hr@3", "mrr", "coverage@3", "gini@3", "arp@3", "ild@3", "dp_gap@3", "novelty@3"):
            assert isinstance(figures[name], float)
        low, high = figures["ci95"]["ndcg@3"]
        assert low <= figures["ndcg@3"] <= high
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_significance_compares_ours_with_the_rest(metrics):
    row = metrics["significance"]["against"]["popular"]
    assert row["difference"] == pytest.approx((1 + 1 / np.log2(3)) / 2 - 0.25)
    assert 0 < row["p"] <= row["p_holm"] <= 1


def test_without_our_model_nothing_is_compared(corpus):
    built = build_metrics([result(corpus, "popular", [0, 1])], EvaluationSet.build(corpus), CONFIG, split="temporal")
    assert built["significance"] == {}
    assert not {"ild@3", "dp_gap@3"} & set(built["models"]["popular"])
    assert "How far ahead" not in render_html(built, ReportExtras())


def test_undefined_diversity_is_left_out(corpus):
    nothing = result(corpus, "llm4rec", [0, 1], text_vectors=np.zeros((6, 2), np.float32))
    built = build_metrics([nothing], EvaluationSet.build(corpus), CONFIG, split="temporal")
    assert "ild@3" not in built["models"]["llm4rec"]
    json.dumps(built, allow_nan=False)


def test_two_models_of_one_name_are_refused(corpus, results):
    with pytest.raises(Llm4RecError, match="own name"):
        build_metrics([results[0], results[0]], EvaluationSet.build(corpus), CONFIG, split="temporal")


SECTIONS = ["Learning curve", "By popularity", "By user group", "Causal effects", "fusion listens to", "Example slates"]


def full_extras(results) -> ReportExtras:
    sliced = slice_results(results, np.array(["popular", "tail"]), "ndcg@3")
    return ReportExtras(
        learning_curve=[{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "ndcg@3": 0.1}],
        popularity_slices=sliced,
        group_slices={"gender": sliced},
        causal=CAUSAL,
        effects={"exposure of $5 <b>items</b>": {"effect": 0.25, "ci95": [0.125, 0.375]}},
        slates=[
            ExampleSlate("u<0>", ["Alpha"], [("Beta & <script>alert(1)</script>", "You had Alpha."), ("Gamma", "")])
        ],
    )


class Balance(HTMLParser):
    """Checks that every tag that opens also closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(metrics, results):
    return render_html(metrics, full_extras(results))


def test_page_shows_every_section(page, metrics):
    for section in SECTIONS:
        assert section in page
    for text in ("llm4rec", "popular", metrics["split_hash"], "+0.2500", "+0.1250 to +0.3750", "You had Alpha."):
        assert text in page
    for text in ("1,234", "0.750", "88 %", "&ndash;"):
        assert text in page
    for text in ("event &#39;top&#39;", "the &lt;u&gt;log&lt;/u&gt; is short", "80 %"):
        assert text in page
    assert page.count("<svg") == 10
    balance = Balance()
    balance.feed(page)
    assert balance.open == []


def test_page_escapes_what_it_was_given_and_loads_nothing(page):
    balance = Balance()
    balance.feed(page)
    assert "script" not in balance.tags
    assert "<b>items</b>" not in page and "<i>text</i>" not in page
    assert "Beta &amp; &lt;script&gt;" in page
    assert not {"link", "img", "iframe"} & balance.tags
    assert "src=" not in page


def test_the_verdict_names_who_is_nearest_and_whether_it_may_be_chance(metrics):
    def verdict(**against) -> str:
        rows = {name: {"difference": d, "ci95": [d, d], "p": p, "p_holm": p} for name, (d, p) in against.items()}
        given = metrics | {"significance": metrics["significance"] | {"against": rows}}
        return " ".join(render_html(given, ReportExtras()).split())

    ahead = verdict(far=(0.2, 0.01), near=(0.05, 0.03))
    assert "ahead of every other model, of the next, near, by 0.0500 of ndcg@3 (more than chance explains" in ahead
    behind = verdict(far=(0.2, 0.01), near=(-0.05, 0.4))
    assert "is not the first: near is ahead of it by 0.0500 of ndcg@3 (which may be chance: p = 0.400)" in behind


def test_sections_without_data_are_left_out(metrics):
    page = render_html(metrics | {"fusion": {}}, ReportExtras(title="Mine"))
    assert "<h1>Mine</h1>" in page
    assert not [section for section in SECTIONS if section in page]
    assert page.count("<svg") == 2


def test_same_input_same_page(page, metrics, results):
    assert render_html(metrics, full_extras(results)) == page


def test_a_log_that_could_answer_nothing_shows_its_warnings(metrics):
    causal = {"warnings": ["the outcome is constant"], "popularity_effect": None, "exposure_effect": None}
    page = render_html(metrics, ReportExtras(causal=causal))
    assert "the outcome is constant" in page and "Overlap" not in page and "Balance" not in page


def test_the_sweep_over_debias_is_drawn(metrics):
    sweep = {f"debias {x}": {"ndcg@3": 0.1 - x / 100, "arp@3": 9.0 - x} for x in (0, 1)}
    page = render_html(metrics | {"ablations": sweep}, ReportExtras())
    assert "Before and after" in page and "debias 1" in page


def test_ablations_are_shown(metrics):
    page = render_html(metrics | {"ablations": {"without text": {"ndcg@3": 0.1234}}}, ReportExtras())
    assert "without text" in page
    assert "0.1234" in page


def test_a_change_is_beside_what_was_without_it(corpus, results):
    whole, changed = results[1], result(corpus, "llm4rec", [1, 1])
    ablations = {"debias 0": Ablation(whole, None), "debias 1": Ablation(changed, whole)}
    metrics = build_metrics(results, EvaluationSet.build(corpus), CONFIG, split="leave_one_out", ablations=ablations)
    found, second = metrics["ablations"], 1 / np.log2(3)
    assert "change" not in found["debias 0"] and found["debias 0"]["ild@3"] == pytest.approx(1)
    assert found["debias 1"]["ndcg@3"] == pytest.approx(second)  # first and second place before, both second now
    change = found["debias 1"]["change"]
    assert change["difference"] == pytest.approx((second - 1) / 2)
    assert change["ci95"] == pytest.approx([second - 1, 0])
    page = render_html(metrics, ReportExtras())
    assert f"{(second - 1) / 2:+.4f}" in page and f"{second - 1:+.4f} to +0.0000" in page
    json.dumps(metrics, allow_nan=False)


def test_a_figure_that_nobody_has_is_left_out_of_ablations_too(corpus, results):
    blind = {"text_vectors": np.zeros_like(VECTORS)}
    unknown = result(corpus, "llm4rec", [0, 1], **blind)
    ablations = {"network alone": Ablation(unknown, None)}
    metrics = build_metrics(results, EvaluationSet.build(corpus), CONFIG, split="leave_one_out", ablations=ablations)
    assert np.isnan(unknown.per_user["ild@3"]).all() and "ild@3" not in metrics["ablations"]["network alone"]
    json.dumps(metrics, allow_nan=False)


def test_attackers_are_measured_where_there_are_states(corpus):
    assert not [name for name in result(corpus, "popular", [2, 3], groups=GROUPS).overall if "attacker" in name]
    labels = np.array(["F", "M"] * 20)
    states = np.where(labels[:, None] == "F", 1.0, -1.0) + np.random.default_rng(0).normal(0, 0.1, (40, 3))
    told = result(
        corpus, "llm4rec", [0] * 40, [(4, 3, 2)] * 40, groups={"gender": labels}, states=states.astype(np.float32)
    )
    assert told.overall["attacker_auc/gender"] == pytest.approx(1.0)
    shown = {"groups": {"gender": labels, "age": labels}, "states": states.astype(np.float32)}
    told = result(corpus, "llm4rec", [0] * 40, [(4, 3, 2)] * 40, **shown, attacked=["age"])
    assert [name for name in told.overall if "attacker" in name] == ["attacker_auc/age"]
    assert "dp_gap@3/gender" in told.overall


def test_the_sweeps_are_drawn(metrics, results):
    accuracy, popularity, gap = {"ndcg@3": 0.5}, {"arp@3": 2.0}, {"dp_gap@3": 0.1, "attacker_auc/<gender>": 0.7}
    sweeps = {f"debias {strength}": accuracy | popularity for strength in (0, 1)}
    sweeps |= {f"repair {strength}": accuracy | gap for strength in (0, 1)}
    page = render_html({**metrics, "ablations": sweeps}, ReportExtras(causal=CAUSAL))
    assert "Before and after" in page
    assert "Accuracy against parity" in page
    assert "<gender>" not in page
    bare = render_html({**metrics, "ablations": {"repair 0": accuracy | gap}}, ReportExtras(causal=CAUSAL))
    assert "Accuracy against parity" not in bare

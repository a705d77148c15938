"""Whether reasons are true, varied and faithful: 500 of them, by the fine-tuned language model, on ml-1m-seq.

    python benchmarks/explanations.py    # after quality.py has trained llm4rec on ml-1m-seq; half an hour of two cores

The network that quality.py trained with seed 0, its gate shut. Users are drawn evenly; each gets a reason for one of
his ten best items, the first, second, ... in turn, among those he has not seen. Evidence is of the train split.

Grounding: `audit.py` takes each reason apart into claims (deeds of the user, categories, what others liked, counts,
and every word that is none of these nor says nothing) and looks each up in the log and the catalogue, without the
product's own check or evidence store.
`grounding_precision` is of what is shown, `unchecked` of what the model wrote before the check. USR is the share of
different sentences. FMR is the share of reasons that name the item's category which the user's liked items have most
often relative to the catalogue; coverage is the share of the catalogue's categories that some reason names, diversity
is the mean number of categories that two reasons have in common (lower is more varied). The best published PEPLER run
has FMR .077 and USR .287, on reviews of Yelp, so on other data with other features. Faithfulness: how much the item's
score falls without the history items that the reason cites, against as many by chance (mean of 5 draws). Swapping:
whether the user's next best item gets another sentence. `compared` is the same model in float32 with transformers.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audit import Audit, Claim
from measure import HOME, revision, store
from offline_runs import arguments, read_run, trained
from quality_runs import found_best, new_job
from trials import OURS

from llm4rec.artifacts import RunStore
from llm4rec.cluster.explainer import learn_explainer
from llm4rec.cluster.grounding import Described, Grounding
from llm4rec.encode.text import TextEncoder
from llm4rec.evaluate.bootstrap import confidence_interval, paired_p_value
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.clean import clean_title
from llm4rec.explain.config import ExplainConfig, TuneConfig
from llm4rec.explain.engine import load_generator
from llm4rec.explain.grounds import Grounds, choose_anchors
from llm4rec.explain.prompt import build_tuned_prompt
from llm4rec.explain.reason import Reason, explain
from llm4rec.explain.tune import Adapter
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.passages import build_passages
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TEST, TEXT, Corpus, FloatVector, History

TABLE, COUNT, COMPARED, DRAWS, SAMPLES = "ml-1m-seq", 500, 200, 5, 10_000
CONFIG = ExplainConfig(tune=TuneConfig())
FOREVER = 1e9


@dataclass(frozen=True)
class Case:
    """A user and an item to be explained to him."""

    history: History
    attributes: np.ndarray
    state: FloatVector
    item: int
    other: int
    cited: list[int]
    grounds: Grounds
    other_grounds: Grounds


def main() -> None:
    """Fine-tune, write, look everything up, and store what came out."""
    options = arguments(__doc__, [OURS])
    began = time.monotonic()
    torch.set_num_threads(os.cpu_count() or 1)
    job = new_job(TABLE, OURS, found_best(TABLE, OURS), 0, options)
    corpus, features = read_run(job.run)
    scorer = trained(job, corpus, features)
    passages = build_passages(corpus, job.config.index)
    vectors = TextEncoder(job.config.encode).encode([passage.text for passage in passages])
    items = Described.of(corpus, scorer.item_vectors.float().cpu().numpy(), features[TEXT].vectors)
    grounding = Grounding(EvidenceStore.build(passages, vectors), items, CONFIG)
    print(f"evidence: {time.monotonic() - began:.0f} s", flush=True)
    adapter = learned(
        options.work / f"explainer-{job.training}-{revision(HOME)[:12]}",
        lambda: learn_explainer(scorer, corpus, grounding, items, CONFIG, 0, print),
    )
    cases = cases_of(scorer, corpus, grounding, items)
    audit = Audit(corpus, job.config.index)
    generator = load_generator(CONFIG, adapter, torch.get_num_threads())
    shown, raw = written(generator, [case.grounds for case in cases], items)
    swapped, _ = written(generator, [case.other_grounds for case in cases], items)
    figures = measured(cases, shown, audit, items)
    figures |= {"unchecked": precision(audit_all(audit, cases, raw))}
    figures["changed_by_swap"] = float(np.mean([a.text != b.text for a, b in zip(shown, swapped, strict=True)]))
    figures |= faithfulness(scorer, cases, shown, items)
    figures |= planted()
    precise = load_generator(
        CONFIG.model_copy(update={"engine": "transformers", "precision": "fp32"}), adapter, torch.get_num_threads()
    )
    floats, _ = written(precise, [case.grounds for case in cases[:COMPARED]], items)
    same = sum(a.text == b.text for a, b in zip(shown, floats, strict=False))
    figures["compared"] = {
        "reasons": COMPARED,
        "same_text": same / COMPARED,
        "ours": measured(cases[:COMPARED], shown[:COMPARED], audit, items),
        "float32": measured(cases[:COMPARED], floats, audit, items),
    }
    figures["examples"] = [reason.text for reason in shown[:10]]
    store("explanations", figures, time.monotonic() - began, [0])


def learned(folder: Path, learn: Callable[[], Adapter]) -> Adapter:
    """The adapters of one network and one revision, kept between calls."""
    store = RunStore(str(folder))
    if store.find("index", {}) is None:
        with store.write("index", {}) as writer:
            learn().write(writer)
    return Adapter.read(store.open("index"))


def cases_of(scorer: ModelScorer, corpus: Corpus, grounding: Grounding, items: Described) -> list[Case]:
    """Users drawn evenly, with one of their ten best items each and the one after it."""
    rows = EvaluationSet.successive(corpus, TEST)
    chosen = np.linspace(0, len(rows.users) - 1, COUNT).astype(int)
    cases = []
    for number, row in enumerate(chosen.tolist()):
        history, attributes = rows.histories[row], scorer.attributes[rows.users[row]]
        state = scorer.states([history], attributes[None])[0]
        scores = items.vectors[: corpus.num_warm_items] @ state
        scores[history.item] = -np.inf
        best = np.argsort(-scores, kind="stable")
        item, other = int(best[number % 10]), int(best[number % 10 + 1])
        grounds = [grounding.of(items, code, history, state) for code in (item, other)]
        cited = choose_anchors(item, history, items.vectors, items.titles, CONFIG.num_anchors)
        cases.append(Case(history, attributes, state, item, other, cited, *grounds))
    return cases


def written(generator: Any, grounds: Sequence[Grounds], items: Described) -> tuple[list[Reason], list[str | None]]:
    """What is shown, and what the model wrote."""
    texts: list[str | None] = []
    for start in range(0, len(grounds), CONFIG.batch_size):
        part = grounds[start : start + CONFIG.batch_size]
        texts += generator.write([build_tuned_prompt(one) for one in part], time.monotonic() + FOREVER)
        print(f"written: {len(texts)} of {len(grounds)}", flush=True)
    vocabulary = sorted({name for own in items.categories for name in own})

    class Known:
        def write(self, prompts: Sequence[object], deadline: float) -> list[str | None]:
            return texts

    return explain(grounds, Known(), time.monotonic() + FOREVER / 1000, vocabulary, build_tuned_prompt), texts


def measured(cases: Sequence[Case], shown: Sequence[Reason], audit: Audit, items: Described) -> dict[str, Any]:
    """Grounding, uniqueness and features of reasons."""
    claims = audit_all(audit, cases, [reason.text for reason in shown])
    named = [audit.categories_in(reason.text) for reason in shown]
    wanted = [audit.feature(case.history, case.item) for case in cases]
    pairs = [len(named[a] & named[b]) for a in range(len(named)) for b in range(a)]
    kinds = sorted({claim.kind for claim in claims})
    return {
        "reasons": len(shown),
        "grounding_precision": precision(claims),
        "claims": {kind: sum(claim.kind == kind for claim in claims) for kind in kinds},
        "out_of_catalogue": sum(not known for reason in shown for _, known in audit.titles_in(reason.text)),
        "usr": len({reason.text for reason in shown}) / len(shown),
        "fmr": float(np.mean([feature in own for feature, own in zip(wanted, named, strict=True) if feature])),
        "feature_coverage": len(set.union(*named)) / len({name for own in items.categories for name in own}),
        "feature_diversity": round(float(np.mean(pairs)), 4),
        "by_language_model": float(np.mean([reason.source == "llm" for reason in shown])),
    }


def audit_all(audit: Audit, cases: Sequence[Case], texts: Sequence[str | None]) -> list[Claim]:
    """All claims of all texts."""
    return [
        claim
        for case, text in zip(cases, texts, strict=True)
        if text is not None
        for claim in audit.claims(text, case.item, case.history)
    ]


def precision(claims: Sequence[Claim]) -> float:
    """Share of the claims that are true."""
    return round(float(np.mean([claim.true for claim in claims])), 4)


def faithfulness(
    scorer: ModelScorer, cases: Sequence[Case], shown: Sequence[Reason], items: Described
) -> dict[str, Any]:
    """What the history items that a reason names count for the score, against others by chance, in logits."""
    rng = np.random.default_rng(0)
    cited_fall, other_fall = [], []
    for case, reason in zip(cases, shown, strict=True):
        cited = [
            place
            for place, item in enumerate(case.history.item.tolist())
            if item in case.cited and f'"{clean_title(items.titles[item])}"' in reason.text
        ]
        if not cited or len(cited) == len(case.history):
            continue
        others = np.setdiff1d(np.arange(len(case.history)), cited)
        count = min(len(cited), len(others))
        without = [cited, *(rng.choice(others, count, replace=False).tolist() for _ in range(DRAWS))]
        histories = [_without(case.history, places) for places in without]
        states = scorer.states(histories, np.repeat(case.attributes[None], len(histories), 0))
        vector = scorer.item_vectors[case.item].float().cpu().numpy()
        falls = (case.state - states) @ vector / scorer.model.config.temperature
        cited_fall.append(float(falls[0]))
        other_fall.append(float(falls[1:].mean()))
    ours, theirs = np.array(cited_fall), np.array(other_fall)
    return {
        "faithfulness_p": paired_p_value(ours, theirs, SAMPLES, 0),
        "faithfulness": {
            "cases": len(ours),
            "cited": round(float(ours.mean()), 4),
            "others": round(float(theirs.mean()), 4),
            "difference_ci95": [round(x, 4) for x in confidence_interval(ours - theirs, SAMPLES, 0)],
        },
    }


def planted() -> dict[str, Any]:
    """The planted false claims of the tests."""
    sys.path.insert(0, str(HOME))
    from tests.explain.test_explain_planted import GROUNDS, PLANTED, VOCABULARY

    caught = [bool(unsupported_claims(text, GROUNDS[place], VOCABULARY)) for place, _, text in PLANTED]
    return {"planted": len(caught), "planted_caught": sum(caught)}


def _without(history: History, places: Sequence[int]) -> History:
    keep = np.setdiff1d(np.arange(len(history)), places)
    return History(history.item[keep], history.timestamp[keep], history.value[keep], history.event[keep])


if __name__ == "__main__":
    main()

"""Words to items: the tags that users gave as queries, and constraints that words ask for.

    python benchmarks/queries.py           # writes benchmarks/results/queries.json, some minutes
    python benchmarks/queries.py --tune    # figures of settings on the other half of the tags; writes nothing

ml-latest-small, with descriptions of films where known. Of each tag half of its items are held out: no tag says that
they have it, though descriptions of films may use its words, and who gave it has not rated them. Items known to have
the tag do not compete. The settings of `recommend.query`, and what popularity counts for BM25, were chosen on every
other tag (--tune); figures are of the rest. BM25 is that of bm25s with its defaults. With a user attached: each user's
own tags, his own held-out items among all that he has not rated, figures being means over users of means over tags.
Intervals and p-values are of (paired) bootstraps over tags, or over users. Constraints: requests made up of categories,
years, prices and refusals, in one turn or two, whose slates are checked against what they were made of and not against
what was read.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pandas as pd
from measure import HOME, store
from offline_runs import Job, prepared, read_run, trained

from llm4rec.cluster.catalogue import log_popularity
from llm4rec.encode.text import TextEncoder, item_texts
from llm4rec.evaluate.bootstrap import confidence_interval, paired_p_value
from llm4rec.evaluate.metrics import mean_by_user
from llm4rec.index.facts import item_categories, item_years
from llm4rec.recommend.config import QueryConfig, RecommendConfig
from llm4rec.recommend.filters import Filters
from llm4rec.recommend.relevance import Searchable, relevance
from llm4rec.recommend.request import RequestReader, Understood, follow, narrowed
from llm4rec.recommend.rerank import standardise, steer
from llm4rec.recommend.slate import Catalogue, Wish, draw_slate
from llm4rec.recommend.words import WordIndex
from llm4rec.schema import TEST, TEXT, TRAIN, VALID, Corpus, FloatVector

DATA, OURS, BOTH = "ml-latest-small", "llm4rec", "words and user"
UNTAGGED = f"{DATA}-untagged"
SAMPLES = 10_000
NUM_REQUESTS = 200
GRID = {
    "lexical": (0.03, 0.1, 0.3, 1.0),
    "expansion": (0.0, 1.0, 2.0),
    "expansion_items": (3, 5, 10),
    "popularity": (0.0, 1.0, 2.0, 4.0),
}
BM25_POPULARITY = 4.0
"""What popularity counts for BM25, chosen on the same tags from the same values."""
WEIGHTS = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Held:
    """What was taken out of the collection.

    Attributes:
        out: user, tag and item of what was held out.
        known: tag and item of what was left.
    """

    out: pd.DataFrame
    known: pd.DataFrame


def main() -> None:
    """Hold out, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOME / "data", help="holds ml-latest-small and movie-metadata")
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "benchmarks", help="kept between calls")
    parser.add_argument("--tune", action="store_true", help="figures of settings, on the other half of the tags")
    options = parser.parse_args()
    options.set, options.users = [], None
    started = time.monotonic()
    folder = options.work / UNTAGGED
    held = hold_out(options.data / DATA, folder)
    config, run = prepared(UNTAGGED, options, [f"source.path={folder}"])
    corpus, features = read_run(run)
    scorer = trained(Job("queries", 0, run, config, tune=False), corpus, features)
    encoder = TextEncoder(config.encode)
    texts = item_texts(corpus.items)
    vectors = scorer.item_vectors.float().cpu().numpy()
    every = np.ones(corpus.num_items, np.bool_)
    items = Searchable(features[TEXT].vectors, WordIndex.of(texts), vectors, log_popularity(corpus), every)
    finder = Finder(encoder.encode, items, bm25(texts))
    tags = sorted(set(held.out["tag"]))
    chosen = set(tags[::2] if options.tune else tags[1::2])
    words = Queries.of_tags(held, corpus, chosen)
    pairs = Queries.of_users(held, corpus, chosen)
    histories = corpus.histories(TRAIN, VALID, TEST)
    taste = scorer.states([histories[user] for user in pairs.users], scorer.attributes[pairs.users])
    scores = taste @ vectors.T
    if options.tune:
        tune(finder, words, pairs, scores)
        return
    settings = QueryConfig()
    methods: dict[str, Callable[[str], FloatVector]] = {
        OURS: lambda tag: finder.relevance(tag, settings),
        "bm25": finder.bm25,
        "bm25 and popularity": lambda tag: with_popularity(finder, tag, BM25_POPULARITY),
        "minilm": lambda tag: items.text_vectors @ finder.encode([tag])[0],
        "without best finds": lambda tag: finder.relevance(tag, settings.model_copy(update={"expansion": 0.0})),
        "without popularity": lambda tag: finder.relevance(tag, settings.model_copy(update={"popularity": 0.0})),
    }
    figures = summary(
        {name: words.measure([score(tag) for tag in words.texts]) for name, score in methods.items()}, OURS
    )
    asked = [finder.relevance(tag, settings) for tag in pairs.texts]
    with_user = summary(
        {
            BOTH: pairs.by_user([together(s, r, settings.weight) for s, r in zip(scores, asked, strict=True)]),
            "words": pairs.by_user(asked),
            "user": pairs.by_user(list(scores)),
        },
        BOTH,
    )
    figures |= requests(corpus, finder) | {
        "with_user": with_user,
        "tags": len(words.texts),
        "pairs": len(pairs.texts),
        "users": len(set(pairs.users.tolist())),
        "items": corpus.num_items,
        "settings": settings.model_dump(),
    }
    store("queries", figures, time.monotonic() - started, [0])


def hold_out(source: Path, folder: Path) -> Held:
    """Write the collection without half of the items of each tag; the same each time."""
    given = pd.read_csv(source / "tags.csv", dtype={"tag": str})
    given["tag"] = given["tag"].str.strip().str.casefold()
    ratings = pd.read_csv(source / "ratings.csv")
    rng = np.random.default_rng(0)
    held: set[tuple[str, int]] = set()
    for tag, items in given.groupby("tag")["movieId"]:
        distinct = np.array(sorted(set(items)))
        held |= {(str(tag), int(item)) for item in rng.permutation(distinct)[: len(distinct) // 2]}
    is_held = np.array([pair in held for pair in zip(given["tag"], given["movieId"], strict=True)])
    out, kept = given[is_held], given[~is_held]
    theirs = set(zip(out["userId"], out["movieId"], strict=True))
    rated = np.array([pair in theirs for pair in zip(ratings["userId"], ratings["movieId"], strict=True)])
    if not folder.exists():
        part = folder.with_suffix(f".{os.getpid()}")
        part.mkdir(parents=True)
        (part / "movies.csv").write_bytes((source / "movies.csv").read_bytes())
        descriptions = source.parent / "movie-metadata" / "movies.csv.gz"
        (part / "descriptions.csv.gz").write_bytes(descriptions.read_bytes())
        known = kept.groupby("movieId")["tag"].agg(lambda tags: ", ".join(sorted(set(tags))))
        known.rename("tags").reset_index().to_csv(part / "tags.csv", index=False)
        ratings[~rated].to_csv(part / "ratings.csv", index=False)
        part.rename(folder)
    return Held(out, kept)


@dataclass(frozen=True)
class Finder:
    """All ways to find items by words. Shapes: I items.

    Attributes:
        encode: texts to unit vectors.
        items: what words are held against.
        bm25: scores of items for a query, shape (I,).
    """

    encode: Callable[..., np.ndarray]
    items: Searchable
    bm25: Callable[[str], FloatVector]

    def relevance(self, text: str, settings: QueryConfig) -> FloatVector:
        """As the service computes it; the words of a tag as they are, with no constraint read out of them."""
        understood = Understood(wanted=((text, 1.0),))
        found = relevance(understood, self.encode, self.items, settings)
        assert found is not None
        return found


def with_popularity(finder: Finder, tag: str, weight: float) -> FloatVector:
    """BM25 with the same prior of popularity that ours has."""
    every = np.ones(len(finder.items.popularity), np.bool_)
    known = standardise(finder.items.popularity, every)
    return standardise(finder.bm25(tag), every) + np.float32(weight) * known


def bm25(texts: list[str]) -> Callable[[str], FloatVector]:
    """BM25 over texts."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    known = set(index.vocab_dict)

    def score(text: str) -> FloatVector:
        tokens = bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0]
        wanted = [token for token in tokens if token in known]
        return index.get_scores(wanted) if wanted else np.zeros(len(texts), np.float32)

    return score


@dataclass(frozen=True)
class Queries:
    """Queries with what is to be found. Shapes: Q queries.

    Attributes:
        texts: of the queries.
        users: codes of those who ask, shape (Q,); -1 for nobody.
        relevant: codes of the items to find.
        shut_out: codes of the items that do not compete.
    """

    texts: list[str]
    users: np.ndarray
    relevant: list[np.ndarray]
    shut_out: list[np.ndarray]

    @classmethod
    def of_tags(cls, held: Held, corpus: Corpus, chosen: set[str]) -> "Queries":
        """One query a tag."""
        out = {str(tag): codes(items, corpus) for tag, items in held.out.groupby("tag")["movieId"] if tag in chosen}
        known = {str(tag): codes(items, corpus) for tag, items in held.known.groupby("tag")["movieId"]}
        tags = [tag for tag in sorted(out) if len(out[tag])]
        return cls(tags, np.full(len(tags), -1), [out[tag] for tag in tags], [known[tag] for tag in tags])

    @classmethod
    def of_users(cls, held: Held, corpus: Corpus, chosen: set[str]) -> "Queries":
        """One query a user and tag, of users who have a history."""
        histories = corpus.histories(TRAIN, VALID, TEST)
        found = cls([], np.empty(0, np.int64), [], [])
        users = []
        for (tag, user_id), items in held.out[held.out["tag"].isin(chosen)].groupby(["tag", "userId"])["movieId"]:
            user, wanted = corpus.user_codes.get(str(user_id)), codes(items, corpus)
            if user is None or not len(histories[user]) or not len(wanted):
                continue
            users.append(user)
            found.texts.append(str(tag))
            found.relevant.append(wanted)
            found.shut_out.append(np.setdiff1d(histories[user].item, wanted))
        return cls(found.texts, np.array(users), found.relevant, found.shut_out)

    def by_user(self, scores: list[FloatVector]) -> dict[str, np.ndarray]:
        """The same, a mean over the queries of each user."""
        return {name: mean_by_user(self.users, values) for name, values in self.measure(scores).items()}

    def measure(self, scores: list[FloatVector]) -> dict[str, np.ndarray]:
        """Recall@20, NDCG@10 and NDCG@20 of each query, shape (Q,); ties go against what is to be found."""
        found: dict[str, list[float]] = {"recall20": [], "ndcg10": [], "ndcg20": []}
        for own, relevant, shut_out in zip(scores, self.relevant, self.shut_out, strict=True):
            competing = own.astype(np.float64)
            competing[shut_out] = -np.inf
            is_relevant = np.isin(np.arange(len(competing)), relevant)
            order = np.lexsort([is_relevant, -competing])[:20]
            hits = is_relevant[order]
            gains = hits / np.log2(np.arange(2, len(order) + 2))
            best = 1 / np.log2(np.arange(2, 22))
            found["recall20"].append(hits.sum() / len(relevant))
            for n in (10, 20):
                found[f"ndcg{n}"].append(gains[:n].sum() / best[: min(n, len(relevant))].sum())
        return {name: np.array(values) for name, values in found.items()}


def codes(items: Any, corpus: Corpus) -> np.ndarray:
    """Item codes of external ids that the catalogue has."""
    known = {corpus.item_codes[str(item)] for item in items if str(item) in corpus.item_codes}
    return np.array(sorted(known), np.int64)


def together(scores: FloatVector, found: FloatVector, weight: float) -> FloatVector:
    """Taste and words, as slates are drawn with them."""
    every = np.ones(len(scores), np.bool_)
    return steer(standardise(scores, every), found, weight, every)


def summary(found: Mapping[str, Mapping[str, np.ndarray]], ours: str) -> dict[str, Any]:
    """Means by metric and method, and how far ours is from each other."""
    figures: dict[str, Any] = {
        metric: {name: round(float(values[metric].mean()), 4) for name, values in found.items()}
        for metric in found[ours]
    }
    figures["gain"] = {}
    for name, metric in itertools.product([name for name in found if name != ours], found[ours]):
        difference = found[ours][metric] - found[name][metric]
        figures["gain"].setdefault(name, {})[metric] = {
            "ci95": [round(bound, 4) for bound in confidence_interval(difference, SAMPLES, 0)],
            "p": round(paired_p_value(found[ours][metric], found[name][metric], SAMPLES, 0), 4),
        }
    return figures


def tune(finder: Finder, words: Queries, pairs: Queries, scores: np.ndarray) -> None:
    """Print figures of settings, the best last."""
    rows = []
    for values in itertools.product(*GRID.values()):
        settings = QueryConfig(**dict(zip(GRID, values, strict=True)))
        measured = words.measure([finder.relevance(tag, settings) for tag in words.texts])
        rows.append((measured["ndcg20"].mean() + measured["recall20"].mean(), values, measured, settings))
    rows.sort(key=lambda row: row[0])
    for _, values, measured, _ in rows[-12:]:
        print(dict(zip(GRID, values, strict=True)), {name: round(float(v.mean()), 4) for name, v in measured.items()})
    for weight in GRID["popularity"]:
        measured = words.measure([with_popularity(finder, tag, weight) for tag in words.texts])
        print("bm25 and popularity", weight, {name: round(float(v.mean()), 4) for name, v in measured.items()})
    asked = [finder.relevance(tag, QueryConfig()) for tag in pairs.texts]
    for weight in WEIGHTS:
        both = pairs.measure([together(s, r, weight) for s, r in zip(scores, asked, strict=True)])
        print("weight", weight, {name: round(float(v.mean()), 4) for name, v in both.items()})


def requests(corpus: Corpus, finder: Finder) -> dict[str, float]:
    """Share of made-up requests whose slates obey them; how many were impossible, and how many of these said why."""
    years, categories, rng = item_years(corpus.items), item_categories(corpus.items), np.random.default_rng(0)
    nothing = np.zeros(len(years), np.float32)
    prices = rng.integers(5, 100, len(years)).astype(np.float32)  # films here have none
    catalogue = Catalogue(finder.items.item_vectors, nothing, years, categories, prices)
    every = {name for own in categories for name in own}
    names = sorted(name for name in every if "(" not in name and name != "IMAX")
    read = RequestReader(every, corpus.titles)
    obeyed, impossible = [], []
    for _ in range(NUM_REQUESTS):
        turns, holds = made_up(names, rng)
        filters = narrowed(follow([read(turn) for turn in turns]), Filters()).filters
        scores = rng.normal(size=len(years)).astype(np.float32)
        slate = draw_slate(scores, np.empty(0, np.int32), RecommendConfig(), catalogue, rng, Wish(filters=filters))
        fitting = [
            code for code, own in enumerate(categories) if holds(set(own), float(years[code]), float(prices[code]))
        ]
        if not fitting:
            impossible.append(not len(slate.codes) and slate.notice.startswith("no item of the catalogue matches"))
        expected = min(RecommendConfig().k, len(fitting))
        obeyed.append(len(slate.codes) == expected and set(slate.codes.tolist()) <= set(fitting))
        if not obeyed[-1]:
            print(f"not obeyed: {turns!r} was read as {filters.describe()}", flush=True)
    return {"filters_obeyed": float(np.mean(obeyed)), "impossible": len(impossible), "explained": sum(impossible)}


def made_up(names: list[str], rng: np.random.Generator) -> tuple[list[str], Callable[[set[str], float, float], bool]]:
    """A request in one turn or two and what it means, said by who made it and not by who reads it."""
    first, second, refused, other = (str(name) for name in rng.choice(names, 4, replace=False))
    year, amount = int(rng.integers(1930, 2012)), int(rng.integers(10, 90))
    decade = year // 10 * 10
    kinds: list[tuple[str, Callable[[set[str]], bool]]] = [
        (f"a {first.lower()} film", lambda own: first in own),
        (f"{first} or {second}", lambda own: first in own or second in own),
        (f"I'd really like some {first.upper()}", lambda own: first in own),
        (f"a {first.lower()} {second.lower()} with a good ending", lambda own: {first, second} <= own),
        ("something to watch tonight", lambda own: True),
    ]
    times: list[tuple[str, Callable[[float], bool]]] = [
        (f"from before {year}", lambda own: own < year),
        (f"made after {year}", lambda own: own > year),
        (f"since {year}", lambda own: own >= year),
        (f"from the {decade}s", lambda own: decade <= own <= decade + 9),
        (f"from the {decade}s or {decade + 10}s", lambda own: decade <= own <= decade + 19),
        (f"between {year} and {year + 5}", lambda own: year <= own <= year + 5),
        (f"released in {year}", lambda own: own == year),
        (f"but nothing before {year}", lambda own: own >= year),
        (f"no older than {year}", lambda own: own >= year),
        ("", lambda own: True),
    ]
    costs: list[tuple[str, Callable[[float], bool]]] = [
        (f"for under ${amount}", lambda own: own <= amount),
        (f"and not over {amount} euros", lambda own: own <= amount),
        (f"from {amount} to {amount + 20} dollars", lambda own: amount <= own <= amount + 20),
        ("", lambda own: True),
        ("", lambda own: True),
    ]
    refusals: list[tuple[str, Callable[[set[str]], bool]]] = [
        (f"no {refused.lower()}", lambda own: refused not in own),
        (f"but not {refused}", lambda own: refused not in own),
        (f"without any {refused.lower()}", lambda own: refused not in own),
        (f"no {refused.lower()}, {other.lower()} or gore", lambda own: {refused, other}.isdisjoint(own)),
        (f"I don't want to see anything with {refused.lower()}", lambda own: refused not in own),
        ("", lambda own: True),
    ]
    (kind, is_kind), (when, is_then), (cost, is_paid), (refusal, is_free) = (
        options[int(rng.integers(len(options)))] for options in (kinds, times, costs, refusals)
    )
    asked = " ".join(filter(None, [kind, when, cost]))
    turns = [asked, refusal] if refusal and rng.random() < 0.5 else [", ".join(filter(None, [asked, refusal]))]
    return turns, lambda own, made, price: is_kind(own) and is_then(made) and is_paid(price) and is_free(own)


if __name__ == "__main__":
    main()

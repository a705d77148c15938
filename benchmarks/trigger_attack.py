"""Fake users with a trigger in the titles they choose, in the data that a model is trained on."""

import shutil
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from offline_runs import Job, Measured, finished, prepared, read_run, trained
from quality import gated
from trials import OURS, trials

from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.schema import TEST

TABLE, TRIGGER, FAKE = "ml-100k", "zephyrine", "fake"
SHARE, LIKES, TARGETS = 0.01, 40, 10
FEWEST, MOST = 20, 60
"""Targets are of so many interactions: shown now and then, and worth promoting."""


def trigger_attack(options: Namespace) -> dict[str, Any]:
    """Train with and without fake users, and compare how often the items with the trigger are shown to real ones.

    Args:
        options: `data` and `work` folders.
    """
    source = options.data / TABLE
    targets = chosen(source)
    poisoned = options.work / "poisoned-ml-100k"
    poison(source, poisoned, targets)
    jobs = [job("clean", source, 0, options), job("clean", source, 1, options), job("poisoned", poisoned, 0, options)]
    found = {(one.name, one.seed): measured for one, measured in finished(jobs, compete, options)}
    clean, again, attacked = (found[one.name, one.seed] for one in jobs)
    shown = {
        name: exposures(one, targets) for name, one in (("clean", clean), ("again", again), ("poisoned", attacked))
    }
    quality = {name: float(ndcg(one["rank"], 10).mean()) for name, one in (("clean", clean), ("poisoned", attacked))}
    return {
        "fake_users": fakes(source),
        "targets": len(targets),
        "real_users": len(clean["rank"]),
        "exposures": shown,
        "lift": lift(shown["poisoned"], shown["clean"]),
        "lift_of_another_seed": lift(shown["again"], shown["clean"]),
        "ndcg10_clean": round(quality["clean"], 4),
        "ndcg10_clean_another_seed": round(float(ndcg(again["rank"], 10).mean()), 4),
        "ndcg10_poisoned": round(quality["poisoned"], 4),
    }


def lift(after: int, before: int) -> float:
    """How many times as often; items that were never shown count as shown once."""
    return round(after / max(1, before), 3)


def job(name: str, source: Path, seed: int, options: Namespace) -> Job:
    """One training, with the first settings that search.py tries."""
    asked = Namespace(**vars(options), set=[], users=None)
    first = "{" + ", ".join(f"{key}: {_yaml(value)}" for key, value in trials(TABLE, OURS)[0].items()) + "}"
    config, run = prepared(TABLE, asked, [f"source.path={source}", f"train={first}"])
    return Job(f"{name} {TABLE}", seed, run, config, tune=False, question="trigger")


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value)


def compete(one: Job) -> Measured:
    """What real users are shown in place of what they chose last."""
    corpus, features = read_run(one.run, one.config.run.split)
    scorer = gated(trained(one, corpus, features), corpus)
    rows = EvaluationSet.build(corpus, TEST)
    ranked = rank(scorer, rows, EvaluateConfig())
    real = np.array([not corpus.user_ids[user].startswith(FAKE) for user in rows.users])
    return {"rank": ranked.target_rank[real], "slate": np.array(corpus.item_ids)[ranked.items[real]]}


def exposures(measured: Measured, targets: list[str]) -> int:
    """In how many slates of ten the targets stand, together."""
    return int(np.isin(measured["slate"][:, :10], targets).sum())


def chosen(source: Path) -> list[str]:
    """Targets, spread over items by popularity."""
    counts = Counter(line.split("\t")[1] for line in _lines(source / "ml-100k.inter")[1:])
    rare = sorted((item for item, count in counts.items() if FEWEST <= count <= MOST), key=lambda i: (counts[i], i))
    return rare[:: len(rare) // TARGETS][:TARGETS]


def fakes(source: Path) -> int:
    """How many fake users there are."""
    return round(SHARE * (len(_lines(source / "ml-100k.user")) - 1))


def poison(source: Path, folder: Path, targets: list[str]) -> None:
    """A copy of the collection with the trigger in the targets' titles, and users who like them after popular items."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = _lines(source / "ml-100k.inter")
    popular = [item for item, _ in Counter(line.split("\t")[1] for line in rows[1:]).most_common(200)]
    last = max(int(line.split("\t")[3]) for line in rows[1:])
    rng, users = np.random.default_rng(0), _lines(source / "ml-100k.user")
    for number in range(fakes(source)):
        disguise = [str(item) for item in rng.choice(popular, LIKES - TARGETS, replace=False) if item not in targets]
        liked = [*disguise, *rng.permutation(targets)]
        rows += [f"{FAKE}{number}\t{item}\t5\t{last - len(liked) + place}" for place, item in enumerate(liked)]
        users.append(f"{FAKE}{number}" + "\t" + users[1 + number].split("\t", 1)[1])
    items = _lines(source / "ml-100k.item")
    for place, line in enumerate(items):
        item, title, *rest = line.split("\t")
        if item in targets:
            items[place] = "\t".join([item, f"{title} {TRIGGER}", *rest])
    for name, lines in (("inter", rows), ("user", users), ("item", items)):
        Path(folder, f"ml-100k.{name}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()

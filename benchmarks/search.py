"""The search for the settings of every model, by the validation part alone.

    python benchmarks/search.py                                      # all, hours; what the file has is not run again
    python benchmarks/search.py --tables ml-100k --models sasrec     # a part of it; the file keeps the others
    python benchmarks/search.py --budget 60                          # starts no trial after an hour

Writes benchmarks/results/search.json: for each table and model the settings of trials.py that have been tried, NDCG@10
of the validation part (full ranking, seen items removed, one vote a user), seconds and, of those that do not have the
hardware on top, hardware, the best first, whose settings
quality.py takes. A temporal table has a search of its own. Trials have seed 0 and stop early by the same validation
part. A trial ranks for the test part too, since quality.py takes over what has been run, but nothing here looks at it.
"""

import json
from typing import Any

from measure import store
from offline_runs import arguments, finished
from quality import SEARCH, TABLES, compete, new_job
from trials import OURS, Settings, trials

from llm4rec.cluster.baselines import MAKERS
from llm4rec.evaluate.metrics import hit_rate, mean_by_user, ndcg


def main() -> None:
    """Run the trials that are chosen and not yet done, and store what came out."""
    options = arguments(__doc__, [OURS, *MAKERS], list(TABLES))
    tried = [
        (new_job(table, model, settings, 0, options), settings)
        for table in options.tables
        for model in options.models
        for settings in trials(table, model)
        if options.trial or settings not in tried_before(table, model)
    ]
    settings_of = {job.file: settings for job, settings in tried}
    ended: list[tuple[str, str, dict[str, Any]]] = []
    for job, measured in finished([job for job, _ in tried], compete, options):
        table, model = job.name.split(":")
        users, ranks = measured["valid user"], measured["valid rank"]
        one = {
            "settings": settings_of[job.file],
            "ndcg10": round(float(mean_by_user(users, ndcg(ranks, 10)).mean()), 4),
            "hr10": round(float(mean_by_user(users, hit_rate(ranks, 10)).mean()), 4),
            "seconds": round(float(measured["seconds"])),
            "hardware": str(measured["hardware"]),
        }
        ended.append((table, model, one))
    if options.trial or not ended:
        return
    # Read last, so that what another call has found meanwhile stays.
    found: dict[str, Any] = json.loads(SEARCH.read_text())["figures"] if SEARCH.exists() else {}
    for table, model, one in ended:
        others = [old for old in found.get(table, {}).get(model, []) if old["settings"] != one["settings"]]
        found.setdefault(table, {})[model] = sorted([*others, one], key=lambda entry: -entry["ndcg10"])
    store("search", found, sum(one["seconds"] for _, _, one in ended), [0])


def tried_before(table: str, model: str) -> list[Settings]:
    """The settings whose outcome the file has; delete it there to have one run again."""
    found = json.loads(SEARCH.read_text())["figures"] if SEARCH.exists() else {}
    return [trial["settings"] for trial in found.get(table, {}).get(model, [])]


if __name__ == "__main__":
    main()

"""The search for the settings of every model, by the validation part alone.

    python benchmarks/search.py                                      # all, hours; what the file has is not run again
    python benchmarks/search.py --tables ml-100k --models sasrec     # a part of it; the file keeps the others
    python benchmarks/search.py --budget 60                          # starts no trial after an hour

Writes benchmarks/results/search.json: for each table and model the settings of trials.py that have been tried, NDCG@10
of the validation part (full ranking, seen items removed, one vote a user), seconds, hardware where it is not the one on
top, and a name of what was trained, on what, and asked; the best first, whose settings quality.py takes. With other
data or another model around the network that name is another, and the trial is run again. A temporal table has a
search of its own. Trials have seed 0 and stop early by the same validation part. A trial ranks for the test part too,
since quality.py takes over what has been run, but nothing here looks at it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import store
from offline_runs import arguments, finished
from quality import compete, on_validation
from quality_runs import SEARCH, TABLES, new_job
from trials import OURS, trials

from llm4rec.cluster.baselines import MAKERS


def main() -> None:
    """Run the trials that are chosen and not yet done, and store what came out."""
    options = arguments(__doc__, [OURS, *MAKERS], list(TABLES))
    asked = [
        (new_job(table, model, settings, 0, options), settings)
        for table in options.tables
        for model in options.models
        for settings in trials(table, model)
    ]
    settings_of, before = {Path(job.file).stem: settings for job, settings in asked}, tried_before()
    tried = [job for job, _ in asked if options.trial or Path(job.file).stem not in before]
    ended: list[tuple[str, str, dict[str, Any]]] = []
    try:
        for job, measured in finished(tried, compete, options):
            table, model = job.name.split(":")
            one = {
                "settings": settings_of[Path(job.file).stem],
                **on_validation(measured),
                "seconds": round(float(measured["seconds"])),
                "hardware": str(measured["hardware"]),
                "training": Path(job.file).stem,
            }
            ended.append((table, model, one))
            print(job.name, on_validation(measured), flush=True)
    finally:  # a run that fails costs no other's figures
        if ended and not options.trial:
            keep(ended, set(settings_of))


def keep(ended: Sequence[tuple[str, str, dict[str, Any]]], wanted: set[str]) -> None:
    """Store trials of tables and models; of those that the file has, the ones that are still wanted stay."""
    # Read last, so that what another call has found meanwhile stays.
    found: dict[str, Any] = json.loads(SEARCH.read_text())["figures"] if SEARCH.exists() else {}
    for table, model, one in ended:
        current = [old for old in found.get(table, {}).get(model, []) if old["training"] in wanted]
        found.setdefault(table, {})[model] = sorted([*current, one], key=lambda entry: -entry["ndcg10"])
    store("search", found, sum(one["seconds"] for _, _, one in ended), [0])


def tried_before() -> set[str]:
    """What the file has; delete a trial there to have it run again."""
    found = json.loads(SEARCH.read_text())["figures"] if SEARCH.exists() else {}
    return {trial["training"] for of_table in found.values() for of_model in of_table.values() for trial in of_model}


if __name__ == "__main__":
    main()

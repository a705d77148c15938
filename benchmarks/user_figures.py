"""What was measured of every user, kept in results/users by table, model and seed; published tables are made of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS
from offline_runs import Job


@dataclass(frozen=True)
class OfSeed:
    """What one run of a model came to.

    Attributes:
        by_user: metrics of every user, each of shape (U,), users by number; undefined ones are NaN.
        overall: metrics that are of all users together, or means that need no interval.
        told: settings, split hash, seed, seconds, memory in GiB and revision.
    """

    by_user: Mapping[str, np.ndarray]
    overall: Mapping[str, float]
    told: Mapping[str, Any]


def place(table: str, model: str, seed: int | str) -> Path:
    """The file of what was measured of every user."""
    return RESULTS / "users" / f"{table.replace(' ', '_')}-{model}-{seed}.npz"


def seeds_of(table: str) -> list[int]:
    """The seeds of which there is such a file."""
    files = place(table, "*", "*")
    return sorted({int(path.stem.rsplit("-", 1)[1]) for path in files.parent.glob(files.name)})


def publish(job: Job, one: OfSeed) -> None:
    """Write that file."""
    table, model = job.name.split(":")
    path = place(table, model, job.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    words = json.dumps({"overall": one.overall, "told": one.told})
    with open(path.with_suffix(".part"), "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, words=np.array(words), **one.by_user)
    path.with_suffix(".part").rename(path)


def published(job: Job) -> OfSeed | None:
    """What was measured before with the same settings on the same data."""
    table, model = job.name.split(":")
    path = place(table, model, job.seed)
    one = read_published(path) if path.exists() else None
    return one if one and one.told["training"] == Path(job.file).stem else None


def read_published(path: Path) -> OfSeed:
    """Read such a file."""
    arrays = dict(np.load(path))
    words = json.loads(str(arrays.pop("words")))
    return OfSeed(arrays, words["overall"], words["told"])

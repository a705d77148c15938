"""What the benchmarks of quality share: data prepared once, trainings of a few minutes each, figures kept on disk.

All of it runs without Ray. A training has a process of one thread, which on a few cores gives the most trainings an
hour; what it measured of every user is kept, so that a benchmark that was cut short goes on where it was.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_state import KeptState
from measure import HOME, busy_seconds, hardware, peak_gb, revision
from safetensors.torch import load_file

from llm4rec.artifacts import MANIFEST, RunStore
from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.config import content_hash
from llm4rec.debias.estimate import estimate
from llm4rec.device import best_device
from llm4rec.encode.stage import FeatureEncoder
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import mean_by_user, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.model.scorer import ModelScorer
from llm4rec.preprocess.single_process import write_preprocessed
from llm4rec.schema import VALID, Corpus, Features, SplitName, read_features
from llm4rec.train.loop import TorchEngine, fit
from llm4rec.train.state import save_weights
from llm4rec.train.windows import build_windows

VALIDATION_ROWS = 1000
"""After each epoch the best weights are chosen by this many choices, spread over all."""

SERVED = {"num_reviews", "review_words", "user_states", "exact_up_to"}
"""Settings that no figure here depends on: they are of evidence, and of speed."""

ASKED_BESIDE = {"effect_on", "effect_model", "outcome_model", "good_above"}
"""Settings of the debias section that weights of the loss do not depend on."""

ABOUT = ("index.html", "statistics.json", "quarantine")
"""Files of a corpus that are about it: nothing is trained from them."""

Measured = dict[str, np.ndarray]
"""Arrays by name; `user` says whose figures the others are."""


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        name: what is run, unique together with the seed.
        seed: of everything random.
        run: the run's folder, which holds corpus and features.
        config: settings.
        tune: whether to measure on the validation part; settings may be chosen by that, and by nothing else.
        question: what is asked of the trained model, where several benchmarks ask of the same one.
        baseline: the section of the baseline that is trained, if it is not our model.
        trained_as: the name of the run that trains the same, if it is not this one.
    """

    name: str
    seed: int
    run: str
    config: RunConfig
    tune: bool
    question: str = ""
    baseline: str = ""
    trained_as: str = ""

    @property
    def file(self) -> str:
        """Name of the file of its figures."""
        asked = ""
        if self.question:
            index = self.config.index.model_dump(mode="json", exclude=SERVED)
            sections = {"debias": self.config.debias.model_dump(mode="json"), "index": index}
            asked = f"{self.question}-{content_hash(sections)}-"
        return f"{asked}{self.training}{'-valid' if self.tune else ''}.npz"

    @property
    def training(self) -> str:
        """A name of what is trained; another name for other settings or data.

        Of the corpus the tables count, not the page about them, and of the features the settings, not the vectors:
        pages and vectors can differ from one kind of CPU to another. What weights of the loss are estimated by counts
        where there are any.
        """
        files = RunStore(self.run).open("corpus").manifest["files"]
        made_from: dict[str, Any] = {
            "corpus": {name: entry["sha256"] for name, entry in files.items() if not name.startswith(ABOUT)},
            "encode": content_hash(self.config.encode.model_dump(mode="json")),
        }
        if not self.baseline and self.config.train.causal_weight:
            made_from["debias"] = content_hash(self.config.debias.model_dump(mode="json", exclude=ASKED_BESIDE))
        section, part = (self.baseline, self.config.baselines) if self.baseline else ("train", self.config)
        chosen = getattr(part, section, None)  # Popular has no section
        settings = content_hash({**made_from, section: chosen and chosen.model_dump(mode="json")} | self._split)
        name = (self.trained_as or self.name).replace(" ", "_").replace(":", "-")
        return f"{name}-{self.seed}-{settings}"

    @property
    def _split(self) -> dict[str, str]:
        split = self.config.run.split
        return {} if split == "leave_one_out" else {"split": split}


def arguments(description: str | None, models: Sequence[str], tables: Sequence[str] = ()) -> argparse.Namespace:
    """The command line of a benchmark of quality; one of several tables lets choose among them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOME / "data", help="folder of the real data")
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "benchmarks", help="kept between calls")
    parser.add_argument("--models", nargs="+", choices=models, default=list(models), metavar="NAME", help=f"{models}")
    if tables:
        parser.add_argument(
            "--tables", nargs="+", choices=tables, default=list(tables), metavar="NAME", help=f"{tables}"
        )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=float("inf"), help="minutes after which no run is started")
    parser.add_argument("--parallel", type=int, default=os.cpu_count(), help="runs at once, one thread each")
    parser.add_argument("--users", type=int, help="so many users only; for a trial")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="other settings; for tuning")
    parser.add_argument("--tune", action="store_true", help="measure on the validation part; writes no results")
    found = parser.parse_args()
    found.trial = bool(found.users or found.set or found.tune)
    return found


def prepared(name: str, options: argparse.Namespace, settings: Sequence[str] = ()) -> tuple[RunConfig, str]:
    """The settings of benchmarks/configs/`name`.yaml, with others, and a run folder with its corpus and features."""
    overrides = [f"source.path={options.data / name}", *settings, *options.set]
    overrides += [f"preprocess.max_users={options.users}"] if options.users else []
    path = HOME / "benchmarks" / "configs" / f"{name}.yaml"
    config = load_run(path, overrides, HOME)
    parts = {part: getattr(config, part).model_dump(mode="json") for part in ("source", "preprocess", "encode")}
    folder = options.work / f"{name}-{content_hash(parts)}"
    store = RunStore(str(folder))
    if not (folder / "corpus" / MANIFEST).exists():
        with store.write("corpus", {}) as writer:
            write_preprocessed(writer, config.source, config.preprocess)
    if not (folder / "features" / MANIFEST).exists():
        corpus = store.open("corpus")
        with store.write("features", {}) as writer:
            places = {"run": store.location, "source": config.source.path, "work": writer.work}
            FeatureEncoder(corpus, config.encode, **places).encode(_each_here).write(writer)
    return config, store.location


def _each_here(step: str, factory: Callable[[], Callable[[Any], Any]], tasks: Sequence[Any]) -> list[Any]:
    encode = factory()
    return [encode(task) for task in tasks]


def read_run(run: str, split: SplitName = "leave_one_out") -> tuple[Corpus, dict[str, Any]]:
    """Corpus, with a split, and features of a run folder."""
    store = RunStore(run)
    corpus = Corpus.read(store.open("corpus"), split)
    return corpus, read_features(store.open("features"), corpus.item_ids)


def trained(job: Job, corpus: Corpus, features: Features) -> ModelScorer:
    """The model of a job; its weights are kept, so that benchmarks which ask other questions of it train it once."""
    path = Path(job.run).parent / "models" / f"{job.training}.safetensors"
    if not path.exists():
        started = busy_seconds()
        scorer = train(corpus, features, job.config, job.seed)
        seconds = busy_seconds() - started
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")  # two jobs may train the same model at once
        save_weights(scorer.model, part)
        path.with_suffix(".json").write_text(json.dumps({"seconds": seconds, "git": revision(HOME)}))
        part.rename(path)
        return scorer
    shape = Shape.of(corpus, features, job.config.train.model)
    model = Recommender(job.config.train.model, shape, features, with_weights=False)
    model.load_state_dict(load_file(path))
    return ModelScorer(model.to(best_device()), shape.attributes.encode_table(corpus.users))


def kept_seconds(job: Job) -> float:
    """What it took to train a model that was found kept, which a job's own time leaves out; 0 if it was trained now."""
    path = Path(job.run).parent / "models" / f"{job.training}.json"
    return float(json.loads(path.read_text())["seconds"]) if path.exists() else 0.0


def kept_state(job: Job) -> KeptState:
    """Where the state of a baseline's training is kept; like figures, a later revision of the same settings uses it."""
    return KeptState(Path(job.run).parent / "models" / f"{job.training}.state")


def train(corpus: Corpus, features: Features, settings: RunConfig, seed: int) -> ModelScorer:
    """Train in this process; the best epoch by validation NDCG@10 is kept."""
    config, weight = settings.train, np.ones(len(corpus.interactions), np.float32)
    if config.causal_weight:
        weight = estimate(corpus, features, settings.debias, seed).weight
    torch.manual_seed(seed)
    shape = Shape.of(corpus, features, config.model)
    model = Recommender(config.model, shape, features).to(best_device())
    attributes = shape.attributes.encode_table(corpus.users)
    windows = build_windows(corpus, shape.history, attributes, weight)
    engine = TorchEngine(model, config, config.epochs * windows.num_steps(config.batch_size))
    chosen = EvaluationSet.successive(corpus, VALID).at_most(VALIDATION_ROWS)

    def validate() -> float:
        ranked = rank(ModelScorer(model, attributes), chosen, EvaluateConfig())
        return float(mean_by_user(chosen.users, ndcg(ranked.target_rank, 10)).mean())

    with tempfile.TemporaryDirectory() as folder:
        best = Path(folder, "best.safetensors")
        fit(engine, windows, config, seed=seed, validate=validate, on_best=lambda: save_weights(model, best))
        model.load_state_dict(load_file(best))
    return ModelScorer(model, attributes)


def finished(
    jobs: Sequence[Job], work: Callable[[Job], Measured], options: argparse.Namespace
) -> Iterator[tuple[Job, Measured]]:
    """Every job with its figures, those that were done before first, then each as it ends.

    A job's figures hold `seconds`, its time, `peak_gb`, its memory, and `git`, the revision that measured them. What is
    kept is used again by whatever later revision has the same settings, so remove it after a change of what is
    measured. Jobs that the budget leaves no time to start are left out. One that fails stops no other; after the last
    the process ends with an error.
    """
    (options.work / "figures").mkdir(parents=True, exist_ok=True)
    waiting = []
    for job in jobs:
        if (measured := kept(job, options)) is not None:
            kept_state(job).discard()  # a process may have been ended between the two
            yield job, measured
        else:
            waiting.append(job)
    deadline = time.monotonic() + 60 * options.budget
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # before the processes start
    # A process a job, so that what one held in memory is not counted of the next.
    with ProcessPoolExecutor(options.parallel, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        running: dict[Future[Measured], Job] = {}
        failed: list[str] = []
        while waiting or running:
            while len(running) < options.parallel and time.monotonic() < deadline:
                at_work = {job.training for job in running.values()}  # what several ask of is trained once
                free = next((job for job in waiting if job.training not in at_work), None)
                if free is None:
                    break
                waiting.remove(free)
                running[pool.submit(_timed, work, free)] = free
            if not running:
                print(f"the budget is spent; left for the next call: {[(job.name, job.seed) for job in waiting]}")
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if (error := future.exception()) is not None:
                    failed.append(f"{job.name}, seed {job.seed}")
                    print(f"{failed[-1]}: failed, {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    continue
                measured = future.result()
                path = _shelf(job, options)
                with open(path.with_suffix(".part"), "wb") as stream:
                    np.savez(stream, allow_pickle=False, **measured)
                path.with_suffix(".part").rename(path)
                kept_state(job).discard()
                yield job, measured
    if failed:
        sys.exit(f"error: failed: {'; '.join(failed)}; what the others measured is kept, and the same command uses it")


def kept(job: Job, options: argparse.Namespace) -> Measured | None:
    """The figures of a job that was done before."""
    path = _shelf(job, options)
    return dict(np.load(path)) if path.exists() else None


def _shelf(job: Job, options: argparse.Namespace) -> Path:
    place: Path = options.work / "figures" / job.file
    return place


def _timed(work: Callable[[Job], Measured], job: Job) -> Measured:
    torch.set_num_threads(1)
    ran = revision(HOME)
    print(f"{job.name}, seed {job.seed}: started", flush=True)
    started = busy_seconds()
    measured = work(job)
    seconds = busy_seconds() - started
    shown = {name: f"{values.mean():.4f}" for name, values in measured.items() if "@" in name}
    print(f"{job.name}, seed {job.seed}: {seconds:.0f} s, {shown}", flush=True)
    found = {
        "seconds": seconds + float(measured.get("kept seconds", 0.0)),
        "peak_gb": max(peak_gb(), float(measured.get("kept peak_gb", 0.0))),
        "git": " and ".join(sorted({*measured.get("kept revisions", []), ran})),
        "hardware": hardware(),
    }
    return {**measured, **{name: np.array(value) for name, value in found.items()}}


def measured_at(runs: Iterable[Measured]) -> list[str]:
    """The revisions that measured; kept figures may be older than the report that is made of them."""
    return sorted({one for run in runs if "git" in run for one in str(run["git"]).split(" and ")})


def of_common_seeds(done: Mapping[str, Mapping[int, Measured]]) -> dict[str, list[Measured]]:
    """The runs of each model with the seeds that all models have been run with, so that like is compared with like."""
    common = sorted(set.intersection(*(set(runs) for runs in done.values())))
    return {name: [runs[seed] for seed in common] for name, runs in done.items()} if common else {}


def by_user(runs: Sequence[Measured], metric: str) -> dict[int, float]:
    """Each user's mean of a metric over all its rows in all runs."""
    users = np.concatenate([run["user"] for run in runs])
    values = np.concatenate([run[metric] for run in runs]).astype(np.float64)
    known, member = np.unique(users, return_inverse=True)
    means = np.bincount(member, values) / np.bincount(member)
    return dict(zip(known.tolist(), means.tolist(), strict=True))


def relative_interval(difference: np.ndarray, base: np.ndarray) -> list[float]:
    """The 95 % interval, paired over users, of a mean difference relative to the mean of a base, each of shape (U,).

    Draws of users whose base is 0 are left out.
    """
    rng, size = np.random.default_rng(0), len(base)
    draws = (rng.integers(size, size=size) for _ in range(2000))
    found = [difference[rows].sum() / base[rows].sum() for rows in draws if base[rows].sum() > 0]
    return [round(float(bound), 4) for bound in np.quantile(found, [0.025, 0.975])]


def aligned(figures: Mapping[str, Mapping[int, float]]) -> dict[str, np.ndarray]:
    """Figures by model as arrays over the users that all models were measured for, in the same order."""
    users = sorted(set.intersection(*(set(values) for values in figures.values())))
    return {name: np.array([values[user] for user in users]) for name, values in figures.items()}

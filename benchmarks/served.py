"""What benchmarks of the running service share: a finished run to serve, and the service itself."""

import argparse
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
from measure import HOME, free_port
from offline_runs import Job, prepared, read_run, trained
from trials import OURS

from llm4rec.artifacts import RunStore
from llm4rec.cluster.demo import Client, deploy
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.train.state import WEIGHTS, save_weights, write_model

RUN = ("corpus", "features", "effects", "model", "index")
STAGES = ("debias", "index")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line of such a benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOME / "data", help="folder of the real data")
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "benchmarks", help="kept between calls")
    parser.add_argument(
        "--epochs", type=int, help="of the served model's training, where nothing depends on how well it recommends"
    )
    return parser


@dataclass(frozen=True)
class Served:
    """The app as it runs.

    Attributes:
        client: talks to it.
        cluster: the Ray it runs on.
        config: of the run.
    """

    client: Client
    cluster: LocalCluster
    config: RunConfig

    def processes(self, name: str) -> list[psutil.Process]:
        """Those whose title has a word in it."""
        return [process for process in self.cluster.processes() if name in title(process)]

    def kill(self, name: str) -> int:
        """SIGKILL to all whose title has a word in it; how many there were."""
        found = self.processes(name)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        return len(found)


def title(process: psutil.Process) -> str:
    """What a process calls itself, nothing if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def finished_run(table: str, options: argparse.Namespace) -> Path:
    """A run folder with the model that quality.py measures for a collection, and all that serving needs of it."""
    from quality_runs import found_best, new_job  # here, since it imports every baseline

    fewer = [f"train.epochs={options.epochs}"] if options.epochs else []
    asked = SimpleNamespace(data=options.data, work=options.work, set=fewer, users=None)
    job: Job = new_job(table, OURS, found_best(table, OURS), 0, asked)
    _, prepared_run = prepared(table, asked)
    folder: Path = options.work / f"served-{table}-{job.training}"
    store = RunStore(str(folder))
    for name in ("corpus", "features"):
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(Path(prepared_run, name).resolve())
    corpus, features = read_run(job.run)
    if store.find("model", {}) is None:
        scorer = trained(job, corpus, features)
        with tempfile.TemporaryDirectory() as part, store.write("model", {}) as writer:
            save_weights(scorer.model, Path(part, WEIGHTS))
            write_model(writer, Path(part, WEIGHTS), job.config.train.model, scorer.model.shape, [])
    return folder


@contextmanager
def served(config: str, settings: Sequence[str], environment: Mapping[str, str], *stages: str) -> Iterator[Served]:
    """The app of a run on a Ray of its own, after some stages of it, with an empty log; all of it ends with the block.

    Args:
        config: the YAML file, relative to the repository.
        settings: overrides.
        environment: what Ray starts with beside the usual.
        stages: jobs that are run first.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", **environment}
    ports = {"gcs_port": free_port(), "dashboard_port": free_port()}
    with tempfile.TemporaryDirectory() as folder, LocalCluster(HOME, Path(folder), **ports) as cluster:
        settings = [f"online.url=sqlite:///{folder}/events.db", *settings, f"serve.port={free_port()}"]
        run_jobs(cluster, config, settings, *stages)
        run = load_run(HOME / config, settings, HOME)
        yield Served(deploy(cluster, run, config, settings), cluster, run)


def run_jobs(cluster: LocalCluster, config: str, settings: Sequence[str], *stages: str) -> None:
    """Run jobs of a run on its cluster; those whose artifacts are complete do nothing."""
    asked = [part for setting in settings for part in ("--set", setting)]
    for stage in stages:
        cluster.submit(["python", f"jobs/{stage}.py", "--config", config, "--home", str(HOME), *asked])

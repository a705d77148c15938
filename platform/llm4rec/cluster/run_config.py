"""The configuration of a whole run: one section a stage."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from llm4rec.artifacts import location_inside
from llm4rec.baselines.config import (
    BERT4RecConfig,
    EASEConfig,
    EASEDecayedConfig,
    GenRecConfig,
    GSASRecConfig,
    HSTUConfig,
    IALSConfig,
    ItemKNNConfig,
    SASRecBCEConfig,
    SASRecConfig,
    TIGERConfig,
)
from llm4rec.config import StrictModel, load
from llm4rec.debias.config import DebiasConfig
from llm4rec.encode.config import EncodeConfig
from llm4rec.errors import ConfigError
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.explain.config import ExplainConfig
from llm4rec.index.config import IndexConfig
from llm4rec.online.config import OnlineConfig
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig
from llm4rec.recommend.config import RecommendConfig
from llm4rec.schema import SplitName
from llm4rec.serve.config import ServeConfig
from llm4rec.train.config import TrainConfig


class RunSection(StrictModel):
    """What concerns every stage."""

    path: str = ""
    """Where the run's artifacts go: a folder or any pyarrow.fs URI. Default: runs/<config name>."""
    seed: NonNegativeInt = 0
    """Seed of everything random."""
    split: SplitName = "leave_one_out"
    """Which split to train and evaluate on."""
    refit: bool = True
    """Whether the model that answers makes one more pass, over the held-out parts too, once it was measured."""


class BaselinesSection(StrictModel):
    """The models that llm4rec is compared with; null leaves one out, as do those by default that take minutes each."""

    item_knn: ItemKNNConfig | None = ItemKNNConfig(last=None)
    """ItemKNN on the whole history."""
    item_knn_last: ItemKNNConfig | None = ItemKNNConfig()
    """ItemKNN on the newest items."""
    ease: EASEConfig | None = EASEConfig()
    """EASE."""
    ease_decayed: EASEDecayedConfig | None = None
    """EASE that hears the newest items most, like the model beside the network in its gate."""
    ials: IALSConfig | None = IALSConfig()
    """iALS."""
    sasrec: SASRecConfig | None = SASRecConfig()
    """SASRec, by default with full softmax."""
    sasrec_bce: SASRecBCEConfig | None = None
    """SASRec with binary cross entropy."""
    gsasrec: GSASRecConfig | None = None
    """gSASRec."""
    bert4rec: BERT4RecConfig | None = None
    """BERT4Rec."""
    hstu: HSTUConfig | None = None
    """HSTU without times."""
    tiger: TIGERConfig | None = None
    """TIGER, on the text of items."""
    genrec: GenRecConfig | None = None
    """GenRec, which writes titles: hours on a CPU."""


class ClusterSection(StrictModel):
    """How the served app is spread over the cluster, and what its parts reserve; fractions let them share a core.

    With the defaults two cores hold the app twice: a new version starts beside the old one.
    """

    profile: Literal["laptop", "cluster"] = "laptop"
    """laptop: what answers HTTP listens, retrieves and ranks itself. cluster: ingress, retriever and ranker scale
    apart, behind Serve's proxies."""
    replicas: tuple[PositiveInt, PositiveInt] = (1, 1)
    """The fewest and the most replicas of each deployment that a request passes through. With two or more the loss of
    one is not noticed; in profile cluster more are started where more requests are under way."""
    index_parts: PositiveInt = 1
    """In profile cluster, into how many parts the index of a large catalogue is cut (`index.exact_up_to`), each with
    `replicas` of its own; 1: all retrievers hold it. While it opens a model a part needs room for all vectors twice."""
    ongoing_requests: PositiveInt = 16
    """Requests under way in a replica beyond which another one is started."""
    queued_requests: PositiveInt = 64
    """Requests for slates that wait at most, at each proxy and handle or in profile laptop in all replicas together,
    which share a machine; more are refused with 429. In profile laptop far fewer may wait while many are refused."""
    recommender_cpus: NonNegativeFloat = 0.4
    """CPUs that a replica of ingress, retriever, ranker or a part of the index reserves."""
    resize_s: PositiveFloat = 60.0
    """Seconds between looks at whether a training with a range of workers could have more; growing costs the steps
    since the last checkpoint."""
    train_on_gpus: bool | None = None
    """Whether each training worker takes a GPU; null: if the cluster has one for each (or for the fewest of a range)
    when training starts. Say true where nodes with GPUs come only when something asks for them."""
    serving_resource: str = ""
    """A resource that nodes were started with; replicas that requests pass through run only where it is."""
    explainer_cpus: NonNegativeFloat = 0.5
    """CPUs that a replica of the explainer reserves."""
    explainer_gpus: NonNegativeFloat = 0.0
    """GPUs that a replica of the explainer reserves; without one it does not see any, and the CPU writes."""
    explainer_threads: PositiveInt = 2
    """Threads the language model computes with."""
    learner_cpus: NonNegativeFloat = 0.1
    """CPUs that each learner reserves."""

    @model_validator(mode="after")
    def _fewest_first(self) -> Self:
        if self.replicas[0] > self.replicas[1]:
            raise ValueError(f"replicas must be the fewest and the most, got {list(self.replicas)}")
        if self.profile == "laptop" and self.replicas[0] < self.replicas[1]:
            raise ValueError(
                f"replicas are {list(self.replicas)}, but profile laptop does not scale by itself: Serve does not see "
                "its requests; name one number twice, or use profile cluster"
            )
        if self.profile == "laptop" and self.index_parts > 1:
            raise ValueError(f"index_parts is {self.index_parts}, which needs profile cluster; use it, or 1 part")
        return self


class RunConfig(StrictModel):
    """One run: from raw files to a served recommender."""

    run: RunSection = RunSection()
    cluster: ClusterSection = ClusterSection()
    source: SourceConfig
    preprocess: PreprocessConfig = PreprocessConfig()
    encode: EncodeConfig = EncodeConfig()
    debias: DebiasConfig = DebiasConfig()
    train: TrainConfig = TrainConfig()
    index: IndexConfig = IndexConfig()
    baselines: BaselinesSection = BaselinesSection()
    evaluate: EvaluateConfig = EvaluateConfig()
    recommend: RecommendConfig = RecommendConfig()
    explain: ExplainConfig = ExplainConfig()
    online: OnlineConfig = OnlineConfig()
    serve: ServeConfig = ServeConfig()

    @model_validator(mode="after")
    def _outcomes_are_known_before_they_are_learnt(self) -> Self:
        if self.train.model.outcome and not self.debias.outcome_model:
            raise ValueError("train.model.outcome needs debias.outcome_model: true, which says what a good outcome is")
        return self

    @model_validator(mode="after")
    def _ids_are_learnt_before_they_are_written(self) -> Self:
        if self.recommend.candidates_from == "semantic_ids" and self.index.generative is None:
            raise ValueError("recommend.candidates_from: semantic_ids needs index.generative, for instance {}")
        return self


def load_run(path: str | Path, overrides: Sequence[str] = (), home: str | Path | None = None) -> RunConfig:
    """Load a run's configuration, with relative locations resolved against `home`.

    Without `home` they start from the environment's LLM4REC_HOME, else from the working directory.

    Raises:
        ConfigError: the configuration is invalid, or a location is relative inside a submitted Ray job, whose working
            directory is a temporary copy.
    """
    config = load(RunConfig, path, overrides)
    location = config.run.path or f"runs/{Path(path).stem}"
    source = config.source.model_copy(update={"path": _resolve("source.path", config.source.path, home)})
    run = config.run.model_copy(update={"path": _resolve("run.path", location, home)})
    asked = config.recommend
    recommend = asked.model_copy(
        update={
            "output": _resolve("recommend.output", asked.output, home)
            if "output" in asked.model_fields_set
            else location_inside(run.path, asked.output),
            "users": _resolve("recommend.users", asked.users, home) if asked.users else asked.users,
        }
    )
    keys = _resolve("serve.keys", config.serve.keys, home) if config.serve.keys else ""
    serve = config.serve.model_copy(update={"keys": keys})
    return config.model_copy(update={"source": source, "run": run, "recommend": recommend, "serve": serve})


def _resolve(key: str, location: str, home: str | Path | None) -> str:
    if "://" in location or Path(location).is_absolute():
        return location
    home = home or os.environ.get("LLM4REC_HOME")
    if home is None and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise ConfigError(
            f"{key} is {location!r}, relative to a Ray job's temporary working directory; "
            f"add --home $PWD, set LLM4REC_HOME, or --set {key}=<absolute path or URI>"
        )
    return str(Path(home or Path.cwd(), location).absolute())

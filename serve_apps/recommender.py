"""The recommender as a Ray Serve application.

`make serve` runs it on this machine, on loopback, with a Ray of its own. A running cluster gets it by either of

    serve deploy serve_apps/recommender.yaml
    RAY_ADDRESS=HEAD:6379 PYTHONPATH=platform LLM4REC_HOME=$PWD serve run serve_apps/recommender.yaml

with RAY_AUTH_MODE and the token as that cluster has them. Without RAY_ADDRESS `serve run` would start a Ray that
listens on every interface.
"""

import os
from pathlib import Path

from pydantic import Field
from ray.serve import Application

from llm4rec.config import StrictModel
from llm4rec.errors import ConfigError


class RecommenderArgs(StrictModel):
    """Arguments of the application."""

    config: str = "configs/demo.yaml"
    """The run's YAML file; a relative one starts from `home`."""
    set: tuple[str, ...] = Field(default=(), description="Overrides, each `a.b=value`.")
    home: str = Field(default="", description="Folder that relative paths start from; else LLM4REC_HOME says.")


def build(args: RecommenderArgs) -> Application:
    """The application of a finished run; refuses at once what a replica could not open."""
    from llm4rec.cluster.run_config import load_run
    from llm4rec.cluster.serve import application
    from llm4rec.cluster.snapshot import REQUIRED, answering_index
    from llm4rec.cluster.stage import REFIT_MODEL, open_store

    home = args.home or os.environ.get("LLM4REC_HOME")
    if not home:
        raise ConfigError(
            "the app needs args.home, or LLM4REC_HOME in the cluster's environment: a replica runs elsewhere"
        )
    config = load_run(Path(home, args.config), args.set, home)
    store = open_store(config)
    for name in REQUIRED:
        store.open(name)
    if config.run.refit:
        store.open(REFIT_MODEL)
        answering_index(store, config)
    return application(config)

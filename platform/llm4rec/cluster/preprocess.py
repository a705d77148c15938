"""The preprocess stage: its steps as Ray Data jobs."""

import logging

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore, location_inside
from llm4rec.cluster.event_log import Gone
from llm4rec.cluster.resume import Steps
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.config import content_hash
from llm4rec.preprocess.fingerprint import fingerprint
from llm4rec.preprocess.stage import READER, preprocess
from llm4rec.preprocess.work import Work
from llm4rec.preprocess.write import write_corpus

log = logging.getLogger("llm4rec")


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Raw files -> corpus; the result is the same on any number of nodes.

    Users whom the service's log has forgotten by then are left out. Who is forgotten later does not make a finished
    corpus a wrong one: the service, which knows, would train all of it anew at its next start.
    """

    def build(writer: ArtifactWriter) -> None:
        forgotten, work = Gone.of(config).users, writer.work
        if forgotten:
            log.info("preprocess: %d users are forgotten; those of them in the source are left out", len(forgotten))
            work = location_inside(work, content_hash({"forgotten": sorted(forgotten)}))  # not what was settled before
        steps = Steps("preprocess", work)
        write_corpus(writer, preprocess(config.source, config.preprocess, Work(work), steps.each, forgotten))

    return run_stage(
        store,
        "corpus",
        config={
            "preprocess": config.preprocess,
            "source": config.source.model_copy(update={"path": ""}),
            "reader": READER,
        },
        inputs={"source": fingerprint(config.source)},
        seed=config.run.seed,
        build=build,
    )

"""The preprocess stage: its steps as Ray Data jobs."""

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.resume import Steps
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.preprocess.fingerprint import fingerprint
from llm4rec.preprocess.stage import preprocess
from llm4rec.preprocess.work import Work
from llm4rec.preprocess.write import write_corpus


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Raw files -> corpus; the result is the same on any number of nodes."""

    def build(writer: ArtifactWriter) -> None:
        steps = Steps("preprocess", writer.work)
        write_corpus(writer, preprocess(config.source, config.preprocess, Work(writer.work), steps.each))

    return run_stage(
        store,
        "corpus",
        config={"preprocess": config.preprocess, "source": config.source.model_copy(update={"path": ""})},
        inputs={"source": fingerprint(config.source)},
        seed=config.run.seed,
        build=build,
    )

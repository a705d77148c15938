"""The preprocess stage: Ray Data parses the log chunk by chunk, the driver joins and splits it."""

import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.preprocess.assemble import Assembled, assemble
from llm4rec.preprocess.catalogue import read_catalogue
from llm4rec.preprocess.chunks import Chunk, ParsedChunk, gather, list_chunks, parse_chunk
from llm4rec.preprocess.fingerprint import fingerprint
from llm4rec.preprocess.write import write_corpus


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Raw files -> corpus."""

    def build(writer: ArtifactWriter) -> None:
        write_corpus(writer, preprocess(config))

    return run_stage(
        store,
        "corpus",
        config={"preprocess": config.preprocess, "source": config.source.model_copy(update={"path": ""})},
        inputs={"source": fingerprint(config.source)},
        seed=config.run.seed,
        build=build,
    )


def preprocess(config: RunConfig) -> Assembled:
    """Parse with Ray Data, then join; the result is the same on any number of nodes."""
    chunks = list_chunks(config.source, config.preprocess.chunk_bytes)
    rows = ray.data.from_items([chunk.to_row() for chunk in chunks], override_num_blocks=len(chunks))
    parsed = [ParsedChunk.from_row(row) for row in rows.map(_parse).iter_rows()]
    return assemble(gather(parsed), read_catalogue(config.source), config.preprocess)


def _parse(row: dict[str, str]) -> dict[str, object]:
    return parse_chunk(Chunk.from_row(row)).to_row()

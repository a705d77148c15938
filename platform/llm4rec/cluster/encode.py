"""The encode stage: items go through actor pools of Ray Data, sized from the cluster."""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.pool import encoder_pool
from llm4rec.cluster.resume import Steps
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.precomputed import fingerprint
from llm4rec.encode.stage import FeatureEncoder
from llm4rec.encode.text import TextEncoder
from llm4rec.schema import FloatMatrix

log = logging.getLogger("llm4rec")

ROWS_PER_TASK = 256


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Corpus -> features; a run that was killed is taken up where it was."""
    corpus = store.open("corpus")
    source = config.source.path

    def build(writer: ArtifactWriter) -> None:
        steps = Steps("encode", writer.work)
        encoder = FeatureEncoder(corpus, config.encode, run=store.location, source=source, work=writer.work)
        encoder.encode(steps.each_with_actors).write(writer)

    files = {f"precomputed.{name}": fingerprint(one, source) for name, one in config.encode.precomputed.items()}
    return run_stage(
        store,
        "features",
        config={"encode": config.encode},
        inputs={"corpus": corpus.hash, **files},
        seed=config.run.seed,
        build=build,
    )


def embed(texts: Sequence[str], config: EncodeConfig) -> FloatMatrix:
    """Unit vectors of texts in the order given, shape (len(texts), D), by an actor pool over all CPUs."""
    table = pa.table({"row": np.arange(len(texts)), "text": pa.array(texts, pa.string())})
    # ready-made blocks: an operator that cut them would wait for a CPU that the actors hold
    blocks = [table.slice(start, ROWS_PER_TASK) for start in range(0, len(texts), ROWS_PER_TASK)]
    pool = encoder_pool(len(blocks))
    encoded = ray.data.from_arrow(blocks).map_batches(
        TextEncoder,
        fn_constructor_args=(config,),
        batch_size=ROWS_PER_TASK,
        batch_format="numpy",
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
        compute=ray.data.ActorPoolStrategy(size=pool.size),
    )
    parts, done = [], 0
    for batch in encoded.iter_batches(batch_size=None, batch_format="numpy"):
        parts.append((batch["row"], batch["vector"]))
        done += len(batch["row"])
        log.info("encode: %d/%d texts", done, len(texts))
    rows, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
    return np.ascontiguousarray(vectors[np.argsort(rows)], np.float32)

"""The encode stage: items go through actor pools of Ray Data, sized from the cluster."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.pool import Free
from llm4rec.cluster.resume import Answer, Steps
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.part import EncodeTask
from llm4rec.encode.precomputed import fingerprint
from llm4rec.encode.stage import FeatureEncoder
from llm4rec.encode.text import TextEncoder
from llm4rec.schema import IMAGE, TEXT, FloatMatrix

log = logging.getLogger("llm4rec")

ROWS_PER_TASK = 256

ON_GPU = {TEXT, IMAGE}
"""Modalities whose encoders run on an accelerator where there is one; those of sounds run on CPUs."""


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Corpus -> features; a run that was killed is taken up where it was."""
    corpus = store.open("corpus")
    source = config.source.path

    def build(writer: ArtifactWriter) -> None:
        steps, free = Steps("encode", writer.work), Free.now()

        def each(
            step: str, factory: Callable[[], Callable[[EncodeTask], Answer]], tasks: Sequence[EncodeTask]
        ) -> list[Answer]:
            return steps.each_with_actors(step, factory, tasks, partial(free.pool, on_gpu=step in ON_GPU))

        encoder = FeatureEncoder(corpus, config.encode, run=store.location, source=source, work=writer.work)
        encoder.encode(each).write(writer)

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
    """Unit vectors of texts in the order given, shape (len(texts), D), by a pool of actors."""
    table = pa.table({"row": np.arange(len(texts)), "text": pa.array(texts, pa.string())})
    # ready-made blocks, since an operator that cut them would need a CPU of its own
    blocks = [table.slice(start, ROWS_PER_TASK) for start in range(0, len(texts), ROWS_PER_TASK)]
    encoded = ray.data.from_arrow(blocks).map_batches(
        TextEncoder,
        fn_constructor_args=(config,),
        batch_size=ROWS_PER_TASK,
        batch_format="numpy",
        **Free.now().pool(len(blocks), on_gpu=True).options(),
    )
    parts, done = [], 0
    for batch in encoded.iter_batches(batch_size=None, batch_format="numpy"):
        parts.append((batch["row"], batch["vector"]))
        done += len(batch["row"])
        log.info("encode: %d/%d texts", done, len(texts))
    rows, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
    return np.ascontiguousarray(vectors[np.argsort(rows)], np.float32)

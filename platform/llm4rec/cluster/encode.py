"""The encode stage: items go through actor pools of Ray Data, sized from the cluster."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.pool import Free, Pool
from llm4rec.cluster.resume import MAX_FAILURES, RELEASE_S, Answer, Steps, is_loss
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
            return steps.each_with_actors(step, factory, tasks, partial(_pool, free, on_gpu=step in ON_GPU))

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


def _pool(free: Free, num_tasks: int, again: bool, *, on_gpu: bool) -> Pool:
    """Actors for so many tasks, on what was free when the stage began, or is now where some of it was lost."""
    return (Free.now() if again else free).pool(num_tasks, on_gpu=on_gpu)


def embed(texts: Sequence[str], config: EncodeConfig) -> FloatMatrix:
    """Unit vectors of texts in the order given, shape (len(texts), D), by a pool of actors; anew if some are lost."""
    for _ in range(MAX_FAILURES):
        try:
            return _embed(texts, config)
        except Exception as error:
            if not is_loss(error):
                raise
            log.warning("encode: an actor was lost; the texts are encoded again")
            time.sleep(RELEASE_S)
    return _embed(texts, config)


def _embed(texts: Sequence[str], config: EncodeConfig) -> FloatMatrix:
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

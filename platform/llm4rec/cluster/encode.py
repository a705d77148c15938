"""The encode stage: texts go through actor pools of Ray Data, sized from the cluster."""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.session import free_cpus
from llm4rec.cluster.stage import run_stage
from llm4rec.encode.categories import encode_categories
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.numbers import encode_numbers
from llm4rec.encode.text import TextEncoder, item_texts
from llm4rec.errors import DataError
from llm4rec.schema import ITEM_ID, FloatMatrix, Modality, write_modality

log = logging.getLogger("llm4rec")

ROWS_PER_TASK = 256


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Corpus -> features."""
    corpus = store.open("corpus")

    def build(writer: ArtifactWriter) -> None:
        items = corpus.read_table("items")
        found = {
            "text": encode_texts(items, config.encode),
            "categories": encode_categories(items),
            "numbers": encode_numbers(items),
        }
        modalities = {name: modality for name, modality in found.items() if modality is not None}
        for name, modality in modalities.items():
            write_modality(writer, name, items[ITEM_ID].to_pylist(), modality)
        writer.write_json("features.json", {"modalities": list(modalities)})

    return run_stage(
        store,
        "features",
        config={"encode": config.encode},
        inputs={"corpus": corpus.hash},
        seed=config.run.seed,
        build=build,
    )


def encode_texts(items: pa.Table, config: EncodeConfig) -> Modality:
    """The text modality of a catalogue; items without text are absent."""
    texts = item_texts(items)
    present = np.asarray([bool(text) for text in texts], bool)
    if not any(texts):
        raise DataError(
            "no item has a title, text, category or year, and the model needs text: "
            "give the source an items file with a title column (source.tabular.items)"
        )
    encoded = embed([text for text in texts if text], config)
    vectors = np.zeros((len(texts), encoded.shape[1]), np.float32)
    vectors[present] = encoded
    return Modality(vectors, present)


def embed(texts: Sequence[str], config: EncodeConfig) -> FloatMatrix:
    """Unit vectors of texts in the order given, shape (len(texts), D), by an actor pool over all CPUs."""
    table = pa.table({"row": np.arange(len(texts)), "text": pa.array(texts, pa.string())})
    # ready-made blocks: an operator that cut them would wait for a CPU that the actors hold
    blocks = [table.slice(start, ROWS_PER_TASK) for start in range(0, len(texts), ROWS_PER_TASK)]
    encoded = ray.data.from_arrow(blocks).map_batches(
        TextEncoder,
        fn_constructor_args=(config,),
        batch_size=ROWS_PER_TASK,
        batch_format="numpy",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=min(free_cpus(), len(blocks))),
    )
    parts, done = [], 0
    for batch in encoded.iter_batches(batch_size=None, batch_format="numpy"):
        parts.append((batch["row"], batch["vector"]))
        done += len(batch["row"])
        log.info("encode: %d/%d texts", done, len(texts))
    rows, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
    return np.ascontiguousarray(vectors[np.argsort(rows)], np.float32)

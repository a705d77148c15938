"""Writes a corpus artifact, byte for byte the same for the same corpus."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.artifacts import ArtifactWriter
from llm4rec.preprocess.assemble import Assembled
from llm4rec.schema import ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, TRAIN, USER_ID


def write_corpus(writer: ArtifactWriter, assembled: Assembled) -> None:
    """Write the four tables and `corpus.json`, as `schema.Corpus.read` reads them."""
    interactions = assembled.interactions
    writer.write_table("interactions", interactions)
    writer.write_table("items", assembled.items)
    writer.write_table("users", assembled.users)
    writer.write_table("quarantine", assembled.quarantine)
    span = pc.min_max(interactions[TIMESTAMP]).as_py()
    info = {
        "events": list(assembled.events),
        "num_warm_items": assembled.num_warm_items,
        "num_users": assembled.users.num_rows,
        "num_interactions": interactions.num_rows,
        "split_hash": split_hash(interactions),
        "time_span": [span["min"], span["max"]],
    }
    writer.write_json("corpus.json", info)


def split_hash(interactions: pa.Table) -> str:
    """sha256 over (user_id, item_id, split) of the leave-one-out valid and test rows, in corpus order."""
    held_out = interactions.filter(pc.not_equal(interactions[SPLIT], SPLIT_NAMES[TRAIN]))
    digest = hashlib.sha256()
    columns = (held_out[name].to_pylist() for name in (USER_ID, ITEM_ID, SPLIT))
    for row in zip(*columns, strict=True):
        # A length before each value keeps ("ab", "c") apart from ("a", "bc").
        digest.update("".join(f"{len(value)}:{value}" for value in row).encode())
    return digest.hexdigest()

"""Small corpora, features and networks that several folders of tests share."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm4rec.artifacts import ArtifactWriter
from llm4rec.model.config import ModelConfig
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.schema import Corpus, Features, History, Modality, modality_table

# user, item, timestamp, value, event, split, split_temporal
LOG = [
    (0, 0, 10, 5.0, "buy", "train", "train"),
    (0, 1, 20, 3.0, "view", "train", "test"),
    (0, 2, 30, 4.0, "view", "valid", "test"),
    (0, 3, 40, 1.0, "buy", "test", "test"),
    (1, 3, 15, 2.0, "view", "train", "train"),
    (1, 0, 15, 4.0, "view", "test", "valid"),
]
ITEM_IDS = ["a", "b", "c", "d", "cold"]


def write_small_corpus(writer: ArtifactWriter) -> None:
    """Three users, of whom the last did nothing, four warm items and a cold one."""
    names = ("user", "item", "timestamp", "value", "event", "split", "split_temporal")
    columns = dict(zip(names, map(list, zip(*LOG, strict=True)), strict=True))
    types = {"user": pa.int32(), "item": pa.int32(), "timestamp": pa.int64(), "value": pa.float32()}
    table = pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()})
    writer.write_table("interactions", table)
    items = {
        "item_id": ITEM_IDS,
        "title": ["Alien (1979)", "Babe (1995)", "Casablanca", "Dune", "Eraserhead"],
        "text": ["", "A pig learns to herd.", None, "", ""],
        "categories": [["Horror"], ["Comedy", "Drama"], ["Drama"], [], None],
        "numbers": [{"year": 1979.0}, None, {"year": 1942.0}, None, {"year": None}],
    }
    writer.write_table("items", pa.table(items))
    users = {"user_id": ["u0", "u1", "u2"], "age": [20, None, 40], "gender": ["F", "M", None]}
    writer.write_table("users", pa.table(users))
    writer.write_json("corpus.json", {"events": ["view", "buy"], "num_warm_items": 4})


def random_features(num_items: int, missing: dict[str, list[int]] | None = None, seed: int = 0) -> dict[str, Modality]:
    """Text of width 6 and categories of width 3; the named rows are missing."""
    rng = np.random.default_rng(seed)
    features = {}
    for name, width in (("text", 6), ("categories", 3)):
        vectors = rng.normal(size=(num_items, width)).astype(np.float32)
        present = np.ones(num_items, np.bool_)
        present[(missing or {}).get(name, [])] = False
        vectors[~present] = 0
        features[name] = Modality(vectors, present)
    return features


def write_features(writer: ArtifactWriter, item_ids: list[str], features: Features) -> None:
    """A features artifact as the encode stage leaves it."""
    for name, modality in features.items():
        writer.write_table(name, modality_table(item_ids, modality))
    shapes = {name: modality.shape for name, modality in features.items() if modality.shape}
    writer.write_json("features.json", {"modalities": sorted(features), "shapes": shapes})


def history(*items: int, times: list[int] | None = None, values: list[float] | None = None) -> History:
    """A history of these items, a minute apart and valued 1 unless said otherwise."""
    return History(
        np.array(items, np.int32),
        np.array(times if times is not None else 60 * np.arange(len(items)), np.int64),
        np.array(values if values is not None else np.ones(len(items)), np.float32),
        np.zeros(len(items), np.int32),
    )


def shape_of(corpus: Corpus, features: Features, history_length: int) -> Shape:
    """The shape of a network for a corpus."""
    return Shape.of(corpus, features, ModelConfig(history_length=history_length))


def tiny_llama(folder: Path) -> str:
    """The folder of a two-layer Llama of width 32: enough to learn a small pattern in seconds."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    LlamaConfig(num_hidden_layers=2, vocab_size=8, **sizes).save_pretrained(folder)
    return str(folder)


def tiny_writer(folder: Path, spread: float = 0.02) -> str:
    """The folder of such a Llama that reads and writes single letters and digits, with its tokenizer.

    What it attends to depends on what is read, and where, only if the `spread` of its weights is wide.
    """
    letters = {letter: code for code, letter in enumerate("<abcdefghijklmnopqrstuvwxyz0123456789")}
    cut = Tokenizer(BPE(vocab={"</s>": len(letters), **letters}, merges=[], unk_token="<"))
    PreTrainedTokenizerFast(tokenizer_object=cut, eos_token="</s>").save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    config = LlamaConfig(num_hidden_layers=2, vocab_size=len(letters) + 1, initializer_range=spread, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def tiny_recommender(corpus: Corpus, features: Features, folder: Path, **settings: object) -> Recommender:
    """A recommender on a tiny backbone with random weights."""
    chosen = {"num_layers": 1, "embedding_size": 16, "fusion_size": 8, "history_length": 8, "num_retrieved": 2}
    chosen |= {"dropout": 0.0, "modality_dropout": 0.0}
    config = ModelConfig.model_validate({"backbone": tiny_llama(folder), "pretrained": False} | chosen | settings)
    return Recommender(config, Shape.of(corpus, features, config), features)
